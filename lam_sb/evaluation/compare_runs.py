"""The command ``compare``: two systems' runs, in one sentence and as JSON."""

from __future__ import annotations

import glob
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lam_sb.arguments import compare_arguments
from lam_sb.errors import UserError
from lam_sb.evaluation.catalogue import name_of
from lam_sb.evaluation.comparisons import Column, Score, cautions, make_tables
from lam_sb.evaluation.results import read_run
from lam_sb.evaluation.run_settings import differing_rows
from lam_sb.evaluation.statistics import (
    Comparison,
    Estimate,
    compare,
    interval,
)
from lam_sb.run_folder import is_part

LEVEL = 0.05  # of "differs"


def compare_runs(argv: Sequence[str]) -> None:
    """Print by how much the first runs are better than the second.

    Raises
    ------
    UserError
        No runs, runs of several systems or targets, or no shared test rows.
    """
    given = compare_arguments(argv)
    (name_a, column, a), (name_b, other, b) = (
        _score(pattern) for pattern in (given.first, given.second)
    )
    if column.target != other.target:
        raise UserError(
            f"{given.first} was tested on {column.target} and {given.second} "
            f"on {other.target}: compare runs of one target."
        )
    both = {run.path.resolve() for run in a.runs} & {
        run.path.resolve() for run in b.runs
    }
    if both:
        raise UserError(
            f"{min(both)} is among both: give two systems, or other seeds."
        )
    try:
        comparison = compare(a.predictions, b.predictions)
    except ValueError as error:
        raise UserError(
            f"{given.first} ({column.label}) and {given.second} "
            f"({other.label}) cannot be compared: {error}"
        ) from None
    if name_a == name_b:
        name_a = f"{name_a} ({given.first})"
        name_b = f"{name_b} ({given.second})"
    print(_sentence(name_a, name_b, column.target, comparison, a, b))
    differing = [*differing_rows(b.runs, a.runs).values()]
    if column != other:
        differing.append(f"{column.label}, not {other.label}")
    if differing:
        print(f"They differ in more than the system: {'; '.join(differing)}.")
    print(json.dumps(_content(name_a, name_b, comparison, a, b), indent=1))


def _score(pattern: str) -> tuple[str, Column, Score]:
    """Name, column and score of the runs in some folders."""
    there = [pattern] if Path(pattern).exists() else glob.glob(pattern)
    folders = [Path(p) for p in sorted(there)]
    paths = [p for f in folders for p in sorted(f.rglob("results.json"))]
    paths = [path for path in dict.fromkeys(paths) if not is_part(path)]
    if not paths:
        raise UserError(
            f"{pattern} holds no results.json: give the folder of a run, or "
            'of an experiment, or a pattern in quotes, "results/x/a-b/*".'
        )
    tables, problems = make_tables(read_run(path) for path in paths)
    found = {
        (system, column): score
        for table in tables
        for (system, column), score in table.scores.items()
    }
    if not found:
        raise UserError(f"{pattern}: {' '.join(problems)}")
    if len(found) > 1 or len(tables) > 1:
        listed = ", ".join(
            f"{name_of(system)} ({column.label})" for system, column in found
        )
        raise UserError(
            f"{pattern} holds more than one system, direction or protocol: "
            f"{listed}. Give one of them, as results/<experiment>/"
            "<source>-<target>."
        )
    for problem in problems:
        print(problem)
    (((system, column), score),) = found.items()
    return name_of(system), column, score


def _seeds(score: Score) -> str:
    count = len(score.predictions.predictions)
    return f"{count} seed{'s' * (count != 1)}"


def _sentence(
    name_a: str,
    name_b: str,
    target: str,
    comparison: Comparison,
    a: Score,
    b: Score,
) -> str:
    """Say by how much A is better, and whether that may be chance."""
    found, uars = comparison.estimate, _shared_uars(a, b)
    points = [100 * x for x in (found.value, found.low, found.high)]
    text = (
        f"On {comparison.num_shared} rows of {target}, {name_a} (UAR "
        f"{100 * uars[0]:.1f} %, {_seeds(a)}) minus {name_b} "
        f"({100 * uars[1]:.1f} %, {_seeds(b)}) is {points[0]:+.1f} points"
    )
    if math.isnan(found.low):
        return f"{text}; of one speaker there is no interval."
    p = comparison.p_two_sided
    verdict = "they differ" if p < LEVEL else "no difference is shown"
    text += (
        f", 95 % interval [{points[1]:+.1f}, {points[2]:+.1f}] over "
        f"{found.num_clusters} speakers and the seeds, p "
        f"{'< 0.001' if p < 0.001 else f'{p:.3f}'}: {verdict}"
    )
    doubts = cautions(found)
    if not doubts:
        return f"{text}."
    return f"{text} (but: {', '.join(doubts)}; no claim)."


def _shared_uars(a: Score, b: Score) -> list[float]:
    """UAR of both on the rows that both tested."""
    shared = np.intersect1d(a.predictions.ids, b.predictions.ids)
    return [
        interval(
            part.predictions.take(
                np.flatnonzero(np.isin(part.predictions.ids, shared))
            )
        ).value
        for part in (a, b)
    ]


def _content(
    name_a: str, name_b: str, comparison: Comparison, a: Score, b: Score
) -> dict:
    """Give the same for a program."""
    return {
        "a": _described(name_a, a),
        "b": _described(name_b, b),
        "difference": _numbers(comparison.estimate),
        "p_two_sided": _number(comparison.p_two_sided),
        "p_a_not_better": _number(comparison.p_greater),
        "shared_rows": comparison.num_shared,
        "cautions": cautions(comparison.estimate),
    }


def _described(name: str, score: Score) -> dict:
    runs = [str(run.path) for run in score.runs]
    return {"system": name, "uar": _numbers(score.estimate), "runs": runs}


def _numbers(estimate: Estimate) -> dict:
    return {
        "value": estimate.value,
        "ci95": [_number(estimate.low), _number(estimate.high)],
        "speakers": estimate.num_clusters,
        "seeds": estimate.num_seeds,
    }


def _number(value: float) -> float | None:
    """Give a number as JSON can hold it."""
    return None if math.isnan(value) else value
