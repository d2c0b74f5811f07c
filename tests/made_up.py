"""Finished runs that nobody trained: folders as train.py leaves them."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml
from conftest import EMOTIONS, write_table

from lam_sb.evaluation.metrics import scores
from lam_sb.evaluation.predictions import Predictions
from lam_sb.evaluation.statistics import (
    interval,
)
from lam_sb.files import write_checked
from lam_sb.training.history import HISTORY_COLUMNS, LAYER_COLUMNS

EPOCHS = 3
LAYERS = (1, 2, 3, 4)
ANCHORS = {
    "lam_gl": [1, 2, 3],
    "lam_gl_vowl": [1, 2, 4],
    "lam_gl_cons": [2, 3, 4],
    "lam_al": [1, 2, 3, 4],
    "lam_bl": [1],
    "lam_wl": [2, 3, 4],
    "layer_atn": [1, 2, 3],
    "layer_drop": [1, 2, 3],
}
SEGMENTS = {"lam_gl_vowl": "vowels", "lam_gl_cons": "consonants"}


class Row(NamedTuple):
    """A test row; label None where it is unknown."""

    id: str
    speaker: str
    cluster: str
    label: int | None


def make_rows(
    speakers: int | Sequence[str] = 6,
    takes: int = 2,
    emotions: Sequence[int] = (0, 1, 2, 3),
) -> list[Row]:
    """Make rows sorted by id: speaker by speaker, emotion by emotion."""
    if isinstance(speakers, int):
        speakers = [f"s{n:02d}" for n in range(speakers)]
    return [
        Row(f"{speaker}_{emotion}_{take}", speaker, speaker, emotion)
        for speaker in speakers
        for emotion in emotions
        for take in range(takes)
    ]


def make_run(
    root: Path,
    system: str,
    source: str,
    target: str,
    seed: int,
    *,
    encoder: str = "enc",
    wrong: float = 0.25,
    predictions: Sequence[int] | None = None,
    confidences: Sequence[float] | None = None,
    speakers: int | Sequence[str] = 6,
    rows: Sequence[Row] | None = None,
    settings: Mapping | None = None,
    **results,
) -> Path:
    """Write all files of a run.

    Arguments
    ---------
    root : Path
        The folder of all results.
    system, source, target, seed, encoder
        As in results.json.
    wrong : float
        Share of the rows that get the class after their own, drawn by all of
        the above.
    predictions : Sequence[int], optional
        Class of each row instead.
    confidences : Sequence[float], optional
        Largest posterior of each row, by default 0.7; the others are equal.
    speakers : int | Sequence[str]
        Of the test rows, as `make_rows` makes them.
    rows : Sequence[Row], optional
        Test rows instead, sorted by id.
    settings : Mapping, optional
        Keys of settings.yaml that are not as everywhere.
    **results
        Keys of results.json that are not as everywhere. The folder's name is
        the experiment, by default <system>_<encoder>, with _f<fold> after it
        where there are folds.

    Returns
    -------
    Path
        results.json.
    """
    rows = make_rows(speakers) if rows is None else rows
    if predictions is None:
        name = f"{system}-{encoder}-{source}-{target}-{seed}"
        predictions = _guess(rows, wrong, zlib.crc32(name.encode()))
    experiment = f"{system}_{Path(encoder).name}"
    if results.get("folds"):
        experiment += f"_f{results['fold']}"
    content = _results(system, rows, np.array(predictions))
    content |= {"experiment": experiment, "system": system, "seed": seed}
    content |= {"source": source, "target": target, "encoder": encoder}
    content |= results
    folder = root / content["experiment"] / f"{source}-{target}" / str(seed)
    folder.mkdir(parents=True)
    confidences = [0.7] * len(rows) if confidences is None else confidences
    _write_predictions(folder, rows, predictions, confidences, target)
    if system != "ensemble":
        _write_history(folder, content)
    keys = ("experiment", "system", "source", "target", "seed", "split_seed")
    keys += ("protocol", "folds", "fold", "normalise", "select_on", "bound")
    keys += ("target_rows", "segment", "anchor_layers")
    keys += ("gamma",) * bool(content["gamma"])  # where it is used
    own = {key: content[key] for key in keys}
    own |= {"encoder_source": encoder, "lr": 0.001, "data": {"store": "s"}}
    own |= settings or {}
    (folder / "settings.yaml").write_text(yaml.safe_dump(own))
    write_checked(folder / "results.json", content)
    return folder / "results.json"


def make_seeds(
    root: Path,
    system: str,
    wrong: Sequence[tuple[str, int]] = (),
    count: int = 5,
    speakers: int | Sequence[str] = 6,
    rows: Sequence[Row] | None = None,
    source: str = "left",
    target: str = "right",
    **keys,
) -> list[Path]:
    """Write equal runs that miss every row of some speakers' emotions.

    By default a speaker has one row of each emotion. `wrong` holds pairs of a
    speaker and a class, whose rows get the class after their own.
    """
    rows = rows or make_rows(speakers, takes=1)
    guesses = [
        (row.label + ((row.speaker, row.label) in wrong)) % 4 for row in rows
    ]
    keys |= {"rows": rows, "predictions": guesses}
    return [
        make_run(root, system, source, target, seed, **keys)
        for seed in range(count)
    ]


def _guess(rows: Sequence[Row], wrong: float, seed: int) -> list[int]:
    missed = np.random.default_rng(seed).random(len(rows)) < wrong
    return [
        ((row.label or 0) + int(miss)) % 4
        for row, miss in zip(rows, missed, strict=True)
    ]


def _results(system: str, rows: Sequence[Row], predictions: np.ndarray) -> dict:
    aligned = system.startswith("lam")
    layers = [4] if system in ("cc", "ensemble", "few_shot") else [*LAYERS]
    even = {str(layer): 1 / len(layers) for layer in layers}
    learned = {
        "layer_weights": even,
        "layer_share": even,
        "epochs": EPOCHS,
        "steps": 10 * EPOCHS,
        "best_epoch": 2,
    }
    if system == "ensemble":
        learned = dict.fromkeys(learned)
    return {
        "schema": 2,
        "split_seed": 0,
        "protocol": "transductive",
        "folds": 0,
        "fold": 0,
        "normalise": "domain",
        "select_on": "last",
        "bound": system if system in ("within", "oracle") else "none",
        "target_rows": "all",
        "target_row_filter": "none",
        "hold_out_shots": False,
        "adapts_on": "target_train",
        "gamma": 0.5 if aligned else 0,
        "alignment": "LayerCoral" if aligned else "none",
        "segment": SEGMENTS.get(system, "utterance"),
        "layers": layers,
        "anchor_layers": ANCHORS.get(system, []),
        "anchor_rule": "fixed",
        "n_train_source": 48,
        "n_train_target": 48,
        "n_segment_source": 48,
        "n_segment_target": 48,
        "target_labels_used": 20 if system == "few_shot" else 0,
        "shots": 5 if system == "few_shot" else 0,
        "shot_ids": [],
        **learned,
        "valid_uar": 0.7,
        "device": "cpu",
        **_scores(rows, predictions),
        "store": "enc-0123456789abcdef",
        "settings_hash": "0123456789abcdef",
        "seconds": 12.5,
        "versions": {"speechbrain": "1.0", "torch": "2.0"},
        "git": None,
    }


def _scores(rows: Sequence[Row], predictions: np.ndarray) -> dict:
    known = [n for n, row in enumerate(rows) if row.label is not None]
    clusters = [rows[n].cluster for n in known]
    names = ("uar", "macro_f1", "accuracy", "recall", "ovr_uar", "confusion")
    found = dict.fromkeys((*names, "uar_ci95"))
    if known:
        labels = np.array([rows[n].label for n in known])
        found |= scores(labels, predictions[known], EMOTIONS)
        estimate = interval(
            Predictions(known, labels, clusters, predictions[known][None])
        )
        if len(set(clusters)) > 1:
            limits = np.clip([estimate.low, estimate.high], 0, 1)
            found["uar_ci95"] = limits.tolist()
    return found | {
        "n_test": len(rows),
        "n_speakers": len(set(clusters)),
        "speakers": "known",
        "few_speakers": len(set(clusters)) < 10,
        "notes": [],
        "uar_last": found["uar"],
        "uar_source": found["uar"],
    }


def _write_predictions(
    folder: Path,
    rows: Sequence[Row],
    predictions: Sequence[int],
    confidences: Sequence[float],
    corpus: str,
) -> None:
    lines = []
    for row, prediction, confidence in zip(
        rows, predictions, confidences, strict=True
    ):
        posteriors = [(1 - confidence) / 3] * 4
        posteriors[prediction] = confidence
        line = {
            "id": row.id,
            "speaker": row.speaker,
            "cluster": row.cluster,
            "corpus": corpus,
            "label": "" if row.label is None else EMOTIONS[row.label],
            "prediction": EMOTIONS[prediction],
        }
        shares = [f"{p:.9f}" for p in posteriors]
        lines.append(line | dict(zip(EMOTIONS, shares, strict=True)))
    write_table(folder / "predictions.csv", lines)


def _write_history(folder: Path, results: Mapping) -> None:
    """Write history.csv, and layer_weights.csv with even layers."""
    epochs = range(1, EPOCHS + 1)
    losses = [(10 * n, 1.4 / n, 1.5 / n, 0.3 + 0.1 * n) for n in epochs]
    history = [(n, *line) for n, line in zip(epochs, losses, strict=True)]
    layers = [
        (n, layer, share, share, 1.0 / n, 0.5, 120.0, 121.0)
        for n in epochs
        for layer, share in results["layer_share"].items()
    ]
    for name, columns, lines in (
        ("history.csv", HISTORY_COLUMNS, history),
        ("layer_weights.csv", LAYER_COLUMNS, layers),
    ):
        table = [dict(zip(columns, line, strict=True)) for line in lines]
        write_table(folder / name, table)
