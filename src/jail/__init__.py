"""What a process that runs somebody's code may do, and how the kernel is asked to hold it to that. Linux."""
