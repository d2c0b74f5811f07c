"""The classifier on top of frozen layers: project, pool, classify."""
