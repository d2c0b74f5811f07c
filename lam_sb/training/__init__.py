"""Rows, batches, and the Brain that is trained on them."""
