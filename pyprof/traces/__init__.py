"""Traces: what other profilers have written, as a layer table, and a step of our own for a viewer."""
