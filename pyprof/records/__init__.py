"""What was to be measured and what came of it: the ground that the planner and the measuring process share."""
