"""Speech recognition: HuBERT and L-HuBERT with CTC over characters, judged by their word error rate."""
