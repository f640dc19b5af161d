"""OpenCV windows, in a process of their own."""
