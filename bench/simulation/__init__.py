"""A simulation of many front ends, their workers, their cameras, and what happens when some of them fail.

`check.py` measures the parts and compares with real runs; `scale.py` uses it for more than one machine carries.
"""
