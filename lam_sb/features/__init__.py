"""From audio to stored features: frozen encoders, segments, the store."""
