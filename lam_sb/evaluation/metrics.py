"""Scores of predictions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from sklearn.metrics import confusion_matrix, f1_score


def uar(
    labels: np.ndarray, predictions: np.ndarray, num_classes: int = 4
) -> float:
    """Unweighted average recall over the classes present in the labels.

    Labels and predictions are (N,) classes from 0. A class that is predicted
    but not present counts as a wrong prediction, not as a class. The UAR is a
    fraction; nan without labels.

    Example
    -------
    >>> uar([0, 0, 1], [0, 3, 1])  # recalls 1/2 and 1
    0.75
    """
    if len(labels) == 0 and len(predictions) == 0:
        return math.nan
    confusion = _confusion(labels, predictions, num_classes)
    return float(macro_recall(np.diag(confusion), confusion.sum(axis=1)))


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
    recall = ratio(correct, total)
    specificity = ratio(rest - (predicted - correct), rest)
    macro_f1 = f1_score(
        labels, predictions, labels=np.flatnonzero(total), average="macro"
    )
    return {
        "uar": float(macro_recall(correct, total)),
        "macro_f1": float(macro_f1),
        "accuracy": float(correct.sum() / len(labels)),
        "recall": _by_emotion(emotions, recall),
        "ovr_uar": _by_emotion(emotions, (recall + specificity) / 2),
        "confusion": confusion.tolist(),
    }


def check_classes(
    name: str, values: np.ndarray, num_dims: int, least: int = 0
) -> np.ndarray:
    """Refuse all but whole numbers from ``least`` on, or none at all."""
    values = np.asarray(values)
    if values.ndim != num_dims or values.size == 0:
        raise ValueError(
            f"{name} has the shape {values.shape}; use {num_dims} "
            f"dimension{'s' * (num_dims > 1)}, none of them empty."
        )
    whole = np.issubdtype(values.dtype, np.integer)
    if not whole or values.min() < least:
        held = values.min() if whole else values.dtype
        without = "" if least < 0 else ", without unlabelled rows"
        raise ValueError(
            f"{name} holds {held}; use whole numbers from {least} on{without}."
        )
    return values


def macro_recall(correct: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Average recall over the classes present, (..., C) counts -> (...)."""
    return mean_defined(ratio(correct, total), axis=-1)


def ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Divide; 0 / 0 is nan, as what is not defined."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.divide(a, b)


def mean_defined(values: np.ndarray, axis: int) -> np.ndarray:
    """Average what is not nan; nan where nothing is."""
    defined = ~np.isnan(values)
    return ratio(np.where(defined, values, 0).sum(axis), defined.sum(axis))


def _confusion(
    labels: np.ndarray, predictions: np.ndarray, num_classes: int
) -> np.ndarray:
    """(C, C) counts, rows are the truth."""
    labels = check_classes("labels", labels, 1)
    predictions = check_classes("predictions", predictions, 1)
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


def _by_emotion(
    emotions: Sequence[str], values: np.ndarray
) -> dict[str, float | None]:
    return {
        emotion: None if math.isnan(value) else float(value)
        for emotion, value in zip(emotions, values, strict=True)
    }
