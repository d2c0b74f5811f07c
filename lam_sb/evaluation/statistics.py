"""What chance leaves of a score: intervals and comparisons of systems.

Chance comes from the test speakers (K clusters) and from the training runs (S
seeds). UAR is computed for each seed and then averaged; predictions are never
pooled over seeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import NamedTuple

import numpy as np
from scipy import stats

from lam_sb.evaluation.metrics import macro_recall, ratio
from lam_sb.evaluation.predictions import UNKNOWN, Predictions

FEW_CLUSTERS = 10


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its two-sided confidence interval.

    Of one cluster, interval, standard error and degrees of freedom are nan.
    """

    value: float  # UAR, or a difference of two, averaged over the seeds
    low: float
    high: float
    standard_error: float  # of clusters and seeds together
    df: float  # Satterthwaite's; inf where nothing varies
    num_clusters: int
    num_seeds: int  # of a difference, the smaller of the two
    missing_class_deletions: int  # clusters without which a class is missing

    @property
    def few_clusters(self) -> bool:
        """Whether the interval rests on fewer than ten clusters."""
        return self.num_clusters < FEW_CLUSTERS


@dataclass(frozen=True)
class Comparison:
    """The difference of two systems, A - B."""

    estimate: Estimate
    p_two_sided: float  # of "A and B are equal"; nan with one cluster
    p_greater: float  # of "A is not better than B", one-sided
    num_shared: int  # utterances that both systems were tested on


def interval(predictions: Predictions, confidence: float = 0.95) -> Estimate:
    """Interval of one system's UAR over new speakers and new seeds.

    With theta_(-k) the UAR without cluster k, averaged over the seeds, and
    s^2 the variance of the UAR between the seeds,

        SE^2 = (K - 1) / K sum_k (theta_(-k) - mean theta_(.))^2 + s^2 / S,

    and Student's t with Satterthwaite's degrees of freedom; the first term is
    the `jackknife`. A class that goes missing with a cluster leaves the mean
    over the others, and is counted. One seed adds no term, so the interval
    then holds for that run only; one cluster gives no interval.

    Example
    -------
    >>> labels, speakers = [0, 0, 1, 1], ["a", "b", "a", "b"]
    >>> estimate = interval(
    ...     Predictions(list("wxyz"), labels, speakers, [[0, 0, 1, 0]])
    ... )
    >>> estimate.value, estimate.standard_error, estimate.df
    (0.75, 0.25, 1.0)
    """
    parts = _parts(predictions)
    return _estimate(
        parts.mean, parts.deleted, [parts.seeds], parts.missing, confidence
    )


def compare(
    a: Predictions, b: Predictions, confidence: float = 0.95
) -> Comparison:
    """Compare the UARs of two systems on the utterances they share.

    As `interval`, with the jackknife on the difference of the seed means,
    paired by utterance, and a term for the seeds of each system,

        SE^2 = SE^2_cluster(A - B) + s^2_A / S_A + s^2_B / S_B.

    The runs of A and B are independent, whatever their seed numbers are; a
    system with one seed adds no term. Where nothing varies (SE = 0), a
    difference of 0 has p 1 two-sided and 0.5 one-sided, and any other is
    certain: p 0 two-sided, and 0 or 1 one-sided by its sign.

    Raises
    ------
    ValueError
        No shared id, or another label or cluster for one.
    """
    _, rows_a, rows_b = np.intersect1d(
        a.ids, b.ids, assume_unique=True, return_indices=True
    )
    if len(rows_a) == 0:
        raise ValueError("The two systems share no utterance id.")
    a, b = a.take(rows_a), b.take(rows_b)
    _check_agree(a, b)
    of_a, of_b = _parts(a), _parts(b)
    estimate = _estimate(
        of_a.mean - of_b.mean,
        of_a.deleted - of_b.deleted,
        [of_a.seeds, of_b.seeds],
        of_a.missing,
        confidence,
    )
    t = _t_value(estimate)
    return Comparison(
        estimate=estimate,
        p_two_sided=float(2 * stats.t.sf(abs(t), estimate.df)),
        p_greater=float(stats.t.sf(t, estimate.df)),
        num_shared=len(rows_a),
    )


def mean_over(
    systems: Sequence[Predictions],
    minus: Predictions | None = None,
    confidence: float = 0.95,
) -> Estimate:
    """Mean UAR of some systems, each counting alike, on the rows that all have.

    Arguments
    ---------
    systems : Sequence[Predictions]
        One or more, of the same test set; they are fixed, speakers and each
        one's seeds are drawn.
    minus : Predictions, optional
        A system whose UAR is taken off.
    confidence : float
        Of the interval.

    Raises
    ------
    ValueError
        They share no row, or disagree on labels or clusters.
    """
    every = [*systems] + ([minus] if minus is not None else [])
    shared = reduce(np.intersect1d, [system.ids for system in every])
    if not len(shared):
        raise ValueError("they share no test row.")
    taken = []
    for system in every:
        order = np.argsort(system.ids, kind="stable")
        at = order[np.searchsorted(system.ids[order], shared)]
        taken.append(system.take(at))
        _check_agree(taken[0], taken[-1])
    count = len(systems)
    parts = [_parts(system) for system in taken]
    own, rest = parts[:count], parts[count:]
    return _estimate(
        float(np.mean([p.mean for p in own])) - sum(p.mean for p in rest),
        np.mean([p.deleted for p in own], axis=0)
        - sum(p.deleted for p in rest),
        [p.seeds / count for p in own] + [p.seeds for p in rest],
        own[0].missing,
        confidence,
    )


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Correct the p-values of one family of tests (Holm 1979).

    A p of nan, of a test that could not be made, does not count.

    Example
    -------
    >>> holm([0.04, 0.01, 0.03]).tolist()  # 3 x 0.01, 2 x 0.03, then no less
    [0.06, 0.03, 0.06]
    """
    values = np.array(p_values, dtype=float)
    order = np.argsort(values)[: np.count_nonzero(~np.isnan(values))]
    factors = np.arange(len(order), 0, -1)
    steps = np.maximum.accumulate(values[order] * factors)
    values[order] = np.minimum(steps, 1)
    return values


def jackknife(
    deleted: np.ndarray, counting: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Delete-one-cluster jackknife (Efron & Tibshirani 1993, chapter 11).

    Arguments
    ---------
    deleted : np.ndarray
        (G, ...) values theta_(-k) without each cluster.
    counting : np.ndarray
        (G, ...) bool, which K of the clusters count.

    Returns
    -------
    tuple[np.ndarray, np.ndarray]
        (K - 1) / K sum_k (theta_(-k) - mean theta_(.))^2, and K - 1.
    """
    num = counting.sum(axis=0)
    mean = ratio(np.where(counting, deleted, 0).sum(axis=0), num)
    squares = np.where(counting, np.square(deleted - mean), 0).sum(axis=0)
    return (num - 1) * ratio(squares, num), num - 1


def join_variances(
    terms: Sequence[tuple[np.ndarray, np.ndarray]], confidence: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Add independent variances v_i with df_i degrees of freedom.

    Returns
    -------
    tuple[np.ndarray, np.ndarray, np.ndarray]
        The standard error; Satterthwaite's (sum v)^2 / sum(v^2 / df), inf
        where nothing varies; half the width of Student's interval.
    """
    variance = sum(v for v, _ in terms)
    weight = sum(ratio(v**2, df) for v, df in terms)
    df = np.where(weight > 0, ratio(variance**2, weight), np.inf)
    error = np.sqrt(variance)
    return error, df, stats.t.ppf((1 + confidence) / 2, df) * error


def _estimate(
    value: float,
    deleted: np.ndarray,
    seeds: Sequence[np.ndarray],
    missing: int,
    confidence: float,
) -> Estimate:
    """Join the jackknife with the seed terms, one for each system."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}; use one in (0, 1).")
    error = df = margin = math.nan
    num_clusters = len(deleted)
    if num_clusters > 1:
        variance, _ = jackknife(deleted, np.full(num_clusters, True))
        terms = [(float(variance), num_clusters - 1)]
        terms += [
            (float(s.var(ddof=1)) / len(s), len(s) - 1)
            for s in seeds
            if len(s) > 1
        ]
        error, df, margin = map(float, join_variances(terms, confidence))
    return Estimate(
        value=value,
        low=value - margin,
        high=value + margin,
        standard_error=error,
        df=df,
        num_clusters=num_clusters,
        num_seeds=min(len(s) for s in seeds),
        missing_class_deletions=missing if num_clusters > 1 else 0,
    )


class _Parts(NamedTuple):
    """What the standard error is made of."""

    mean: float  # UAR averaged over the seeds
    deleted: np.ndarray  # (K,) the same without each cluster
    seeds: np.ndarray  # (S,) UAR of each seed
    missing: int  # deletions that a class goes missing with


def _parts(system: Predictions) -> _Parts:
    known = system.labels != UNKNOWN
    if not known.all():
        system = system.take(np.flatnonzero(known))
    right = system.predictions == system.labels
    clusters, index = np.unique(system.clusters, return_inverse=True)
    shape = len(clusters), int(system.labels.max()) + 1
    bins = np.ravel_multi_index((index, system.labels), shape)
    size = math.prod(shape)
    total = np.bincount(bins, minlength=size).reshape(shape)
    # Counts summed over the seeds stay whole, so that equal UARs are equal
    # bit by bit; (S total) then makes them means over the seeds.
    correct = np.bincount(bins, right.sum(axis=0), size).reshape(shape)
    summed = total * len(right)
    left = summed.sum(axis=0) - summed
    num_present = (total.sum(axis=0) > 0).sum()
    by_seed = [
        right[:, system.labels == c].sum(axis=1) for c in range(shape[1])
    ]
    return _Parts(
        mean=float(macro_recall(correct.sum(axis=0), summed.sum(axis=0))),
        deleted=macro_recall(correct.sum(axis=0) - correct, left),
        seeds=macro_recall(np.stack(by_seed, axis=1), total.sum(axis=0)),
        missing=int(((left > 0).sum(axis=1) < num_present).sum()),
    )


def _t_value(estimate: Estimate) -> float:
    if estimate.value == 0 and not math.isnan(estimate.standard_error):
        return 0.0
    if estimate.standard_error == 0:
        return math.copysign(math.inf, estimate.value)
    return estimate.value / estimate.standard_error


def _check_agree(a: Predictions, b: Predictions) -> None:
    for name in ("labels", "clusters"):
        wrong = getattr(a, name) != getattr(b, name)
        if wrong.any():
            raise ValueError(
                f"The two systems have other {name} for {wrong.sum()} of "
                f"{len(wrong)} shared ids, {a.ids[wrong][0]} the first."
            )
