"""What runs in the process that measures."""
