"""Scores, the results of a run, and comparisons of systems."""
