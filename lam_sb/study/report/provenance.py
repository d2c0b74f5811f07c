"""Parts of a report that say where its numbers come from."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from urllib.parse import quote

from lam_sb.corpora.manifests import EMOTIONS
from lam_sb.evaluation.comparisons import PROTOCOL, Column, Table, name_of
from lam_sb.evaluation.results import Run
from lam_sb.study.report.notes import WORDS, span
from lam_sb.study.report.page import (
    Html,
    bullets,
    details,
    join,
    row,
    table,
    tag,
)

COUNTS = {
    "n_train_source": "source, training",
    "n_segment_source": "with segment",
    "n_train_target": "target, unlabelled",
    "n_segment_target": "with segment",
    "n_test": "target, tested",
    "n_speakers": "speakers tested",
}


class Links:
    """Where the runs of a cell are listed, and where files lie, from the page.

    Arguments
    ---------
    folder : Path
        That the page lies in.
    tables : Sequence[Table]
        Whose runs are listed.
    """

    def __init__(self, folder: Path, tables: Sequence[Table]):
        self.folder = folder
        self.names = {
            (found, system, column): f"runs-{n}-{r}-{c}"
            for n, found in enumerate(tables, start=1)
            for r, system in enumerate(found.systems, start=1)
            for c, column in enumerate(found.columns, start=1)
            if (system, column) in found.cells
        }

    def file(self, path: str | Path) -> str:
        """Address a file relative to the page.

        Arguments
        ---------
        path : str | Path
            The file.

        Returns
        -------
        str
            For an ``href``.
        """
        relative = Path(os.path.relpath(path, self.folder)).as_posix()
        return quote(os.fsencode(relative))

    def runs(self, found: Table, system: str, column: Column) -> str:
        """Address the only run of a cell, or the list of its runs.

        Arguments
        ---------
        found, system, column
            Table and cell.

        Returns
        -------
        str
            For an ``href``.
        """
        runs = found.cells[system, column].runs
        if len(runs) == 1:
            return self.file(runs[0].path)
        return f"#{self.names[found, system, column]}"

    def linked(
        self, content: str, found: Table, system: str, column: Column
    ) -> Html:
        """Link a number, or what stands for several, with its runs.

        Arguments
        ---------
        content : str
            What is shown.
        found, system, column
            Table and cell.

        Returns
        -------
        Html
            The link.
        """
        return tag("a", content, href=self.runs(found, system, column))


def differing(found: Table, tables: Sequence[Table]) -> str:
    """Say in what a table's protocol is not that of the others.

    Arguments
    ---------
    found : Table
        One of them.
    tables : Sequence[Table]
        All.

    Returns
    -------
    str
        Keys and values.
    """
    keys = [
        key
        for key in PROTOCOL
        if len({str(other.protocol[key]) for other in tables}) > 1
    ]
    return ", ".join(f"{key}: {found.protocol[key]}" for key in keys)


def under(found: Table) -> str:
    """Say in a caption what may not be mixed.

    Arguments
    ---------
    found : Table
        Of one protocol.

    Returns
    -------
    str
        How features were standardised.
    """
    return f"normalise: {found.protocol['normalise']}"


def protocol(found: Table, links: Links) -> Html:
    """Say how the runs of a table were made.

    Arguments
    ---------
    found : Table
        Of one protocol.
    links : Links
        Where its runs are.

    Returns
    -------
    Html
        What is the same for all, what each system used, the utterances, the
        time and the versions.
    """
    pairs = []
    for key, value in found.protocol.items():
        meaning = WORDS.get(key, {}).get(value)
        pairs += [
            tag("dt", tag("code", key)),
            tag("dd", f"{value}: {meaning}" if meaning else str(value)),
        ]
    results = [run.results for run in _runs(found)]
    for name, values in (
        ("device", [r["device"] for r in results]),
        ("git", [r["git"] or "unknown" for r in results]),
        ("versions", [_versions(r["versions"]) for r in results]),
    ):
        pairs += [
            tag("dt", name),
            *(tag("dd", str(v)) for v in dict.fromkeys(values)),
        ]
    return join(
        [
            tag("dl", *pairs),
            _system_table(found),
            _count_table(found),
            _time_table(found),
            details(
                "What either way of choosing the weights gives",
                _rule_table(found, links),
            ),
        ]
    )


def _versions(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in versions.items())


def _runs(found: Table, system: str | None = None) -> list[Run]:
    """Give the runs of a table, or of a system of it, each once."""
    runs = {
        run.path: run
        for (name, _), cell in found.cells.items()
        for run in cell.runs
        if system in (None, name)
    }
    return list(runs.values())


def _system_table(found: Table) -> Html:
    rows = []
    for system in found.systems:
        results = [run.results for run in _runs(found, system)]
        entries = [
            "; ".join(dict.fromkeys(how(r) for r in results))
            for how in (
                *(_anchors, _alignment),
                *map(itemgetter, ("adapts_on", "target_row_filter")),
            )
        ]
        entries += [
            span(r["target_labels_used"] for r in results),
            span(r["shots"] for r in results),
        ]
        rows.append(row(name_of(system), entries))
    header = [
        *("anchored layers", "alignment", "adapts on", "target row filter"),
        *("target labels used", "shots an emotion"),
    ]
    return table(
        f"What each system used; {under(found)}",
        [[(name, 1) for name in header]],
        [rows],
        corner="system",
        class_="words",
    )


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


def _count_table(found: Table) -> Html:
    """Utterances by column; systems of equal counts share a row."""
    groups = []
    for column in found.columns:
        equal: dict[tuple[str, ...], list[str]] = {}
        for system in found.systems:
            if (system, column) in found.cells:
                runs = found.cells[system, column].runs
                counts = tuple(span(r.results[k] for r in runs) for k in COUNTS)
                equal.setdefault(counts, []).append(name_of(system))
        most = max(equal, key=lambda counts: len(equal[counts]))
        rows = []
        for counts, names in equal.items():
            which = "others" if len(equal) > 1 else "all systems"
            label = ", ".join(names) if counts != most else which
            rows.append(row(f"{column.label}: {label}", counts))
        groups.append(rows)
    return table(
        "Utterances by column; systems of equal numbers share a row, and a "
        f"range is over folds; {under(found)}",
        [[(name, 1) for name in COUNTS.values()]],
        groups,
        corner="column",
    )


def _rule_table(found: Table, links: Links) -> Html:
    """Scores by both ways of choosing weights that need no target label."""
    rows = []
    for system in found.systems:
        entries = []
        for column in found.columns:
            cell = found.cells.get((system, column))
            for key in ("uar_last", "uar_source"):
                scores = [run.results[key] for run in cell.runs] if cell else []
                if not scores or None in scores:
                    entries.append("")
                    continue
                mean = f"{100 * sum(scores) / len(scores):.1f}"
                entries.append(links.linked(mean, found, system, column))
        rows.append(row(name_of(system), entries))
    header = [
        [(column.label, 2) for column in found.columns],
        [("last", 1), ("source", 1)] * len(found.columns),
    ]
    caption = f"UAR (%) by select_on, mean over the runs; {under(found)}"
    return table(caption, header, [rows], corner="system")


def _time_table(found: Table) -> Html:
    rows = []
    for system in found.systems:
        seconds = [run.results["seconds"] for run in _runs(found, system)]
        mean = sum(seconds) / len(seconds)
        entries = [str(len(seconds)), f"{sum(seconds):.0f}", f"{mean:.1f}"]
        rows.append(row(name_of(system), entries))
    total = sum(run.results["seconds"] for run in _runs(found))
    header = ["runs", "seconds in all", "seconds a run"]
    return table(
        f"Time of training and test; {under(found)}",
        [[(name, 1) for name in header]],
        [rows],
        [f"{total / 3600:.1f} hours in all."],
        "system",
    )


def preparation(reports: Mapping[str, Mapping]) -> Html | None:
    """Say what each step of preparing a corpus kept.

    Arguments
    ---------
    reports : Mapping[str, Mapping]
        What prep_report.json holds, by corpus.

    Returns
    -------
    Html | None
        A table a corpus; None without any.
    """
    return join(_steps(name, report) for name, report in reports.items())


def _steps(corpus: str, report: Mapping) -> Html:
    """Count by emotion after each step, and in each split."""
    counts = {
        step["step"]: sum(map(Counter, step["kept"].values()), Counter())
        for step in report["steps"]
    }
    dropped = {step["step"]: step["dropped"] for step in report["steps"]}
    splits = {s: Counter(c) for s, c in report["splits"].items() if c}
    emotions = [*EMOTIONS, "none"]
    groups = [
        [
            row(
                name,
                [
                    *(str(count[emotion]) for emotion in emotions),
                    str(count.total()),
                    ", ".join(f"{r} {n}" for r, n in left_out.items()),
                ],
            )
            for name, count, left_out in part
        ]
        for part in (
            [(name, counts[name], dropped[name]) for name in counts],
            [(name, count, {}) for name, count in splits.items()],
        )
    ]
    header = [*EMOTIONS, "another or none", "all", "dropped"]
    return table(
        f"Utterances of {corpus} by emotion, as each step of preparing it "
        "kept them, and by split",
        [[(name, 1) for name in header]],
        [group for group in groups if group],
        corner="step or split",
        class_="words",
    )


def run_lists(found: Table, links: Links) -> Html:
    """List the runs of each cell.

    Arguments
    ---------
    found : Table
        Of one protocol.
    links : Links
        Where its runs are.

    Returns
    -------
    Html
        A list to open for each system and column, with the UAR of each run.
    """
    parts = []
    for column in found.columns:
        lists = [
            _run_list(links, found, system, column)
            for system in found.systems
            if (system, column) in found.cells
        ]
        heading = tag("p", tag("b", column.label))
        parts += [heading, tag("div", *lists, class_="runs")]
    return join(parts)


def _run_list(links: Links, found: Table, system: str, column: Column) -> Html:
    cell = found.cells[system, column]
    items = []
    for run in cell.runs:
        name = f"seed {run.results['seed']}"
        if run.results["folds"]:
            name += f", fold {run.results['fold']}"
        link = tag("a", name, href=links.file(run.path))
        items.append(join([link, f": {100 * run.results['uar']:.1f}"]))
    return details(
        f"{name_of(system)}: {100 * cell.estimate.value:.1f} % over "
        f"{span([cell.estimate.num_seeds])} seeds",
        bullets(items),
        id_=links.names[found, system, column],
    )
