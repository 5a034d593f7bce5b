"""The tasks of Long Range Arena (Tay et al., ICLR 2021)."""
