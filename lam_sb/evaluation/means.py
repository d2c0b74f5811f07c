"""Means of estimates on several test sets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lam_sb.evaluation.statistics import Estimate, join_variances


def mean_estimate(
    estimates: Sequence[Estimate], confidence: float = 0.95
) -> Estimate:
    """Mean of independent estimates, of test sets that are fixed.

    Example
    -------
    >>> part = Estimate(0.5, 0.3, 0.7, 0.1, 9.0, 10, 5, 0)
    >>> mean = mean_estimate([part, part])
    >>> round(mean.standard_error, 4), round(mean.df, 4)  # 0.1 / sqrt(2), 2 x 9
    (0.0707, 18.0)
    """
    count = len(estimates)
    terms = [
        (np.square(e.standard_error / count), np.asarray(e.df))
        for e in estimates
    ]
    error, df, margin = map(float, join_variances(terms, confidence))
    value = float(np.mean([e.value for e in estimates]))
    return Estimate(
        value=value,
        low=value - margin,
        high=value + margin,
        standard_error=error,
        df=df,
        num_clusters=sum(e.num_clusters for e in estimates),
        num_seeds=min(e.num_seeds for e in estimates),
        missing_class_deletions=sum(
            e.missing_class_deletions for e in estimates
        ),
    )
