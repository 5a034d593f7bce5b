"""What changed between two runs, for a reader."""
