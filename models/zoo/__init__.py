"""The zoo: efficient transformers of every family on one common encoder, one mechanism a file."""
