"""Layers: their kinds, the probes on them, and what each one cost."""
