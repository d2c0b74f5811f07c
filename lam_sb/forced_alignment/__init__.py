"""Phone times of recordings whose text is known, without a trained aligner."""
