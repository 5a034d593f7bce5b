"""Timing calls: stopwatch, warm-up, sampling, interleaving, a yardstick, and what disturbs them."""
