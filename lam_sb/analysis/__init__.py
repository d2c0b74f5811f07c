"""How alike the layers of two corpora are, and which to anchor."""
