"""Features made ready for training: layers, statistics, place."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lam_sb.features.resident import place_features
from lam_sb.training.rows import DomainRows, segments_of
from lam_sb.training.source_folds import choose_layers
from lam_sb.training.standardisation import fit_standardisers


def ready_features(
    hparams: dict,
    rows: Mapping[str, DomainRows],
    normalise: str,
    features_on: str,
    kept: Path,
    device: str,
) -> tuple[list[int], tuple[str, ...]]:
    """Choose the layers, standardise, and put the features where they are read.

    Arguments
    ---------
    hparams : dict
        Values of the run; its ``layers`` and ``layer_scores`` are set.
    rows : Mapping[str, DomainRows]
        Rows by what they are for.
    normalise : str
        As for `fit_standardisers`.
    features_on : str
        As for `place_features`; the ensemble reads all once, from the disk.
    kept : Path
        Folder of the store where statistics are kept.
    device : str
        Where the run trains.

    Returns
    -------
    layers : list[int]
        Layers that are read.
    segments : tuple[str, ...]
        Segments that are read; the first is classified.
    """
    source = [rows["source_train"], rows["source_valid"]]
    target = [rows["target_train"], rows["target_test"]]
    target += [rows["shots"]] if "shots" in rows else []
    selected_on_target = hparams["select_on"] == "target"
    (target if selected_on_target else source).append(rows["valid"])
    choose_layers(hparams, rows["source_train"])
    layers = hparams["layers"]
    segments = segments_of(hparams["fit"], hparams["segment"])
    fit_standardisers(normalise, source, target, layers, segments, kept)
    if hparams["fit"] == "sklearn":
        return layers, segments
    features = [part.features for part in rows.values()]
    place_features(features, segments, layers, features_on, device)
    for part in rows.values():
        part.standardisers = {
            name: standardiser.to(device)
            for name, standardiser in part.standardisers.items()
        }
    return layers, segments
