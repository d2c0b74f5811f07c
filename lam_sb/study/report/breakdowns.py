"""What lies behind a system's UAR: speakers, genders, layers, epochs."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lam_sb.corpora.manifests import EMOTIONS
from lam_sb.evaluation.comparisons import BASELINES, Cell, Column, Table
from lam_sb.evaluation.results import Run
from lam_sb.evaluation.statistics import Estimate, Predictions, interval


class Part(NamedTuple):
    """A system on the rows of one gender.

    ``estimate`` is its UAR, over ``num_classes`` classes, of ``num_rows``
    utterances.
    """

    estimate: Estimate
    num_classes: int
    num_rows: int


class Speaker(NamedTuple):
    """A system on the rows of one speaker, or of what stands for one.

    ``uar`` is over the ``num_classes`` classes of these ``num_rows``
    utterances, averaged over the seeds.
    """

    name: str
    uar: float
    num_classes: int
    num_rows: int


@dataclass(frozen=True, eq=False)
class Epochs:
    """What runs logged by epoch, as far as all of them went.

    Arguments
    ---------
    at : np.ndarray
        (E,) epochs, or steps.
    values : dict[str, np.ndarray]
        By column of the log (R, E) of R runs, or (R, E, L) of L layers; nan
        where a run has none.
    layers : tuple[int, ...]
        The L layers; none of history.csv.
    """

    at: np.ndarray
    values: dict[str, np.ndarray]
    layers: tuple[int, ...] = ()


def by_gender(
    predictions: Predictions, genders: Mapping[str, str]
) -> dict[str, Part]:
    """Score each gender's rows.

    Arguments
    ---------
    predictions : Predictions
        Of one system.
    genders : Mapping[str, str]
        Gender by utterance; rows that it lacks or that are empty are left out.

    Returns
    -------
    dict[str, Part]
        By gender, in alphabetical order.
    """
    of_rows = np.array([genders.get(str(i)) or "" for i in predictions.ids])
    parts = {}
    for gender in sorted(set(of_rows) - {""}):
        rows = predictions.take(np.flatnonzero(of_rows == gender))
        num_classes = len(np.unique(rows.labels))
        parts[gender] = Part(interval(rows), num_classes, len(rows.labels))
    return parts


def by_speaker(predictions: Predictions) -> list[Speaker]:
    """Score each cluster's rows.

    Arguments
    ---------
    predictions : Predictions
        Of one system.

    Returns
    -------
    list[Speaker]
        By name.

    Example
    -------
    >>> by_speaker(Predictions(["a", "b"], [0, 1], ["x", "x"], [[0, 0]]))
    [Speaker(name='x', uar=0.5, num_classes=2, num_rows=2)]
    """
    names, index = np.unique(predictions.clusters, return_inverse=True)
    shape = len(names), len(EMOTIONS)
    cells = np.ravel_multi_index((index, predictions.labels), shape)
    right = (predictions.predictions == predictions.labels).mean(axis=0)
    size = shape[0] * shape[1]
    total = np.bincount(cells, minlength=size).reshape(shape)
    correct = np.bincount(cells, right, size).reshape(shape)
    # The mean of the seeds' UARs is the UAR of their mean recalls.
    num_classes = (total > 0).sum(axis=1)
    scores = (correct / np.maximum(total, 1)).sum(axis=1) / num_classes
    return [
        Speaker(str(name), float(score), int(classes), int(rows))
        for name, score, classes, rows in zip(
            *(names, scores, num_classes, total.sum(axis=1)), strict=True
        )
    ]


def mean_confusion(predictions: Predictions) -> tuple[np.ndarray, np.ndarray]:
    """Count what is taken for what.

    Arguments
    ---------
    predictions : Predictions
        Of one system.

    Returns
    -------
    rates : np.ndarray
        (4, 4) shares of each true class, averaged over the seeds; nan for a
        class that no row has.
    counts : np.ndarray
        (4,) rows of each true class.
    """
    size = len(EMOTIONS)
    matrix = np.zeros((size, size))
    for seed in predictions.predictions:
        np.add.at(matrix, (predictions.labels, seed), 1)
    counts = np.bincount(predictions.labels, minlength=size)
    total = len(predictions.predictions) * counts[:, None]
    rates = np.where(total > 0, matrix / np.maximum(total, 1), np.nan)
    return rates, counts


def mean_by_layer(cell: Cell, key: str) -> dict[int, float]:
    """Average what results.json holds by layer.

    Arguments
    ---------
    cell : Cell
        Of one system.
    key : str
        ``layer_share`` or ``layer_weights``.

    Returns
    -------
    dict[int, float]
        By layer, averaged over the runs; empty where one of them has none, as
        the ensemble.
    """
    found = [run.results.get(key) for run in cell.runs]
    if not all(found) or len({tuple(f) for f in found}) > 1:
        return {}
    return {
        int(layer): float(np.mean([f[layer] for f in found]))
        for layer in found[0]
    }


def read_layers(runs: Sequence[Run]) -> Epochs | None:
    """Read layer_weights.csv of some runs.

    Arguments
    ---------
    runs : Sequence[Run]
        Of one system.

    Returns
    -------
    Epochs | None
        ``alpha`` and ``share`` (R, E, L) of the epochs that all runs have;
        None where one has no such file, or none of more than one layer.
    """
    logs = [_read_log(run.path.with_name("layer_weights.csv")) for run in runs]
    if not all(logs):
        return None
    tables = [
        {(int(line["epoch"]), int(line["layer"])): line for line in log}
        for log in logs
    ]
    shared = set(tables[0]).intersection(*tables[1:])
    layers = tuple(sorted({layer for _, layer in shared}))
    epochs = sorted({epoch for epoch, _ in shared})
    if len(layers) < 2 or len(shared) < len(layers) * len(epochs):
        return None
    values = {
        key: np.array(
            [
                [[_number(table[e, n][key]) for n in layers] for e in epochs]
                for table in tables
            ]
        )
        for key in ("alpha", "share")
    }
    return Epochs(np.array(epochs), values, layers)


def read_history(runs: Sequence[Run]) -> Epochs | None:
    """Read history.csv of some runs.

    Arguments
    ---------
    runs : Sequence[Run]
        Of one system.

    Returns
    -------
    Epochs | None
        ``train_loss``, ``valid_loss`` and ``valid_uar`` (R, E) by the steps
        that all runs have; None where one has no such file.
    """
    logs = [_read_log(run.path.with_name("history.csv")) for run in runs]
    if not all(logs):
        return None
    tables = [{int(line["steps"]): line for line in log} for log in logs]
    steps = sorted(set(tables[0]).intersection(*tables[1:]))
    if not steps:
        return None
    values = {
        key: np.array(
            [[_number(table[step][key]) for step in steps] for table in tables]
        )
        for key in ("train_loss", "valid_loss", "valid_uar")
    }
    return Epochs(np.array(steps), values)


def best_baseline(table: Table, column: Column) -> str | None:
    """Find the baseline with the highest UAR.

    Arguments
    ---------
    table : Table
        Of one protocol.
    column : Column
        One of its columns.

    Returns
    -------
    str | None
        The system; None where the column has no baseline.
    """
    there = [s for s in BASELINES if (s, column) in table.cells]
    return max(
        there,
        key=lambda system: table.cells[system, column].estimate.value,
        default=None,
    )


def _read_log(path: Path) -> list[dict]:
    if not path.is_file():
        return []
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _number(value: str) -> float:
    return float(value) if value else float("nan")
