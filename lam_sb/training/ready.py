"""Features made ready for training: layers, statistics, place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lam_sb.features.resident import place_features
from lam_sb.run_parts import set_emotions
from lam_sb.training.rows import DomainRows, Parts, segments_of
from lam_sb.training.source_folds import choose_layers
from lam_sb.training.standardisation import fit_standardisers


def ready_features(
    hparams: dict,
    rows: Parts,
    normalise: str,
    features_on: str,
    store: Path,
    device: str,
) -> tuple[list[int], tuple[str, ...]]:
    """Choose the layers, standardise, and put the features where they are read.

    Arguments
    ---------
    hparams : dict
        Values of the run; its ``layers`` and ``layer_scores`` are set.
    rows : Parts
        Rows by what they are for and corpus.
    normalise : str
        As for `fit_standardisers`.
    features_on : str
        As for `place_features`; the ensemble reads all once, from the disk.
    store : Path
        Folder of the store; its ``statistics`` keeps some for other runs.
    device : str
        Where the run trains.

    Returns
    -------
    layers : list[int]
        Layers that are read.
    segments : tuple[str, ...]
        Segments that are read; the first is classified.
    """
    source = _by_corpus(rows, ["source_train", "source_valid"])
    target = _by_corpus(rows, ["target_train", "target_test", "shots"])
    selected = target if hparams["select_on"] == "target" else source
    for corpus, valid in zip(selected, rows["valid"].values(), strict=True):
        corpus.append(valid)
    choose_layers(hparams, [*rows["source_train"].values()])
    layers = hparams["layers"]
    segments = segments_of(hparams["fit"], hparams["segment"])
    if hparams["seeds_averaged"] > 1:  # those runs have read them
        normalise = "none"
    if normalise == "residual":
        set_emotions(hparams, source, target)
    kept = store / "statistics"
    fit_standardisers(normalise, source, target, layers, segments, kept)
    if hparams["fit"] == "sklearn":
        return layers, segments
    parts = [corpus for part in rows.values() for corpus in part.values()]
    features = [part.features for part in parts]
    place_features(features, segments, layers, features_on, device)
    for part in parts:
        part.standardisers = {
            name: standardiser.to(device)
            for name, standardiser in part.standardisers.items()
        }
    return layers, segments


def _by_corpus(rows: Parts, parts: Sequence[str]) -> list[list[DomainRows]]:
    """Rows of each corpus of a role, of some parts."""
    return [
        [rows[part][corpus] for part in parts if part in rows]
        for corpus in rows[parts[0]]
    ]
