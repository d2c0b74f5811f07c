"""Where the numbers of a table come from: settings, rows, time and runs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from urllib.parse import quote

import pandas as pd

from lam_sb.corpora.manifests import EMOTIONS
from lam_sb.evaluation.catalogue import name_of
from lam_sb.evaluation.comparisons import Column, ScoreTable
from lam_sb.study.report.notes import number_range
from lam_sb.study.report.printed import Cell, make_frame, text_frame

COUNTS = {
    "n_train_source": "source, training",
    "n_segment_source": "with segment",
    "n_train_target": "target, unlabelled",
    "n_segment_target": "with segment",
    "n_test": "target, tested",
    "n_speakers": "speakers tested",
}


def _anchors(results: Mapping) -> str:
    if not results["anchor_layers"]:
        return "none"
    rule = results["anchor_rule"]
    return f"{results['anchor_layers']}" + f" ({rule})" * (rule != "fixed")


def _alignment(results: Mapping) -> str:
    if results["alignment"] == "none":
        return "none"
    where = results["segment"]
    return f"{results['alignment']}, {where}, weight {results['gamma']}"


USED = {
    "anchored layers": _anchors,
    "alignment": _alignment,
    "adapts on": itemgetter("adapts_on"),
    "target row filter": itemgetter("target_row_filter"),
    "target labels used": itemgetter("target_labels_used"),
    "shots an emotion": itemgetter("shots"),
}


class Links:
    """Addresses, from the page in a folder, of runs and of lists of them."""

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


def protocol(table: ScoreTable) -> dict:
    """Give settings, rows and time of the runs."""
    runs = pd.DataFrame(
        run.results | {"path": run.path, "row": name_of(system)}
        for system in table.systems
        for column in table.columns
        if (system, column) in table.scores
        for run in table.scores[system, column].runs
    ).drop_duplicates("path")
    used = {
        head: runs.apply(of_run, axis=1).groupby(runs["row"], sort=False)
        for head, of_run in USED.items()
    }
    seconds = runs.groupby("row", sort=False)["seconds"]
    times = {
        "runs": seconds.size(),
        "seconds in all": seconds.sum().map("{:.0f}".format),
        "seconds a run": seconds.mean().map("{:.1f}".format),
    }
    versions = (map(" ".join, v.items()) for v in runs["versions"])
    return {
        "facts": {
            "device": runs["device"].unique(),
            "git": runs["git"].fillna("unknown").unique(),
            "versions": [*dict.fromkeys(map(", ".join, versions))],
        },
        "systems": text_frame(
            pd.DataFrame({head: by.agg(_joined) for head, by in used.items()})
        ),
        "counts": _counts(table),
        "times": text_frame(pd.DataFrame(times)),
        "hours": runs["seconds"].sum() / 3600,
    }


def _joined(values: pd.Series) -> str:
    """Each text once, or the range of numbers."""
    if pd.api.types.is_numeric_dtype(values):
        return number_range(values)
    return "; ".join(dict.fromkeys(values))


def _counts(table: ScoreTable) -> pd.DataFrame:
    """Utterances by column; systems of equal counts share a row."""
    cells, rows = {}, {}
    for column in table.columns:
        equal: dict[tuple[str, ...], list[str]] = {}
        for system in table.systems:
            score = table.scores.get((system, column))
            if score:
                results = pd.DataFrame(run.results for run in score.runs)
                counts = tuple(results[[*COUNTS]].agg(number_range))
                equal.setdefault(counts, []).append(name_of(system))
        most = max(equal, key=lambda counts: len(equal[counts]))
        rest = "others" if len(equal) > 1 else "all systems"
        for counts, names in equal.items():
            who = rest if counts == most else ", ".join(names)
            row = column.label, f"{column.label}: {who}"
            rows[row] = row
            cells |= {
                (row, key): Cell(text)
                for key, text in zip(COUNTS, counts, strict=True)
            }
    return make_frame(cells, rows, {k: (name,) for k, name in COUNTS.items()})


def preparation_frame(report: Mapping) -> pd.DataFrame:
    """Count utterances by emotion, by step of prep_report.json and by split."""
    kept = {
        ("step", step["step"]): pd.DataFrame(step["kept"]).sum(axis=1)
        for step in report["steps"]
    }
    kept |= {
        ("split", name): pd.Series(counts)
        for name, counts in report["splits"].items()
        if counts
    }
    counts = pd.DataFrame(kept).reindex([*EMOTIONS, "none"]).fillna(0).T
    counts = counts.astype(int).rename(columns={"none": "another or none"})
    counts["all"] = counts.sum(axis=1)
    dropped = [
        ", ".join(f"{reason} {n}" for reason, n in step["dropped"].items())
        for step in report["steps"]
    ]
    counts["dropped"] = dropped + [""] * (len(counts) - len(dropped))
    return text_frame(counts)
