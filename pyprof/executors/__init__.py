"""Where the groups of a run are measured: here, on every device of this machine, or on a cluster; a file each."""
