"""lam_sb: layer anchoring for cross-lingual speech emotion recognition."""
