"""Runs of a system whose true UAR is known."""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from lam_sb.evaluation.predictions import Predictions

# Expected recalls over new speakers and new seeds, so the true UAR is 0.6.
RECALLS = np.array([0.75, 0.6, 0.55, 0.5])
# On the scale of a standard normal threshold, where a step of 0.1 moves a
# recall near 0.6 by about 0.04: speaker x class effects of about 0.1 in
# recall, and effects of a run of about 0.02 in UAR.
SD_SPEAKER_CLASS = 0.27
SD_RUN = 0.045
SD_RUN_CLASS = 0.05
# What of an utterance's own noise is the same for all runs.
SHARED_NOISE = 0.6


def simulate(
    rng: np.random.Generator,
    num_speakers: int,
    num_seeds: int,
    like: Predictions | None = None,
) -> Predictions:
    """Runs of one system on new speakers, or on the utterances of another.

    A row is right where threshold + speaker x class + run + run x class +
    utterance + run x utterance > 0, all of them normal, the last two of
    variance 1 together. Speakers have 20 to 40 utterances of random classes.
    """
    if like is None:
        sizes = rng.integers(20, 41, size=num_speakers)
        speaker = np.repeat(np.arange(num_speakers), sizes)
        labels = rng.integers(4, size=len(speaker))
    else:
        _, speaker = np.unique(like.clusters, return_inverse=True)
        labels = like.labels
    count = len(labels)
    variance = SD_SPEAKER_CLASS**2 + SD_RUN**2 + SD_RUN_CLASS**2
    threshold = stats.norm.ppf(RECALLS) * math.sqrt(1 + variance)
    by_speaker = rng.normal(0, SD_SPEAKER_CLASS, (num_speakers, 4))
    by_run = rng.normal(0, SD_RUN, (num_seeds, 1))
    by_run = by_run + rng.normal(0, SD_RUN_CLASS, (num_seeds, 4))
    ease = (threshold + by_speaker)[speaker, labels]
    ease = ease + rng.normal(0, math.sqrt(SHARED_NOISE), count)
    noise = rng.normal(0, math.sqrt(1 - SHARED_NOISE), (num_seeds, count))
    right = ease + by_run[:, labels] + noise > 0
    return Predictions(
        ids=np.arange(count),
        labels=labels,
        clusters=np.char.add("speaker ", speaker.astype(str)),
        predictions=np.where(right, labels, (labels + 1) % 4),
    )
