"""Sliding-window attention: the operator, its implementations by name, and their registration with transformers."""
