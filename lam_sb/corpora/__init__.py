"""From a corpus on disk to manifests: rows, splits, phones, audio checks."""
