"""Attention mechanisms that models can be run with, one to a file."""
