"""Where the numbers of a table come from: settings, rows, time and runs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import pandas as pd

from lam_sb.corpora.manifests import EMOTIONS
from lam_sb.evaluation.catalogue import name_of
from lam_sb.evaluation.comparisons import Column, ScoreTable
from lam_sb.evaluation.results import Run
from lam_sb.study.report.findings import Findings
from lam_sb.study.report.notes import number_range
from lam_sb.study.report.printed import Cell, make_frame

COUNTS = {
    "n_train_source": "source, training",
    "n_segment_source": "with segment",
    "n_train_target": "target, unlabelled",
    "n_segment_target": "with segment",
    "n_test": "target, tested",
    "n_speakers": "speakers tested",
}


class Links:
    """Addresses, from the page, of runs and of the lists of them.

    Arguments
    ---------
    folder : Path
        That the page lies in.
    tables : Sequence[ScoreTable]
        Whose runs are listed.
    """

    def __init__(self, folder: Path, tables: Sequence[ScoreTable]):
        self.folder = folder
        self.names = {
            (table, system, column): f"runs-{n}-{r}-{c}"
            for n, table in enumerate(tables, start=1)
            for r, system in enumerate(table.systems, start=1)
            for c, column in enumerate(table.columns, start=1)
            if (system, column) in table.scores
        }

    def file(self, path: str | Path) -> str:
        """Address a file relative to the page."""
        relative = Path(os.path.relpath(path, self.folder)).as_posix()
        return quote(os.fsencode(relative))

    def runs(self, table: ScoreTable, system: str, column: Column) -> str:
        """Address the only run of a score, or the list of its runs."""
        runs = table.scores[system, column].runs
        if len(runs) == 1:
            return self.file(runs[0].path)
        return f"#{self.names[table, system, column]}"


def runs_of(table: ScoreTable, system: str | None = None) -> list[Run]:
    """Runs of a table, or of a system of it, each once."""
    runs = {
        run.path: run
        for (name, _), score in table.scores.items()
        for run in score.runs
        if system in (None, name)
    }
    return list(runs.values())


def protocol(table: ScoreTable, _: Findings) -> dict:
    """Settings, rows and time of the runs."""
    results = pd.DataFrame([run.results for run in runs_of(table)])
    versions = [
        ", ".join(f"{name} {number}" for name, number in of_run.items())
        for of_run in results["versions"]
    ]
    git = results["git"].fillna("unknown")
    return {
        "facts": {
            "device": [*dict.fromkeys(results["device"])],
            "git": [*dict.fromkeys(git)],
            "versions": [*dict.fromkeys(versions)],
        },
        "systems": _systems(table),
        "counts": _counts(table),
        "times": _times(table),
        "hours": results["seconds"].sum() / 3600,
        "choices": _choices(table),
    }


def _systems(table: ScoreTable) -> pd.DataFrame:
    """What each system used."""
    cells = {}
    for system in table.systems:
        results = pd.DataFrame([run.results for run in runs_of(table, system)])
        texts = {
            "anchored layers": results.apply(_anchors, axis=1),
            "alignment": results.apply(_alignment, axis=1),
            "adapts on": results["adapts_on"],
            "target row filter": results["target_row_filter"],
        }
        for head, column in texts.items():
            cells[system, head] = Cell("; ".join(dict.fromkeys(column)))
        numbers = {"target labels used": "target_labels_used"}
        numbers |= {"shots an emotion": "shots"}
        for head, key in numbers.items():
            cells[system, head] = Cell(number_range(results[key]))
    heads = {head: (head,) for _, head in cells}
    return make_frame(cells, _rows(table), heads)


def _rows(table: ScoreTable) -> dict[str, tuple[str, str]]:
    return {system: ("", name_of(system)) for system in table.systems}


def _anchors(results: Mapping) -> str:
    if not results["anchor_layers"]:
        return "none"
    rule = results["anchor_rule"]
    by_rule = "" if rule == "fixed" else f" ({rule})"
    return f"{results['anchor_layers']}{by_rule}"


def _alignment(results: Mapping) -> str:
    if results["alignment"] == "none":
        return "none"
    where = results["segment"]
    return f"{results['alignment']}, {where}, weight {results['gamma']}"


def _counts(table: ScoreTable) -> pd.DataFrame:
    """Utterances by column; systems of equal counts share a row."""
    cells, rows = {}, {}
    for column in table.columns:
        equal: dict[tuple[str, ...], list[str]] = {}
        for system in table.systems:
            if (system, column) in table.scores:
                runs = table.scores[system, column].runs
                counts = tuple(
                    number_range(run.results[key] for run in runs)
                    for key in COUNTS
                )
                equal.setdefault(counts, []).append(name_of(system))
        most = max(equal, key=lambda counts: len(equal[counts]))
        for counts, names in equal.items():
            which = "others" if len(equal) > 1 else "all systems"
            who = ", ".join(names) if counts != most else which
            rows[column, counts] = column.label, f"{column.label}: {who}"
            for key, text in zip(COUNTS, counts, strict=True):
                cells[(column, counts), key] = Cell(text)
    return make_frame(cells, rows, {k: (name,) for k, name in COUNTS.items()})


def _times(table: ScoreTable) -> pd.DataFrame:
    cells = {}
    for system in table.systems:
        runs = runs_of(table, system)
        seconds = pd.Series([run.results["seconds"] for run in runs])
        cells[system, "runs"] = Cell(str(len(seconds)))
        cells[system, "seconds in all"] = Cell(f"{seconds.sum():.0f}")
        cells[system, "seconds a run"] = Cell(f"{seconds.mean():.1f}")
    return make_frame(cells, _rows(table), {head: (head,) for _, head in cells})


def _choices(table: ScoreTable) -> pd.DataFrame:
    """UAR by both ways of choosing weights that need no target label."""
    cells, columns = {}, {}
    for column in table.columns:
        for key in ("last", "source"):
            columns[column, key] = column.label, key
            for system in table.systems:
                score = table.scores.get((system, column))
                uars = (
                    [r.results[f"uar_{key}"] for r in score.runs]
                    if score
                    else []
                )
                if uars and None not in uars:
                    mean = f"{100 * sum(uars) / len(uars):.1f}"
                    cell = Cell(mean, score=(system, column))
                    cells[system, (column, key)] = cell
    return make_frame(cells, _rows(table), columns)


def preparation_frame(report: Mapping) -> pd.DataFrame:
    """Count utterances by emotion after each step of preparing a corpus.

    Arguments
    ---------
    report : Mapping
        What prep_report.json holds.

    Returns
    -------
    pd.DataFrame
        A row for each step, then one for each split.
    """
    emotions = {e: (e,) for e in EMOTIONS} | {"none": ("another or none",)}
    heads = emotions | {"all": ("all",), "dropped": ("dropped",)}
    kept = {
        ("step", step["step"]): pd.DataFrame(step["kept"]).sum(axis=1)
        for step in report["steps"]
    }
    kept |= {
        ("split", name): pd.Series(counts)
        for name, counts in report["splits"].items()
        if counts
    }
    dropped = {("step", s["step"]): s["dropped"] for s in report["steps"]}
    cells = {}
    for row, counts in kept.items():
        counts = counts.reindex([*emotions], fill_value=0).fillna(0).astype(int)
        cells |= {(row, e): Cell(str(n)) for e, n in counts.items()}
        reasons = dropped.get(row, {}).items()
        cells[row, "all"] = Cell(str(counts.sum()))
        cells[row, "dropped"] = Cell(", ".join(f"{r} {n}" for r, n in reasons))
    return make_frame(cells, {row: row for row in kept}, heads)
