"""Systems side by side: their scores, and what differs beyond chance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lam_sb.evaluation.catalogue import (
    REFERENCE,
    family_of,
    position_of,
    row_of,
)
from lam_sb.evaluation.predictions import Predictions
from lam_sb.evaluation.protocols import PROTOCOL, protocols_of
from lam_sb.evaluation.results import Run
from lam_sb.evaluation.run_settings import differing_rows, of_equal_settings
from lam_sb.evaluation.statistics import (
    Comparison,
    Estimate,
    compare,
    holm,
    interval,
)

# With fewer, no mark of significance.
MIN_MARK_SPEAKERS = 6
MIN_MARK_SEEDS = 5
MIN_CLAIM_SEEDS = 10  # with fewer, the caption says that it is no claim
UNTESTED = "untested"  # rows that differ from LAM-GL in more than the system


class Column(NamedTuple):
    """Where systems are compared: an encoder and a direction."""

    encoder: str
    source: str
    target: str
    beside: str = ""  # other targets of the same runs

    @property
    def direction(self) -> str:
        """All corpora, as in ``emodb → savee (beside ravdess)``."""
        beside = f" (beside {self.beside})" if self.beside else ""
        return f"{self.source} → {self.target}{beside}"

    @property
    def label(self) -> str:
        """Both corpora and the encoder."""
        return f"{self.direction}, {self.encoder}"


Key = tuple[str, Column]  # the row and column of a score


@dataclass(frozen=True, eq=False)
class Score:
    """The score of one system in one column.

    Arguments
    ---------
    runs : tuple[Run, ...]
        By seed and fold.
    predictions : Predictions
        (S, N) of S seeds on the N rows that all of them tested, folds joined.
    estimate : Estimate
        UAR with its interval.
    """

    runs: tuple[Run, ...]
    predictions: Predictions
    estimate: Estimate


@dataclass(frozen=True)
class Difference:
    """LAM-GL minus another system of the same column.

    Arguments
    ---------
    comparison : Comparison
        The difference, its two-sided interval and p-values.
    p_holm : float
        Corrected within its family: one-sided ("LAM-GL is better") for a
        baseline, two-sided for all others; nan for a bound and where there is
        no test.
    mark : str
        ``**`` or ``*`` of a baseline (p_holm < 0.05, < 0.1); ``†`` where the
        system is better than LAM-GL (two-sided, Holm, p < 0.05); else empty.
    """

    comparison: Comparison
    p_holm: float
    mark: str


@dataclass(eq=False)
class ScoreTable:
    """Scores of systems by columns, all under one protocol.

    Arguments
    ---------
    protocol : dict
        The keys of `PROTOCOL`.
    columns : list[Column]
        In order.
    systems : list[str]
        Rows in order, as from `lam_sb.evaluation.catalogue.row_of`; where a
        second experiment has the same, it follows in brackets.
    scores : dict[Key, Score]
        Not every system has every column.
    differences : dict[Key, Difference]
        From LAM-GL, where the column has it.
    differing : dict[Key, list[str]]
        In what a row is not as LAM-GL (or, without it, as the first row of the
        column), but for its system; such a row is not tested.
    """

    protocol: dict
    columns: list[Column]
    systems: list[str]
    scores: dict[Key, Score]
    differences: dict[Key, Difference] = field(default_factory=dict)
    differing: dict[Key, list[str]] = field(default_factory=dict)


def make_tables(
    runs: Iterable[Run], encoders: Mapping[str, str] | None = None
) -> tuple[list[ScoreTable], list[str]]:
    """Put runs into tables, and compare each system with LAM-GL.

    Arguments
    ---------
    runs : Iterable[Run]
        In the order of the columns.
    encoders : Mapping[str, str] | None
        Short names by ``encoder`` of results.json; others keep the last part
        of theirs.

    Returns
    -------
    tables : list[ScoreTable]
        One a protocol. The bound ``within`` has no other source; it stands in
        all columns of its target.
    problems : list[str]
        Runs that are left out, and why.
    """
    problems: list[str] = []
    runs = [run for run in runs if _is_usable(run, problems)]
    own = [_own_column(run, encoders or {}) for run in runs]
    columns = list(dict.fromkeys(own))
    grouped: dict[tuple, dict[Key, list[Run]]] = {}
    for run, column, protocol in zip(
        runs, own, protocols_of(runs), strict=True
    ):
        by_key = grouped.setdefault(protocol, {})
        for shown_in in _columns_of(run, column, columns):
            by_key.setdefault(_key(run, shown_in, by_key), []).append(run)
    tables = []
    for protocol, by_key in grouped.items():
        scores = {k: _score(part, problems) for k, part in by_key.items()}
        scores = {key: score for key, score in scores.items() if score}
        if scores:
            named = dict(zip(PROTOCOL, protocol, strict=True))
            tables.append(_table(named, scores, columns, problems))
    return tables, list(dict.fromkeys(problems))


def _is_usable(run: Run, problems: list[str]) -> bool:
    if run.results["select_on"] == "target":
        problems.append(
            f"{run.path}: left out, for with select_on: target the labels of "
            "the test set chose the weights."
        )
    elif not len(run.ids):
        problems.append(f"{run.path}: the labels of its test set are unknown.")
    else:
        return True
    return False


def _own_column(run: Run, encoders: Mapping[str, str]) -> Column:
    encoder = run.results["encoder"]
    name = encoders.get(encoder) or Path(encoder).name
    target = run.results["target"]
    targets = run.results.get("targets", [target])
    return columns_of(name, run.results["source"], targets)[target]


def columns_of(
    encoder: str, source: str, targets: Sequence[str]
) -> dict[str, Column]:
    """Columns of runs with some targets, by target."""
    others = {t: "+".join(o for o in targets if o != t) for t in targets}
    return {t: Column(encoder, source, t, others[t]) for t in targets}


def _columns_of(
    run: Run, column: Column, columns: Sequence[Column]
) -> list[Column]:
    """Columns that show a run: its own, or all of its target if within."""
    if run.results["bound"] != "within":
        return [column]
    same = [
        other
        for other in columns
        if (other.encoder, other.target) == (column.encoder, column.target)
        and other.source != column.source
    ]
    return same or [column]


def _key(run: Run, column: Column, by_key: Mapping[Key, Sequence[Run]]) -> Key:
    """Row and column; with the experiment if another one has that row."""
    system, experiment = row_of(run.results), _experiment(run)
    first = by_key.get((system, column))
    if first is None or _experiment(first[0]) == experiment:
        return system, column
    return f"{system} ({experiment})", column


def _experiment(run: Run) -> str:
    """Experiment without the fold that `reproduce` adds."""
    name, fold = run.results["experiment"], run.results["fold"]
    return name.removesuffix(f"_f{fold}") if run.results["folds"] else name


def _score(runs: Sequence[Run], problems: list[str]) -> Score | None:
    """Join the runs of one system in one column."""
    runs = sorted(runs, key=lambda r: (r.results["seed"], r.results["fold"]))
    runs = of_equal_settings(runs, problems)
    complete = []
    for seed, group in groupby(runs, key=lambda run: run.results["seed"]):
        parts = list(group)
        folds = [run.results["fold"] for run in parts]
        expected = [*range(runs[0].results["folds"] or 1)]
        if folds == expected:
            complete.append(parts)
            continue
        problems.append(
            f"{parts[0].path}: of seed {seed} there are the folds {folds}, "
            f"not {expected}."
        )
    if not complete:
        return None
    kept = tuple(run for parts in complete for run in parts)
    try:
        predictions = _join(complete)
        return Score(kept, predictions, interval(predictions))
    except ValueError as error:
        problems.append(f"{kept[0].path} and its other seeds: {error}")
        return None


def _join(by_seed: Sequence[Sequence[Run]]) -> Predictions:
    """Put folds together, and seeds on the rows that all of them tested."""
    joined = [
        {
            name: np.concatenate([getattr(run, name) for run in parts])
            for name in ("ids", "labels", "clusters", "predictions")
        }
        for parts in by_seed
    ]
    shared = reduce(np.intersect1d, [part["ids"] for part in joined])
    if not len(shared):
        raise ValueError("they share no test row.")
    for n, part in enumerate(joined):
        rows = np.flatnonzero(np.isin(part["ids"], shared))
        rows = rows[np.argsort(part["ids"][rows], kind="stable")]
        joined[n] = {name: values[rows] for name, values in part.items()}
    first = joined[0]
    for part in joined[1:]:
        for name in ("ids", "labels", "clusters"):
            if not np.array_equal(first[name], part[name]):
                raise ValueError(f"their {name} are not the same.")
    by_row = [part["predictions"] for part in joined]
    first["predictions"] = np.stack(by_row)
    return Predictions(**first)


def _table(
    protocol: dict,
    scores: dict[Key, Score],
    columns: Sequence[Column],
    problems: list[str],
) -> ScoreTable:
    """Order rows and columns, and compare."""
    systems = dict.fromkeys(system for system, _ in scores)
    filled = {column for _, column in scores}
    table = ScoreTable(
        protocol,
        order_columns(column for column in columns if column in filled),
        sorted(systems, key=position_of),
        scores,
    )
    for column in table.columns:
        _find_differing(table, column)
        if (REFERENCE, column) in scores:
            _compare_column(table, column, problems)
    return table


def _find_differing(table: ScoreTable, column: Column) -> None:
    """Note which rows of a column differ in more than their system."""
    keys = [(system, column) for system in (REFERENCE, *table.systems)]
    first, *others = dict.fromkeys(key for key in keys if key in table.scores)
    for key in others:
        runs = table.scores[first].runs, table.scores[key].runs
        texts = differing_rows(*runs)
        if texts:
            table.differing[key] = list(texts.values())


def order_columns(columns: Iterable[Column]) -> list[Column]:
    """Each column once, those of one direction side by side."""
    columns = list(dict.fromkeys(columns))
    directions = [column.direction for column in columns]
    return sorted(columns, key=lambda c: directions.index(c.direction))


def _compare_column(
    table: ScoreTable, column: Column, problems: list[str]
) -> None:
    """Compare each system with LAM-GL, corrected within its family."""
    reference = table.scores[REFERENCE, column].predictions
    families: dict[str, dict[str, Comparison]] = {}
    for system in table.systems:
        score = table.scores.get((system, column))
        if score is None or system == REFERENCE:
            continue
        try:
            comparison = compare(reference, score.predictions)
        except ValueError as error:
            problems.append(f"LAM-GL and {system}, {column.label}: {error}")
            continue
        alike = (system, column) not in table.differing
        family = family_of(system) if alike else UNTESTED
        families.setdefault(family, {})[system] = comparison
    for family, comparisons in families.items():
        corrected = correct_family(family, list(comparisons.values()))
        for system, difference in zip(comparisons, corrected, strict=True):
            table.differences[system, column] = difference


def correct_family(
    family: str, comparisons: Sequence[Comparison]
) -> list[Difference]:
    """Correct the p-values of one family, and mark what they show.

    Arguments
    ---------
    family : str
        ``baselines`` get stars; ``bounds`` and `UNTESTED` are not tested.
    comparisons : Sequence[Comparison]
        LAM-GL minus each member of the family, in one column.

    Returns
    -------
    list[Difference]
        In the same order.
    """
    two_sided = holm([c.p_two_sided for c in comparisons])
    greater = holm([c.p_greater for c in comparisons])
    differences = []
    for n, comparison in enumerate(comparisons):
        estimate, mark = comparison.estimate, ""
        p = greater[n] if family == "baselines" else two_sided[n]
        if family in ("bounds", UNTESTED):
            p = float("nan")
        elif (
            estimate.num_clusters >= MIN_MARK_SPEAKERS
            and estimate.num_seeds >= MIN_MARK_SEEDS
        ):
            if estimate.value < 0 and two_sided[n] < 0.05:
                mark = "†"
            elif family == "baselines" and p < 0.1:
                mark = "**" if p < 0.05 else "*"
        differences.append(Difference(comparison, float(p), mark))
    return differences


def cautions(estimate: Estimate) -> list[str]:
    """Name what an estimate has too few of: speakers, seeds, or classes."""
    checks = {
        "few speakers": estimate.few_clusters,
        "few seeds": estimate.num_seeds < MIN_CLAIM_SEEDS,
        "class missing": estimate.missing_class_deletions > 0,
    }
    return [name for name, applies in checks.items() if applies]
