"""Losses: cross-entropy, and those that align two domains."""
