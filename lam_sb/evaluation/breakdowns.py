"""What lies behind a UAR: speakers, genders, sureness, layers, epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import numpy as np
import pandas as pd

from lam_sb.corpora.manifests import EMOTIONS
from lam_sb.evaluation.calibration import (
    brier_score,
    expected_calibration_error,
    uar_at_coverage,
)
from lam_sb.evaluation.catalogue import BASELINES
from lam_sb.evaluation.comparisons import Column, Score, ScoreTable
from lam_sb.evaluation.predictions import Predictions
from lam_sb.evaluation.results import Run
from lam_sb.evaluation.statistics import (
    Estimate,
    interval,
)


class GenderScore(NamedTuple):
    """A system's UAR on the rows of one gender, over the classes they have."""

    estimate: Estimate
    num_classes: int
    num_rows: int


@dataclass(frozen=True, eq=False)
class Log:
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
) -> dict[str, GenderScore]:
    """Score each gender's rows; genders are by utterance, empty if unknown."""
    of_rows = np.array([genders.get(str(i)) or "" for i in predictions.ids])
    scores = {}
    for gender in sorted(set(of_rows) - {""}):
        rows = predictions.take(np.flatnonzero(of_rows == gender))
        num_classes = len(np.unique(rows.labels))
        scores[gender] = GenderScore(
            interval(rows), num_classes, len(rows.labels)
        )
    return scores


def by_speaker(predictions: Predictions) -> pd.DataFrame:
    """Score each speaker's rows, or those of what stands for a speaker.

    Returns
    -------
    pd.DataFrame
        By speaker: ``uar`` over the emotions that the speaker has, averaged
        over the seeds, and the numbers of ``utterances`` and ``emotions``.

    Example
    -------
    >>> predictions = Predictions(["a", "b"], [0, 1], ["x", "x"], [[0, 0]])
    >>> by_speaker(predictions).loc["x"].tolist()
    [0.5, 2.0, 2.0]
    """
    right = (predictions.predictions == predictions.labels).mean(axis=0)
    rows = pd.DataFrame(
        {
            "speaker": predictions.clusters.astype(str),
            "label": predictions.labels,
            "right": right,
        }
    )
    # The mean of the seeds' UARs is the UAR of their mean recalls.
    recalls = rows.groupby(["speaker", "label"])["right"].agg(["mean", "size"])
    by_speaker = recalls.groupby("speaker")
    return pd.DataFrame(
        {
            "uar": by_speaker["mean"].mean(),
            "utterances": by_speaker["size"].sum(),
            "emotions": by_speaker.size(),
        }
    )


def mean_confusion(predictions: Predictions) -> tuple[np.ndarray, np.ndarray]:
    """Count what is taken for what.

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


def mean_calibration(score: Score) -> dict[str, float]:
    """Average over the seeds how sure a system is, and how right.

    Returns
    -------
    dict[str, float]
        ``ece``, ``brier``, ``confidence`` and ``accuracy``, as results.json has
        them; of folds, over the rows of all of them at once.
    """
    labels, seeds = score.predictions.labels, _seed_posteriors(score)
    right = score.predictions.predictions == labels
    errors = [expected_calibration_error(labels, seed) for seed in seeds]
    return {
        "ece": float(np.mean(errors)),
        "brier": float(np.mean([brier_score(labels, seed) for seed in seeds])),
        "confidence": float(np.mean([seed.max(1) for seed in seeds])),
        "accuracy": float(right.mean()),
    }


def coverage_curve(score: Score, percents: Sequence[int]) -> pd.DataFrame:
    """Score the surest rows of a system, by how many are kept.

    Returns
    -------
    pd.DataFrame
        By percent: ``uar``, as from `uar_at_coverage`, averaged over the seeds,
        and ``lacks``, whether a seed keeps no row of an emotion that there is.
    """
    labels, seeds = score.predictions.labels, _seed_posteriors(score)
    points, num_classes = {}, len(np.unique(labels))
    for percent in percents:
        found = [uar_at_coverage(labels, seed, percent) for seed in seeds]
        uars, counts = zip(*found, strict=True)
        points[percent] = np.mean(uars), min(counts) < num_classes
    return pd.DataFrame.from_dict(points, "index", columns=["uar", "lacks"])


def _seed_posteriors(score: Score) -> list[np.ndarray]:
    """(N, 4) posteriors of each seed, for the rows of the predictions."""
    joined = []
    for _, parts in groupby(score.runs, key=lambda run: run.results["seed"]):
        frames = [pd.DataFrame(r.posteriors, index=r.ids) for r in parts]
        whole = pd.concat(frames).loc[score.predictions.ids]
        joined.append(whole.to_numpy())
    return joined


def layer_means(score: Score, key: str) -> dict[int, float]:
    """Average ``layer_share`` or ``layer_weights`` over the runs, by layer.

    Empty where a run has none, as the ensemble, or other layers.
    """
    by_run = [run.results.get(key) for run in score.runs]
    if not all(by_run) or len({tuple(values) for values in by_run}) > 1:
        return {}
    return {
        int(layer): float(np.mean([values[layer] for values in by_run]))
        for layer in by_run[0]
    }


def read_layers(runs: Sequence[Run]) -> Log | None:
    """Read layer_weights.csv of some runs.

    Returns
    -------
    Log | None
        ``alpha`` and ``share`` (R, E, L) of the epochs that all runs have;
        None where one has no such file, or none of more than one layer.
    """
    logs = _read_logs(runs, "layer_weights.csv", ["epoch", "layer"])
    if not logs:
        return None
    epochs, layers = logs[0].index.levels
    if len(layers) < 2 or len(logs[0]) < len(epochs) * len(layers):
        return None
    shape = len(epochs), len(layers)
    values = {
        key: np.stack([log[key].to_numpy(float).reshape(shape) for log in logs])
        for key in ("alpha", "share")
    }
    return Log(epochs.to_numpy(), values, tuple(layers.tolist()))


def read_history(runs: Sequence[Run]) -> Log | None:
    """Read history.csv of some runs.

    Returns
    -------
    Log | None
        ``train_loss``, ``valid_loss`` and ``valid_uar`` (R, E) by the steps
        that all runs have; None where one has no such file.
    """
    logs = _read_logs(runs, "history.csv", ["steps"])
    if not logs:
        return None
    values = {
        key: np.stack([log[key].to_numpy(float) for log in logs])
        for key in ("train_loss", "valid_loss", "valid_uar")
    }
    return Log(logs[0].index.to_numpy(), values)


def _read_logs(
    runs: Sequence[Run], name: str, index: Sequence[str]
) -> list[pd.DataFrame]:
    """Lines that all logs have, in order; none where a run has no log."""
    paths = [run.folder / name for run in runs]
    if not all(path.is_file() for path in paths):
        return []
    logs = [pd.read_csv(path, index_col=index) for path in paths]
    shared = logs[0].index
    for log in logs[1:]:
        shared = shared.intersection(log.index)
    if shared.empty:
        return []
    shared = shared.sort_values()
    if len(index) > 1:
        shared = shared.remove_unused_levels()
    return [log.loc[shared] for log in logs]


def best_baseline(table: ScoreTable, column: Column) -> str | None:
    """Baseline with the highest UAR of a column; None if it has none."""
    there = [s for s in BASELINES if (s, column) in table.scores]
    return max(
        there,
        key=lambda system: table.scores[system, column].estimate.value,
        default=None,
    )
