"""A simulation of many front ends, their workers, their cameras, and what happens when some of them fail.

`check.py` measures the parts and compares with real runs, and `relay/check.py` does so of what goes over Redis;
`scale.py` uses both for more than one machine carries.
"""
