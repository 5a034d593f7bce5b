"""Statistics of few, skewed, noisy samples: pure functions over numbers, without torch."""
