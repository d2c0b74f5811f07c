"""Measures of the similarity of two corpora, from their sums.

``centroid`` is the cosine of the two centroids. ``pairwise`` is the mean cosine
over all pairs of a source and a target row, which is the dot product of the
mean unit vectors. ``centred`` is the cosine of emotion centroids minus their
own corpus's mean over all its rows. ``covariance`` is
<C_s, C_t> / (|C_s| |C_t|) with Frobenius products, of utterances only;
``covariance_standardised`` the same after each dimension is divided by its
standard deviation over all rows of its own corpus.
"""

from __future__ import annotations

import numpy as np

from lam_sb.analysis.sums import CorpusSums, SegmentSums
from lam_sb.corpora.manifests import EMOTIONS
from lam_sb.errors import UserError, check_choice
from lam_sb.evaluation.metrics import ratio

MEAN_MEASURES = ("centroid", "pairwise", "centred")
COVARIANCE_MEASURES = ("covariance", "covariance_standardised")
MEASURES = MEAN_MEASURES + COVARIANCE_MEASURES


def check_measure(source: CorpusSums, target: CorpusSums, measure: str) -> None:
    """Refuse an unknown measure, and ``centred`` for corpora without labels."""
    check_choice("similarity", measure, MEASURES)
    if measure == "centred":
        check_labels(source, target, "similarity: centred")
    if measure in COVARIANCE_MEASURES and (
        source.products is None or target.products is None
    ):
        raise ValueError("The sums were made without covariance=True.")


def check_labels(source: CorpusSums, target: CorpusSums, key: str) -> None:
    """Refuse corpora without emotion labels, which a key of the YAML needs."""
    for name, corpus in (("source", source), ("target", target)):
        if not corpus.utterances.counts[:, : len(EMOTIONS)].any():
            raise UserError(
                f"{key} needs emotion labels, but the {name} has none; use "
                "use_target_labels: false and another measure than centred."
            )


def compare_means(
    measure: str,
    source: SegmentSums,
    target: SegmentSums,
    source_weights: np.ndarray | None = None,
    target_weights: np.ndarray | None = None,
) -> np.ndarray:
    """One of `MEAN_MEASURES`: (R, 5, L), of the four emotions and all.

    Weights are as for `mean_vectors`. Nan where it is not defined.
    """
    return similarity(
        measure,
        mean_vectors(source, measure, source_weights),
        mean_vectors(target, measure, target_weights),
    )


def compare_covariances(
    measure: str, source: CorpusSums, target: CorpusSums
) -> np.ndarray:
    """One of `COVARIANCE_MEASURES`: (5, L), nan where it is not defined."""
    standardised = measure == "covariance_standardised"
    curves = []
    for layer in range(source.products.shape[1]):
        s, t = (
            _covariances(corpus, layer, standardised).reshape(5, -1)
            for corpus in (source, target)
        )
        curves.append(similarity(measure, s, t))
    return np.stack(curves, axis=1)


def similarity(measure: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Compare (..., D) with (..., D): (...), nan where undefined."""
    product = _dot(a, b)
    if measure == "pairwise":
        return product
    return ratio(product, np.sqrt(_dot(a, a) * _dot(b, b)))


def mean_vectors(
    sums: SegmentSums, measure: str, weights: np.ndarray | None = None
) -> np.ndarray:
    """Vectors that a measure compares, under R weightings of the groups.

    Arguments
    ---------
    sums : SegmentSums
        Of one corpus.
    measure : str
        One of `MEAN_MEASURES`.
    weights : np.ndarray, optional
        (R, G): 0 leaves a group out, 2 counts it twice; once each by default.

    Returns
    -------
    np.ndarray
        (R, 5, L, D) for the four emotions and all; nan where undefined.
    """
    total = sums.units if measure == "pairwise" else sums.vectors
    counts = pooled(sums.counts, weights)[..., None, None]
    means = ratio(pooled(total, weights), counts)
    if measure == "centred":
        means -= means[:, -1:].copy()
        means[:, -1] = np.nan
    return means


def pooled(sums: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Weigh and add groups, (R, G) by (G, 5, ...) to (R, 5, ...).

    The fifth emotion becomes the sum over all five.
    """
    weights = np.ones((1, len(sums))) if weights is None else weights
    total = np.tensordot(weights, sums, 1)
    total[:, -1] = total.sum(axis=1)
    return total


def _covariances(
    corpus: CorpusSums, layer: int, standardised: bool
) -> np.ndarray:
    """Covariances (5, D, D) of one layer, of the four emotions and all."""
    sums = corpus.utterances
    counts = pooled(sums.counts)[0, :, None]
    means = ratio(pooled(sums.vectors[:, :, layer])[0], counts)
    squares = pooled(corpus.products[None, :, layer])[0]
    covariances = ratio(squares, counts[..., None])
    covariances -= means[:, :, None] * means[:, None]
    if standardised:
        std = np.sqrt(np.diag(covariances[-1]).clip(min=0))
        # As in training, a dimension that does not vary stays as it is.
        std[std <= 1e-6 * np.abs(means[-1]) + 1e-12] = 1
        covariances /= std[:, None] * std
    return covariances


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.einsum("...d,...d->...", a, b)
