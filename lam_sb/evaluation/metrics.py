"""Scores of predictions, and what chance leaves of them.

Chance comes from the test speakers (K clusters) and from the training runs (S
seeds). UAR is computed for each seed and then averaged; predictions are never
pooled over seeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import stats
from sklearn.metrics import confusion_matrix, f1_score

FEW_CLUSTERS = 10


def uar(
    labels: np.ndarray, predictions: np.ndarray, num_classes: int = 4
) -> float:
    """Unweighted average recall over the classes present in the labels.

    Arguments
    ---------
    labels, predictions : np.ndarray
        (N,) classes, 0 to num_classes - 1.
    num_classes : int
        Number of classes C. A class that is predicted but not present counts
        as a wrong prediction, not as a class.

    Returns
    -------
    float
        Between 0 and 1; nan without labels.

    Example
    -------
    >>> uar([0, 0, 1], [0, 3, 1])  # recalls 1/2 and 1
    0.75
    """
    if len(labels) == 0 and len(predictions) == 0:
        return math.nan
    confusion = _confusion(labels, predictions, num_classes)
    return float(_macro_recall(np.diag(confusion), confusion.sum(axis=1)))


def scores(
    labels: np.ndarray, predictions: np.ndarray, emotions: Sequence[str]
) -> dict:
    """All scores of one set of predictions, ready for JSON.

    Arguments
    ---------
    labels, predictions : np.ndarray
        (N,) classes, as indices into the emotions.
    emotions : Sequence[str]
        Names of the C classes.

    Returns
    -------
    dict
        ``uar``, ``macro_f1`` (both over the classes present in the labels) and
        ``accuracy``; by emotion ``recall`` and ``ovr_uar``, the one-vs-rest
        (recall + specificity) / 2, None where it is not defined; ``confusion``,
        C lists of C counts, rows are the truth.

    Raises
    ------
    ValueError
        No labels, unequal lengths, or a class outside the emotions.

    Example
    -------
    >>> scores([0, 0, 1], [0, 1, 1], ["sad", "angry"])["ovr_uar"]
    {'sad': 0.75, 'angry': 0.75}
    """
    confusion = _confusion(labels, predictions, len(emotions))
    total, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    correct, rest = np.diag(confusion), len(labels) - total
    recall = _ratios(correct, total)
    specificity = _ratios(rest - (predicted - correct), rest)
    macro_f1 = f1_score(
        labels, predictions, labels=np.flatnonzero(total), average="macro"
    )
    return {
        "uar": float(_macro_recall(correct, total)),
        "macro_f1": float(macro_f1),
        "accuracy": float(correct.sum() / len(labels)),
        "recall": _by_emotion(emotions, recall),
        "ovr_uar": _by_emotion(emotions, (recall + specificity) / 2),
        "confusion": confusion.tolist(),
    }


@dataclass(eq=False)
class Predictions:
    """What S runs of one system predict on the same N utterances.

    Lists become arrays.

    Arguments
    ---------
    ids : np.ndarray
        (N,) utterance ids, each once.
    labels : np.ndarray
        (N,) true classes, 0, 1, ...
    clusters : np.ndarray
        (N,) speakers, or what `lam_sb.corpora.manifests.cluster_of` says.
    predictions : np.ndarray
        (S, N) predicted classes, a row for each seed.

    Raises
    ------
    ValueError
        No utterances, wrong shapes or types, or an id that stands twice.
    """

    ids: np.ndarray
    labels: np.ndarray
    clusters: np.ndarray
    predictions: np.ndarray

    def __post_init__(self):
        self.ids = np.asarray(self.ids)
        self.labels = _classes("labels", self.labels, 1)
        self.clusters = np.asarray(self.clusters)
        self.predictions = _classes("predictions", self.predictions, 2)
        shape = self.labels.shape
        if not (
            self.ids.shape == self.clusters.shape == shape
            and self.predictions.shape[1:] == shape
        ):
            raise ValueError(
                "ids, labels, clusters and predictions have the shapes "
                f"{self.ids.shape}, {shape}, {self.clusters.shape} and "
                f"{self.predictions.shape}; use (N,), (N,), (N,) and (S, N)."
            )
        ids, counts = np.unique(self.ids, return_counts=True)
        if len(ids) < len(self.ids):
            raise ValueError(
                f"{(counts > 1).sum()} ids stand twice, "
                f"{ids[counts > 1][0]} the first."
            )

    def take(self, rows: np.ndarray) -> Predictions:
        """Keep some utterances, in the order given.

        Arguments
        ---------
        rows : np.ndarray
            (M,) positions of the utterances.

        Returns
        -------
        Predictions
            Of M utterances.
        """
        return Predictions(
            self.ids[rows],
            self.labels[rows],
            self.clusters[rows],
            self.predictions[:, rows],
        )


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its two-sided confidence interval.

    Arguments
    ---------
    value : float
        UAR, or a difference of two, averaged over the seeds.
    low, high : float
        Limits of the interval; nan with one cluster.
    standard_error : float
        Of clusters and seeds together; nan with one cluster.
    df : float
        Satterthwaite's degrees of freedom; nan with one cluster, inf where
        nothing varies.
    num_clusters : int
        Number of clusters K.
    num_seeds : int
        Number of seeds S, of a difference the smaller of the two.
    missing_class_deletions : int
        Clusters without which a class is missing.
    """

    value: float
    low: float
    high: float
    standard_error: float
    df: float
    num_clusters: int
    num_seeds: int
    missing_class_deletions: int

    @property
    def few_clusters(self) -> bool:
        """Whether the interval rests on fewer than ten clusters."""
        return self.num_clusters < FEW_CLUSTERS


@dataclass(frozen=True)
class Comparison:
    """The difference of two systems, A - B.

    Arguments
    ---------
    estimate : Estimate
        Difference of the UARs and its two-sided interval.
    p_two_sided : float
        p of "A and B are equal"; nan with one cluster.
    p_greater : float
        p of "A is not better than B", one-sided; nan with one cluster.
    num_shared : int
        Number of utterances that both systems were tested on.
    """

    estimate: Estimate
    p_two_sided: float
    p_greater: float
    num_shared: int


def interval(predictions: Predictions, confidence: float = 0.95) -> Estimate:
    """Interval of one system's UAR over new speakers and new seeds.

    With theta_(-k) the UAR without cluster k, averaged over the seeds, and
    s^2 the variance of the UAR between the seeds,

        SE^2 = (K - 1) / K sum_k (theta_(-k) - mean theta_(.))^2 + s^2 / S,

    and Student's t with Satterthwaite's degrees of freedom. The first term is
    the delete-one-cluster jackknife (Efron & Tibshirani 1993, chapter 11). A
    class that goes missing with a cluster leaves the mean over the others,
    and is counted. One seed adds no term, so the interval then holds for that
    run only; one cluster gives no interval.

    Arguments
    ---------
    predictions : Predictions
        (S, N) of one system.
    confidence : float
        Probability that the interval covers, between 0 and 1.

    Returns
    -------
    Estimate
        UAR and interval.

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

    Arguments
    ---------
    a, b : Predictions
        (S_A, N_A) and (S_B, N_B).
    confidence : float
        Probability that the interval covers, between 0 and 1.

    Returns
    -------
    Comparison
        A - B.

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


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Correct the p-values of one family of tests (Holm 1979).

    Arguments
    ---------
    p_values : Sequence[float]
        Of m tests; nan for a test that could not be made, which does not
        count.

    Returns
    -------
    np.ndarray
        (m,) corrected p-values in the same order, at most 1.

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


class _Parts(NamedTuple):
    """What the standard error is made of."""

    mean: float  # UAR averaged over the seeds
    deleted: np.ndarray  # (K,) the same without each cluster
    seeds: np.ndarray  # (S,) UAR of each seed
    missing: int  # deletions that a class goes missing with


def _parts(system: Predictions) -> _Parts:
    right = system.predictions == system.labels
    clusters, index = np.unique(system.clusters, return_inverse=True)
    shape = len(clusters), int(system.labels.max()) + 1
    cells = np.ravel_multi_index((index, system.labels), shape)
    size = math.prod(shape)
    total = np.bincount(cells, minlength=size).reshape(shape)
    # Counts summed over the seeds stay whole, so that equal UARs are equal
    # bit by bit; (S total) then makes them means over the seeds.
    correct = np.bincount(cells, right.sum(axis=0), size).reshape(shape)
    summed = total * len(right)
    left = summed.sum(axis=0) - summed
    num_present = (total.sum(axis=0) > 0).sum()
    by_seed = [
        right[:, system.labels == c].sum(axis=1) for c in range(shape[1])
    ]
    return _Parts(
        mean=float(_macro_recall(correct.sum(axis=0), summed.sum(axis=0))),
        deleted=_macro_recall(correct.sum(axis=0) - correct, left),
        seeds=_macro_recall(np.stack(by_seed, axis=1), total.sum(axis=0)),
        missing=int(((left > 0).sum(axis=1) < num_present).sum()),
    )


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
    num_clusters = len(deleted)
    variance, df = math.nan, math.nan
    if num_clusters > 1:
        spread = np.square(deleted - deleted.mean()).mean()
        terms = [((num_clusters - 1) * float(spread), num_clusters - 1)]
        terms += [
            (float(s.var(ddof=1)) / len(s), len(s) - 1)
            for s in seeds
            if len(s) > 1
        ]
        variance, df = _satterthwaite(terms)
    error = math.sqrt(variance)
    margin = float(stats.t.ppf((1 + confidence) / 2, df)) * error
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


def _satterthwaite(
    terms: Sequence[tuple[float, int]],
) -> tuple[float, float]:
    """Sum of variances v_i with df_i, and df = (sum v)^2 / sum(v^2 / df)."""
    variance = sum(v for v, _ in terms)
    weight = sum(v**2 / df for v, df in terms)
    return variance, variance**2 / weight if weight else math.inf


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


def _confusion(
    labels: np.ndarray, predictions: np.ndarray, num_classes: int
) -> np.ndarray:
    """(C, C) counts, rows are the truth."""
    labels = _classes("labels", labels, 1)
    predictions = _classes("predictions", predictions, 1)
    if len(labels) != len(predictions):
        raise ValueError(
            f"{len(labels)} labels and {len(predictions)} predictions are no "
            "pairs."
        )
    highest = max(labels.max(), predictions.max())
    if highest >= num_classes:
        raise ValueError(
            f"Class {highest} stands among labels or predictions; the "
            f"{num_classes} classes are numbered from 0."
        )
    return confusion_matrix(labels, predictions, labels=range(num_classes))


def _classes(name: str, values: np.ndarray, num_dims: int) -> np.ndarray:
    """Whole numbers from 0 on, and at least one of them."""
    values = np.asarray(values)
    if values.ndim != num_dims or values.size == 0:
        raise ValueError(
            f"{name} has the shape {values.shape}; use {num_dims} "
            f"dimension{'s' * (num_dims > 1)}, none of them empty."
        )
    whole = np.issubdtype(values.dtype, np.integer)
    if not whole or values.min() < 0:
        found = values.min() if whole else values.dtype
        raise ValueError(
            f"{name} holds {found}; use whole numbers from 0 on, without "
            "unlabelled rows."
        )
    return values


def _macro_recall(correct: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Mean over the classes present, (..., C) counts -> (...)."""
    present = np.asarray(total) > 0
    recall = correct / np.where(present, total, 1)
    num_present = present.sum(axis=-1)
    return (recall * present).sum(axis=-1) / np.maximum(num_present, 1)


def _ratios(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """(C,) part / whole, nan for an empty whole."""
    return np.where(whole > 0, part / np.maximum(whole, 1), math.nan)


def _by_emotion(
    emotions: Sequence[str], values: np.ndarray
) -> dict[str, float | None]:
    return {
        emotion: None if math.isnan(value) else float(value)
        for emotion, value in zip(emotions, values, strict=True)
    }
