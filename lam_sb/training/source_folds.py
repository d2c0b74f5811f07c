"""Choices by cross-validation over the source's speakers alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lam_sb.evaluation.metrics import uar
from lam_sb.models.pooling import BEST_ON_SOURCE
from lam_sb.training.rows import DomainRows

FOLDS = 5


def speaker_folds(
    clusters: Sequence[str],
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Five folds of rows, or fewer, each with speakers of its own.

    Arguments
    ---------
    clusters : Sequence[str]
        Speaker of each row; of a single one, each row counts as one.

    Returns
    -------
    list[tuple[np.ndarray, np.ndarray]]
        Positions to train on and to validate on.

    Example
    -------
    >>> [part.tolist() for _, part in speaker_folds(["a", "b", "a", "a"])]
    [[0, 2, 3], [1]]
    """
    names, groups = np.unique(clusters, return_inverse=True)
    if len(names) < 2:
        groups = np.arange(len(groups))
    folds = GroupKFold(min(FOLDS, groups.max() + 1))
    return list(folds.split(groups, groups=groups))


def joint_clusters(rows: Sequence[DomainRows]) -> list[list[str]]:
    """Speakers of the rows of corpora, those of each under names of its own."""
    if len(rows) == 1:
        return [rows[0].clusters]
    return [
        [f"{n} {cluster}" for cluster in part.clusters]
        for n, part in enumerate(rows)
    ]


def layer_scores(
    rows: Sequence[DomainRows], layers: Sequence[int]
) -> dict[int, float]:
    """UAR of each layer alone on held-out speakers.

    The classifier, linear discriminant analysis of utterance means with the
    covariances shrunken after Ledoit and Wolf, has nothing to be tuned.

    Arguments
    ---------
    rows : Sequence[DomainRows]
        Labelled training rows of each source.
    layers : Sequence[int]
        Layer numbers.

    Returns
    -------
    dict[int, float]
        Between 0 and 1, by layer.
    """
    labels = np.concatenate([part.labels.numpy() for part in rows])
    known = labels >= 0
    y = labels[known]
    folds = speaker_folds(np.concatenate(joint_clusters(rows))[known])
    scores = {}
    for layer in layers:
        x = torch.cat(
            [
                part.features.gather("utterance", range(len(part)), [layer])[0]
                for part in rows
            ]
        )
        classifier = make_pipeline(
            StandardScaler(),
            LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"),
        )
        x = x[:, 0].numpy()[known]
        scores[layer] = uar(y, cross_val_predict(classifier, x, y, cv=folds))
    return scores


def choose_layers(hparams: dict, source: Sequence[DomainRows]) -> None:
    """Set what ``mix_layers: best_on_source`` means: ``layers``.

    Also ``layer_scores``, None under any other ``mix_layers``.
    """
    hparams["layer_scores"] = None
    if hparams["mix_layers"] == BEST_ON_SOURCE:
        scores = layer_scores(
            source, range(1, hparams["encoder"].num_layers + 1)
        )
        hparams["layers"] = [max(scores, key=scores.get)]
        hparams["layer_scores"] = {str(n): s for n, s in scores.items()}
