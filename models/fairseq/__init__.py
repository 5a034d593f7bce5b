"""HuBERT as fairseq writes it: its checkpoints read, its live modules given a window."""
