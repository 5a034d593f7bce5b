"""What the operators of one step compute, read, write and keep, seen in one pass that nobody times."""
