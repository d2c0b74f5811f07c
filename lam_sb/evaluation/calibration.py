"""How far posteriors say how sure a prediction is.

The prediction of a row is the class of its largest posterior, the first of
equals; its confidence is that posterior.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from sklearn.metrics import brier_score_loss

from lam_sb.evaluation.metrics import check_classes, macro_recall

NUM_BINS = 15
COVERAGES = (25, 50, 75)  # percent of the rows that are kept
TEMPERATURES = (0.1, 20.0)  # the least and the most that is tried
SMALLEST = 1e-9  # posterior; predictions.csv has as many digits


def calibration_scores(labels: np.ndarray, posteriors: np.ndarray) -> dict:
    """Score posteriors, ready for JSON.

    Arguments
    ---------
    labels : np.ndarray
        (N,) true classes.
    posteriors : np.ndarray
        (N, C), each row adding up to 1.

    Returns
    -------
    dict
        ``ece`` and ``brier``, as from `expected_calibration_error` and
        `brier_score`; ``confidence``, its mean; ``uar_surest``, as from
        `uar_at_coverage`, by each of `COVERAGES`.

    Raises
    ------
    ValueError
        No rows, or labels and posteriors that do not fit together.

    Example
    -------
    >>> scores = calibration_scores([0, 1], np.array([[0.75, 0.25]] * 2))
    >>> scores["ece"], scores["brier"], scores["confidence"]
    (0.25, 0.625, 0.75)
    """
    return {
        "ece": expected_calibration_error(labels, posteriors),
        "brier": brier_score(labels, posteriors),
        "confidence": float(posteriors.max(1).mean()),
        "uar_surest": {
            str(percent): uar_at_coverage(labels, posteriors, percent)[0]
            for percent in COVERAGES
        },
    }


def expected_calibration_error(
    labels: np.ndarray, posteriors: np.ndarray
) -> float:
    """How far confidence is from accuracy (Guo et al. 2017, equation 3).

    Rows are put into 15 bins of equal width by their confidence; bin m holds
    those in ((m - 1) / 15, m / 15], so one on an edge belongs to the bin below
    it. The error is the mean over the rows of the distance between the mean
    confidence and the accuracy of their bin, from 0 to 1.

    Example
    -------
    Both rows lie in the bin (0.73, 0.8]; one of them is right.

    >>> expected_calibration_error([0, 1], np.array([[0.75, 0.25]] * 2))
    0.25
    """
    labels = _check(labels, posteriors)
    confidence = posteriors.max(1)
    right = posteriors.argmax(1) == labels
    edges = np.arange(1, NUM_BINS) / NUM_BINS
    bins = np.searchsorted(edges, confidence, side="left")
    distances = np.bincount(bins, right - confidence)
    return float(np.abs(distances).sum() / len(labels))


def brier_score(labels: np.ndarray, posteriors: np.ndarray) -> float:
    """Squared differences of posteriors and truth (Brier 1950), from 0 to 2.

    They are added up over the classes; the score is the mean over the rows.

    Example
    -------
    >>> brier_score([1], np.array([[0.5, 0.25, 0.25]]))  # 1/4 + 9/16 + 1/16
    0.875
    """
    labels = _check(labels, posteriors)
    classes = range(posteriors.shape[1])
    return brier_score_loss(
        labels, posteriors, labels=classes, scale_by_half=False
    )


def uar_at_coverage(
    labels: np.ndarray, posteriors: np.ndarray, percent: float
) -> tuple[float, int]:
    """UAR of the surest rows, a point of the risk-coverage curve.

    The rows are those that `coverage_weights` keeps, and count by their weights
    (Geifman & El-Yaniv 2017, with 1 - UAR as the risk).

    Returns
    -------
    tuple[float, int]
        The UAR, and over how many classes: those that are among these rows.

    Example
    -------
    >>> posteriors = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]])
    >>> uar_at_coverage([0, 0, 1, 1], posteriors, 50)
    (1.0, 1)
    >>> uar_at_coverage([0, 0, 1, 1], posteriors, 100)
    (0.75, 2)
    """
    labels = _check(labels, posteriors)
    weights = coverage_weights(posteriors.max(1), percent)
    right = posteriors.argmax(1) == labels
    total = np.bincount(labels, weights)
    correct = np.bincount(labels, weights * right)
    return float(macro_recall(correct, total)), int(np.count_nonzero(total))


def coverage_weights(confidence: np.ndarray, percent: float) -> np.ndarray:
    """How far each row counts among the surest rows.

    Rows are kept by their confidence until they are ``percent`` % of all. Where
    that ends within a row, or among rows of one confidence, these count in
    equal parts, so that neither the rows' order nor their names matter.

    Arguments
    ---------
    confidence : np.ndarray
        (N,) of all rows.
    percent : float
        Above 0, up to 100.

    Returns
    -------
    np.ndarray
        (N,) from 0 to 1, adding up to ``percent`` N / 100.

    Example
    -------
    >>> coverage_weights(np.array([0.5, 0.9, 0.5, 0.4]), 50).tolist()
    [0.5, 1.0, 0.5, 0.0]
    """
    _, level, counts = np.unique(
        -confidence, return_inverse=True, return_counts=True
    )
    surer = counts.cumsum() - counts
    room = percent * len(confidence) / 100 - surer
    return np.clip(room / counts, 0, 1)[level]


def with_temperature(posteriors: np.ndarray, temperature: float) -> np.ndarray:
    """Divide the logits of posteriors (N, C) by a temperature.

    After Guo et al. (2017). Above 1 they become less sure, and the prediction
    stays the same.

    Example
    -------
    >>> with_temperature(np.array([[0.8, 0.2]]), 2.0).round(4).tolist()
    [[0.6667, 0.3333]]
    """
    logits = np.log(np.maximum(posteriors, SMALLEST)) / temperature
    return softmax(logits, axis=1)


def fit_temperature(
    parts: Sequence[tuple[np.ndarray, np.ndarray]],
) -> float:
    """Temperature under which posteriors are likeliest to be right.

    Arguments
    ---------
    parts : Sequence[tuple[np.ndarray, np.ndarray]]
        Labels (N,) and posteriors (N, C) of each corpus; each counts alike,
        however many rows it has.

    Returns
    -------
    float
        Of the least mean negative log-likelihood, from 0.1 to 20.

    Example
    -------
    Three of four rows are right at a posterior of 0.9; 0.75 would be true, and
    log(9) / log(3) = 2.

    >>> posteriors = np.array([[0.9, 0.1]] * 4)
    >>> round(fit_temperature([(np.array([0, 0, 0, 1]), posteriors)]), 3)
    2.0
    """
    parts = [(_check(labels, p), p) for labels, p in parts]

    def loss(log_temperature: float) -> float:
        scaled = [
            with_temperature(p, np.exp(log_temperature))[range(len(y)), y]
            for y, p in parts
        ]
        return -float(np.mean([np.log(p).mean() for p in scaled]))

    bounds = np.log(TEMPERATURES)
    return float(
        np.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x)
    )


def check_posteriors(posteriors: np.ndarray) -> None:
    """Refuse posteriors (N, C) that are below 0, or do not add up to 1.

    Raises
    ------
    ValueError
        The first such row is named.
    """
    # Those of predictions.csv have nine digits.
    whole = np.isclose(posteriors.sum(1), 1, rtol=0, atol=1e-6)
    wrong = np.flatnonzero(~whole | (posteriors < 0).any(1))
    if len(wrong):
        raise ValueError(
            f"The posteriors of {len(wrong)} rows are no probabilities that "
            f"add up to 1; the first are {posteriors[wrong[0]].tolist()}."
        )


def _check(labels: np.ndarray, posteriors: np.ndarray) -> np.ndarray:
    """Refuse what are no labels of these posteriors."""
    labels = check_classes("labels", labels, 1)
    if posteriors.ndim != 2 or len(posteriors) != len(labels):
        raise ValueError(
            f"{len(labels)} labels have posteriors of the shape "
            f"{posteriors.shape}; use (N, C)."
        )
    if labels.max() >= posteriors.shape[1]:
        raise ValueError(
            f"Class {labels.max()} stands among the labels; the "
            f"{posteriors.shape[1]} classes are numbered from 0."
        )
    check_posteriors(posteriors)
    return labels
