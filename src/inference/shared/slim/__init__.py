"""What runs without TensorFlow, and what is said where it is missed.

Standard library only: on both sides of the wall.
"""
