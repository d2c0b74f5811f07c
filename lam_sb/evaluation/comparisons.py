"""Systems side by side: what each scores, and what differs beyond chance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml

from lam_sb.evaluation.results import Run
from lam_sb.evaluation.statistics import (
    Comparison,
    Estimate,
    Predictions,
    compare,
    holm,
    interval,
)

REFERENCE = "lam_gl"
BASELINES = {
    "cc": "CC",
    "ensemble": "Ensemble",
    "few_shot": "Few-shot",
    "few_shot_0": "Few-shot, no target label",
    "pc": "PC",
    "pc_avg": "PC-Avg",
    "pc_atn": "PC-Atn",
}
ABLATIONS = {
    "lam_al": "LAM-AL",
    "lam_bl": "LAM-BL",
    "lam_wl": "LAM-WL",
    "lam_rl1": "LAM-RL1",
    "lam_rl2": "LAM-RL2",
    "lam_rl3": "LAM-RL3",
}
CONTROLS = {"layer_atn": "Layer-Atn", "layer_drop": "Layer-Drop"}
BOUNDS = {"within": "Layer-Atn, within", "oracle": "Layer-Atn, oracle"}
SEGMENTS = {
    "lam_gl_vowl": "LAM-GL, vowels",
    "lam_gl_cons": "LAM-GL, consonants",
}
# Names in tables, in their order.
NAMES = (
    BASELINES | {REFERENCE: "LAM-GL"} | ABLATIONS | CONTROLS | SEGMENTS | BOUNDS
)
STARRED_CLUSTERS = 6  # with fewer speakers, no mark of significance
CLAIM_SEEDS = 10  # with fewer, the caption says that it is no claim
MARKED_SEEDS = 5  # with fewer, no mark of significance
# What may not differ within a table.
PROTOCOL = (
    *("normalise", "protocol", "folds", "split_seed", "select_on"),
    "target_rows",
)
# What may differ between the runs of one row.
FREE = {"seed", "fold", "experiment"}


class Column(NamedTuple):
    """Where systems are compared: an encoder and a direction."""

    encoder: str
    source: str
    target: str

    @property
    def direction(self) -> str:
        """Corpora in words."""
        return f"{self.source} → {self.target}"

    @property
    def label(self) -> str:
        """Corpora and encoder in words."""
        return f"{self.direction}, {self.encoder}"


@dataclass(frozen=True, eq=False)
class Cell:
    """One system in one column.

    Arguments
    ---------
    runs : tuple[Run, ...]
        Its runs, by seed and fold.
    predictions : Predictions
        (S, N) on the rows that all its seeds tested, folds put together.
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
class Table:
    """Systems by columns, all under one protocol.

    Arguments
    ---------
    protocol : dict
        The keys of `PROTOCOL`.
    columns : list[Column]
        In order.
    systems : list[str]
        Rows, in order: a key of `NAMES`, one with its experiment in brackets
        where another has taken the name, a system with its bound
        (``cc_within``), or a name of the user's own.
    cells : dict[tuple[str, Column], Cell]
        Not every system has every column.
    differences : dict[tuple[str, Column], Difference]
        From `REFERENCE`, where the column has it.
    """

    protocol: dict
    columns: list[Column]
    systems: list[str]
    cells: dict[tuple[str, Column], Cell]
    differences: dict[tuple[str, Column], Difference] = field(
        default_factory=dict
    )


def tabulate(
    runs: Iterable[Run], encoders: Mapping[str, str] | None = None
) -> tuple[list[Table], list[str]]:
    """Put runs into tables, and compare each system with LAM-GL.

    Arguments
    ---------
    runs : Iterable[Run]
        In the order of what is to be shown.
    encoders : Mapping[str, str] | None
        Short names by ``encoder`` of results.json; others keep the last part
        of theirs.

    Returns
    -------
    tables : list[Table]
        One a protocol. The bound ``within`` has no other source; it stands in
        all columns of its target.
    problems : list[str]
        Runs that are left out, and why.
    """
    problems: list[str] = []
    grouped: dict[tuple, dict[tuple[str, Column], list[Run]]] = {}
    runs = [run for run in runs if _usable(run, problems)]
    names = {id(run): _column(run, encoders or {}) for run in runs}
    columns = list(dict.fromkeys(names.values()))
    for run in runs:
        protocol = tuple(run.results[key] for key in PROTOCOL)
        cells = grouped.setdefault(protocol, {})
        for column in _stands_in(names[id(run)], columns):
            system = _row_name(run, column, cells)
            cells.setdefault((system, column), []).append(run)
    tables = []
    for protocol, parts in grouped.items():
        cells = {}
        for key, members in parts.items():
            cell = _cell(members, problems)
            if cell is not None:
                cells[key] = cell
        if cells:
            tables.append(_table(protocol, cells, columns, problems))
    return tables, list(dict.fromkeys(problems))


def name_of(system: str) -> str:
    """Name of a row in words.

    Arguments
    ---------
    system : str
        A row of a `Table`.

    Returns
    -------
    str
        As in `NAMES`; a second experiment keeps what stands in brackets, and
        a system of the user's own its name.

    Example
    -------
    >>> name_of("lam_gl"), name_of("lam_gl (again)"), name_of("mine")
    ('LAM-GL', 'LAM-GL (again)', 'mine')
    """
    first, space, rest = system.partition(" ")
    return NAMES.get(first, first) + space + rest


def _usable(run: Run, problems: list[str]) -> bool:
    if run.results["select_on"] == "target":
        problems.append(f"{run.path}: select_on: target is an oracle.")
    elif not len(run.ids):
        problems.append(f"{run.path}: the labels of its test set are unknown.")
    else:
        return True
    return False


def _column(run: Run, encoders: Mapping[str, str]) -> Column:
    encoder = run.results["encoder"]
    name = encoders.get(encoder) or Path(encoder).name
    return Column(name, run.results["source"], run.results["target"])


def _stands_in(column: Column, columns: Sequence[Column]) -> list[Column]:
    """Columns of a run: its own, or all of its target without a source."""
    if column.source != column.target:
        return [column]
    same = [
        other
        for other in columns
        if (other.encoder, other.target) == (column.encoder, column.target)
        and other.source != other.target
    ]
    return same or [column]


def _system(run: Run) -> str:
    """Row of a run by itself: other uses of target labels get other rows."""
    system = run.results["system"]
    bound = run.results.get("bound", "none")
    if bound != "none" and system not in BOUNDS:
        return bound if system == "layer_atn" else f"{system}_{bound}"
    if system == "few_shot" and not run.results["shots"]:
        return "few_shot_0"
    return system


def _row_name(run: Run, column: Column, cells: Mapping) -> str:
    """System, with the experiment if another one has taken the name."""
    system, experiment = _system(run), _experiment(run)
    first = cells.get((system, column))
    if first is None or _experiment(first[0]) == experiment:
        return system
    return f"{system} ({experiment})"


def _experiment(run: Run) -> str:
    """Experiment without the fold that `reproduce` adds."""
    name, fold = run.results["experiment"], run.results["fold"]
    return name.removesuffix(f"_f{fold}") if run.results["folds"] else name


def _cell(runs: Sequence[Run], problems: list[str]) -> Cell | None:
    """Join the runs of one system in one column."""
    runs = sorted(runs, key=lambda r: (r.results["seed"], r.results["fold"]))
    runs = _of_one_kind(runs, problems)
    by_seed: dict[int, list[Run]] = {}
    for run in runs:
        by_seed.setdefault(run.results["seed"], []).append(run)
    for seed, parts in list(by_seed.items()):
        folds = [run.results["fold"] for run in parts]
        wanted = [*range(runs[0].results["folds"] or 1)]
        if folds != wanted:
            problems.append(
                f"{parts[0].path}: of seed {seed} there are the folds {folds}, "
                f"not {wanted}."
            )
            del by_seed[seed]
    if not by_seed:
        return None
    kept = tuple(run for parts in by_seed.values() for run in parts)
    try:
        predictions = _predictions(list(by_seed.values()))
        return Cell(kept, predictions, interval(predictions))
    except ValueError as error:
        problems.append(f"{kept[0].path} and its other seeds: {error}")
        return None


def _of_one_kind(runs: Sequence[Run], problems: list[str]) -> list[Run]:
    """Leave out runs whose settings are not those of the first with any."""
    first, where, kept = {}, None, []
    for run in runs:
        settings = _settings(run)
        if not first:
            first, where = settings, run.path
        differing = [
            key
            for key in sorted(first.keys() | settings.keys())
            if first.get(key) != settings.get(key)
        ]
        if differing and settings:
            problems.append(
                f"{run.path}: other settings than {where} "
                f"({', '.join(differing)})."
            )
        else:
            kept.append(run)
    return kept


def _settings(run: Run) -> dict:
    """Read what decided the result, but for `FREE`; empty where unknown."""
    path = run.path.with_name("settings.yaml")
    if not path.is_file():
        return {}
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    settings = yaml.load(path.read_text(encoding="utf-8"), loader)
    return {k: v for k, v in settings.items() if k not in FREE}


def _predictions(by_seed: Sequence[Sequence[Run]]) -> Predictions:
    """Put folds together, and seeds on the rows that all of them tested."""
    joined = [
        {
            name: np.concatenate([getattr(run, name) for run in parts])
            for name in ("ids", "clusters", "labels", "predictions")
        }
        for parts in by_seed
    ]
    ids = set(joined[0]["ids"]).intersection(*(j["ids"] for j in joined[1:]))
    if not ids:
        raise ValueError("they share no test row.")
    for part in joined:
        if len(part["ids"]) != len(ids) or len(set(part["ids"])) != len(ids):
            keep = np.isin(part["ids"], list(ids))
            part.update({name: part[name][keep] for name in part})
        order = np.argsort(part["ids"], kind="stable")
        part.update({name: part[name][order] for name in part})
    first = joined[0]
    for part in joined[1:]:
        for name in ("ids", "labels", "clusters"):
            if not np.array_equal(first[name], part[name]):
                raise ValueError(f"their {name} are not the same.")
    return Predictions(
        first["ids"],
        first["labels"],
        first["clusters"],
        np.stack([part["predictions"] for part in joined]),
    )


def _table(
    protocol: tuple,
    cells: dict[tuple[str, Column], Cell],
    columns: Sequence[Column],
    problems: list[str],
) -> Table:
    """Order rows and columns, and compare."""
    known = list(NAMES)
    systems = list(dict.fromkeys(system for system, _ in cells))
    systems.sort(key=lambda s: known.index(s) if s in known else len(known))
    filled = {column for _, column in cells}
    table = Table(
        dict(zip(PROTOCOL, protocol, strict=True)),
        in_order(column for column in columns if column in filled),
        systems,
        cells,
    )
    for column in table.columns:
        if (REFERENCE, column) in cells:
            _compare_column(table, column, problems)
    return table


def in_order(columns: Iterable[Column]) -> list[Column]:
    """Order columns as tables show them.

    Arguments
    ---------
    columns : Iterable[Column]
        Some, maybe more than once.

    Returns
    -------
    list[Column]
        Each once, those of one direction side by side.
    """
    columns = list(dict.fromkeys(columns))
    directions = [column.direction for column in columns]
    return sorted(columns, key=lambda c: directions.index(c.direction))


def family_of(system: str) -> str:
    """Tell which comparisons one correction is for.

    Arguments
    ---------
    system : str
        A row of a `Table`.

    Returns
    -------
    str
        ``baselines``, ``reference`` (LAM-GL itself), ``ablations``,
        ``controls``, ``segments``, ``bounds`` or ``others``.
    """
    for name, members in (
        ("baselines", BASELINES),
        ("reference", (REFERENCE,)),
        ("ablations", ABLATIONS),
        ("controls", CONTROLS),
        ("segments", SEGMENTS),
        ("bounds", BOUNDS),
    ):
        if system in members:
            return name
    # cc_within, and a second within, are bounds too.
    last = system.split(" ")[0].split("_")[-1]
    return "bounds" if last in BOUNDS else "others"


def _compare_column(table: Table, column: Column, problems: list[str]) -> None:
    """Compare each system with LAM-GL, corrected within its family."""
    reference = table.cells[REFERENCE, column]
    families: dict[str, dict[str, Comparison]] = {}
    for system in table.systems:
        cell = table.cells.get((system, column))
        if cell is None or system == REFERENCE:
            continue
        try:
            found = compare(reference.predictions, cell.predictions)
        except ValueError as error:
            problems.append(f"LAM-GL and {system}, {column.label}: {error}")
            continue
        families.setdefault(family_of(system), {})[system] = found
    for family, comparisons in families.items():
        found = correct(family, list(comparisons.values()))
        for system, difference in zip(comparisons, found, strict=True):
            table.differences[system, column] = difference


def correct(family: str, comparisons: Sequence[Comparison]) -> list[Difference]:
    """Correct the p-values of one family, and mark what they show.

    Arguments
    ---------
    family : str
        ``baselines`` get stars; ``bounds`` are not tested.
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
        if family == "bounds":
            p = float("nan")
        elif (
            estimate.num_clusters >= STARRED_CLUSTERS
            and estimate.num_seeds >= MARKED_SEEDS
        ):
            if estimate.value < 0 and two_sided[n] < 0.05:
                mark = "†"
            elif family == "baselines" and p < 0.1:
                mark = "**" if p < 0.05 else "*"
        differences.append(Difference(comparison, float(p), mark))
    return differences


def cautions(estimate: Estimate) -> list[str]:
    """Say what an estimate rests on too little of.

    Arguments
    ---------
    estimate : Estimate
        Of a system or a difference.

    Returns
    -------
    list[str]
        None, or ``few speakers``, ``few seeds``, ``class missing``.
    """
    found = []
    if estimate.few_clusters:
        found.append("few speakers")
    if estimate.num_seeds < CLAIM_SEEDS:
        found.append("few seeds")
    if estimate.missing_class_deletions:
        found.append("class missing")
    return found
