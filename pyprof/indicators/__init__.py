"""The indicators: what a model can cost, one file each."""
