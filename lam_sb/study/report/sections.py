"""Parts of a report that look behind the UAR, one protocol each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from lam_sb.corpora.manifests import EMOTIONS
from lam_sb.evaluation.comparisons import (
    ABLATIONS,
    CONTROLS,
    REFERENCE,
    SEGMENTS,
    Cell,
    Column,
    Table,
    name_of,
)
from lam_sb.evaluation.statistics import FEW_CLUSTERS, Estimate
from lam_sb.study.report.breakdowns import (
    Epochs,
    Part,
    Speaker,
    best_baseline,
    by_gender,
    by_speaker,
    mean_by_layer,
    mean_confusion,
    read_history,
    read_layers,
)
from lam_sb.study.report.notes import spread
from lam_sb.study.report.page import (
    Html,
    details,
    figure,
    heat,
    image,
    join,
    paragraphs,
    row,
    table,
    tag,
)
from lam_sb.study.report.plots import (
    Dot,
    draw_curves,
    draw_epochs,
    draw_intervals,
    draw_speakers,
)
from lam_sb.study.report.provenance import Links, under

ANCHOR = "layer_atn"  # the control that anchors nothing
CHOICES = (REFERENCE, *ABLATIONS, *SEGMENTS, *CONTROLS)
FIGURE_WIDTH = 520  # pixels


def anchor_choice(found: Table, links: Links) -> Html | None:
    """Show UAR by choice of anchored layers.

    Arguments
    ---------
    found : Table
        Of one protocol.
    links : Links
        Where its runs are.

    Returns
    -------
    Html | None
        A figure a column; None without a LAM system.
    """
    figures = []
    for column in found.columns:
        there = [s for s in CHOICES if (s, column) in found.cells]
        if {*there} - {*CONTROLS}:
            figures.append(_anchor_figure(found, links, column, there))
    if not figures:
        return None
    lead = (
        "Which layers are anchored, against the controls: Layer-Atn anchors "
        "none (dashed line), Layer-Drop leaves LAM-GL's anchors out of the "
        "mixture. Bars are 95 % intervals over speakers and seeds; squares "
        "are controls, filled are LAM-GL and Layer-Atn."
    )
    return join([tag("p", lead), tag("div", *figures, class_="side")])


def _anchor_figure(
    found: Table, links: Links, column: Column, systems: Sequence[str]
) -> Html:
    cells = {system: found.cells[system, column] for system in systems}
    names = {s: _with_anchors(s, cells[s].runs[0].results) for s in systems}
    texts = {s: spread(cell.estimate) for s, cell in cells.items()}
    dots = [
        Dot(
            names[s],
            *_percent(cell.estimate),
            texts[s],
            kind=1 if s in CONTROLS else 0,
            filled=s in (REFERENCE, ANCHOR),
        )
        for s, cell in cells.items()
    ]
    control = cells.get(ANCHOR)
    reference = control and 100 * control.estimate.value
    gist = (
        f"UAR in percent by anchored layers, {column.label}: {_ranking(cells)}."
    )
    rows = [
        row(names[s], [links.linked(texts[s], found, s, column)])
        for s in systems
    ]
    title = f"UAR (%) by anchored layers, {column.label}; {under(found)}"
    return figure(
        f"UAR by anchored layers, {column.label}; {under(found)}.",
        image(
            draw_intervals({"": dots}, "UAR (%)", reference),
            "svg+xml",
            gist,
            FIGURE_WIDTH,
        ),
        details("Numbers", table(title, [[("UAR [95 %]", 1)]], [rows])),
    )


def _ranking(cells: Mapping[str, Cell]) -> str:
    values = {s: 100 * cell.estimate.value for s, cell in cells.items()}
    order = sorted(values, key=values.get, reverse=True)
    return ", ".join(f"{name_of(s)} {values[s]:.1f}" for s in order)


def _with_anchors(system: str, results: Mapping) -> str:
    """Name a system with the layers that it anchors or leaves out."""
    name, anchors = name_of(system), results["anchor_layers"]
    if system == ANCHOR or not anchors:
        return name
    if len(anchors) > 4 and anchors == results["layers"]:
        return f"{name}, all {len(anchors)}"
    return f"{name}{' without ' if system in CONTROLS else ' '}{anchors}"


def _percent(estimate: Estimate) -> tuple[float, float, float]:
    return 100 * estimate.value, 100 * estimate.low, 100 * estimate.high


def layer_shares(found: Table, links: Links) -> Html | None:
    """Show what the layers contribute, at the end and by epoch.

    Arguments
    ---------
    found : Table
        Of one protocol.
    links : Links
        Where its runs are.

    Returns
    -------
    Html | None
        Heat maps of shares and weights, systems by layers, and of LAM-GL and
        Layer-Atn by epoch; None where no system mixes layers.
    """
    parts = []
    for column in found.columns:
        tables = _layer_tables(found, links, column)
        if tables:
            parts.append(tag("div", *tables, class_="side"))
    if not parts:
        return None
    lead = (
        "Share: the part of the pooled variance that a layer holds. Alpha: "
        "the learned weight, which alone says little, since each layer's "
        "projection is free to scale. Means over the runs, in percent; "
        "anchored layers in bold; orange is more and purple less than if all "
        "layers of the system were even. Systems of one layer are left out."
    )
    figures = [_epoch_figure(found, column) for column in found.columns]
    figures = tag("div", *figures, class_="side") if any(figures) else None
    return join([tag("p", lead), *parts, figures])


def _layer_tables(found: Table, links: Links, column: Column) -> list[Html]:
    """Shares and weights of a column, coloured on one scale."""
    keys = {"layer_share": "Share", "layer_weights": "Alpha"}
    cells = {
        s: found.cells[s, column]
        for s in found.systems
        if (s, column) in found.cells
    }
    values = {
        key: {s: mean_by_layer(cell, key) for s, cell in cells.items()}
        for key in keys
    }
    shown = [s for s in cells if all(len(values[key][s]) > 1 for key in keys)]
    if not shown:
        return []
    layers = sorted(set().union(*(values["layer_share"][s] for s in shown)))
    most = max(
        abs(len(values[key][s]) * value - 1)
        for key in keys
        for s in shown
        for value in values[key][s].values()
    )
    tables = []
    for key, name in keys.items():
        rows = []
        for s in shown:
            results = cells[s].runs[0].results
            anchors = results["anchor_layers"] if results["gamma"] else []
            entries = [
                _layer_entry(values[key][s], layer, most, layer in anchors)
                for layer in layers
            ]
            name_linked = links.linked(name_of(s), found, s, column)
            rows.append(row(name_linked, entries))
        caption = f"{name} (%) by layer, {column.label}; {under(found)}"
        header = [[(str(layer), 1) for layer in layers]]
        tables.append(
            table(caption, header, [rows], corner="layer", class_="map")
        )
    return tables


def _layer_entry(
    values: Mapping[int, float], layer: int, most: float, anchored: bool
) -> Html:
    """Colour an entry by how far it is from that of even layers."""
    if layer not in values:
        return tag("td", "")
    label = f"{100 * values[layer]:.1f}"
    excess = len(values) * values[layer] - 1
    kind = "above" if excess > 0 else "below"
    depth = abs(excess) / most if most else 0
    return heat(tag("b", label) if anchored else label, depth, kind)


def _epoch_figure(found: Table, column: Column) -> Html | None:
    logs = {}
    for system in (REFERENCE, ANCHOR):
        cell = found.cells.get((system, column))
        log = cell and read_layers(cell.runs)
        if log:
            logs[name_of(system)] = log
    if not logs:
        return None
    gist = "; ".join(_layer_gist(name, log) for name, log in logs.items())
    return figure(
        "Share of the pooled variance and alpha by epoch, mean over the "
        f"runs as far as all of them went, {column.label}; "
        f"{under(found)}.",
        image(
            draw_epochs(logs),
            "svg+xml",
            f"Heat maps by layer and epoch, {column.label}. {gist}.",
            FIGURE_WIDTH,
        ),
    )


def _layer_gist(name: str, log: Epochs) -> str:
    share, alpha = (
        100 * log.values[key][:, -1].mean(0) for key in ("share", "alpha")
    )
    least, most = (log.layers[n] for n in (share.argmin(), share.argmax()))
    return (
        f"{name} after epoch {log.at[-1]}: shares from {share.min():.1f} % "
        f"(layer {least}) to {share.max():.1f} % (layer {most}), alpha from "
        f"{alpha.min():.1f} to {alpha.max():.1f} %"
    )


def learning_curves(found: Table) -> Html | None:
    """Show validation UAR and losses by steps.

    Arguments
    ---------
    found : Table
        Of one protocol.

    Returns
    -------
    Html | None
        A figure a column; None where no run left a history.
    """
    figures = [_curve_figure(found, column) for column in found.columns]
    if not any(figures):
        return None
    lead = (
        "Mean over the runs, their range shaded, as far as all of them went. "
        "Validation is on the source; the training loss holds the alignment "
        "too, so it compares systems only with care."
    )
    return join([tag("p", lead), tag("div", *figures, class_="side")])


def _curve_figure(found: Table, column: Column) -> Html | None:
    logs = {}
    for system in (REFERENCE, ANCHOR, "cc"):
        cell = found.cells.get((system, column))
        log = cell and read_history(cell.runs)
        if log:
            logs[name_of(system)] = log
    if not logs:
        return None
    gist = []
    for name, log in logs.items():
        scores = 100 * log.values["valid_uar"].mean(0)
        loss = log.values["train_loss"].mean(0)
        gist.append(
            f"{name} from {scores[0]:.1f} % at step {log.at[0]} to "
            f"{scores[-1]:.1f} % at step {log.at[-1]}, its training loss from "
            f"{loss[0]:.2f} to {loss[-1]:.2f}"
        )
    return figure(
        f"Learning curves, {column.label}; {under(found)}.",
        image(
            draw_curves(logs),
            "svg+xml",
            f"Source validation UAR, {column.label}: {'; '.join(gist)}.",
            FIGURE_WIDTH,
        ),
    )


def confusions(found: Table, links: Links) -> Html | None:
    """Show what is taken for what.

    Arguments
    ---------
    found : Table
        Of one protocol.
    links : Links
        Where its runs are.

    Returns
    -------
    Html | None
        Matrices of LAM-GL, Layer-Atn and the best baseline of each column.
    """
    parts = []
    for column in found.columns:
        systems = (REFERENCE, ANCHOR, best_baseline(found, column))
        matrices = [
            _matrix(found, links, column, system)
            for system in systems
            if (system, column) in found.cells
        ]
        if matrices:
            parts.append(tag("div", *matrices, class_="side"))
    if not parts:
        return None
    lead = (
        "Rows are the truth, with the number of test utterances; entries are "
        "the percent of them that is recognised as the column's emotion, mean "
        "over the seeds. Beside LAM-GL and Layer-Atn stands the baseline with "
        "the highest UAR of the column."
    )
    return join([tag("p", lead), *parts])


def _matrix(found: Table, links: Links, column: Column, system: str) -> Html:
    rates, counts = mean_confusion(found.cells[system, column].predictions)
    rows = []
    for emotion, line, count in zip(EMOTIONS, rates, counts, strict=True):
        entries = [
            tag("td", "") if math.isnan(x) else heat(f"{100 * x:.1f}", x)
            for x in line
        ]
        rows.append(row(f"{emotion} ({count})", entries))
    name, where = name_of(system), f", {column.label}; {under(found)}"
    return table(
        join([links.linked(name, found, system, column), where]),
        [[(emotion, 1) for emotion in EMOTIONS]],
        [rows],
        corner="truth (rows)",
        class_="map",
        label=name + where,
    )


def gender_table(
    found: Table, links: Links, genders: Mapping[str, Mapping[str, str]]
) -> Html | None:
    """Score women and men apart.

    Arguments
    ---------
    found : Table
        Of one protocol.
    links : Links
        Where its runs are.
    genders : Mapping[str, Mapping[str, str]]
        By corpus: gender by utterance.

    Returns
    -------
    Html | None
        A table an encoder, and where genders are not known.
    """
    parts: dict[Column, dict[str, dict[str, Part]]] = {}
    for column in found.columns:
        known = genders.get(column.target, {})
        parts[column] = {
            system: by_gender(found.cells[system, column].predictions, known)
            for system in found.systems
            if (system, column) in found.cells
        }
    tables = []
    for encoder in dict.fromkeys(column.encoder for column in parts):
        here = {c: by for c, by in parts.items() if c.encoder == encoder}
        tables.append(_gender_table(found, links, here))
    return join(tables)


def _gender_table(
    found: Table,
    links: Links,
    parts: Mapping[Column, Mapping[str, Mapping[str, Part]]],
) -> Html:
    shown = {
        column: sorted(set().union(*by_system.values()))
        for column, by_system in parts.items()
    }
    notes = _gender_notes(found, parts)
    shown = {column: names for column, names in shown.items() if names}
    if not shown:
        return paragraphs(notes)
    rows = []
    for system in found.systems:
        entries = []
        for column, names in shown.items():
            for gender in names:
                part = parts[column].get(system, {}).get(gender)
                entry = part and links.linked(
                    _gender_entry(part), found, system, column
                )
                entries.append(entry or "")
        rows.append(row(name_of(system), entries))
    header = [
        [(column.label, len(names)) for column, names in shown.items()],
        [(gender, 1) for names in shown.values() for gender in names],
    ]
    encoder = next(iter(shown)).encoder
    caption = (
        f"UAR (%) by gender with 95 % intervals, {encoder}; {under(found)}"
    )
    return table(caption, header, [rows], notes, "system")


def _gender_entry(part: Part) -> str:
    missing = " ‡" if part.num_classes < len(EMOTIONS) else ""
    few = " §" if part.estimate.few_clusters else ""
    return spread(part.estimate) + missing + few


def _gender_notes(
    found: Table, parts: Mapping[Column, Mapping[str, Mapping[str, Part]]]
) -> list[str]:
    notes = []
    every = [
        part
        for by_system in parts.values()
        for by in by_system.values()
        for part in by.values()
    ]
    if any(part.num_classes < len(EMOTIONS) for part in every):
        notes.append("‡ An emotion is missing: UAR over those that are there.")
    if any(part.estimate.few_clusters for part in every):
        notes.append(f"§ Fewer than {FEW_CLUSTERS} speakers.")
    for column, by_system in parts.items():
        known = [system for system, by in by_system.items() if by]
        if not known:
            notes.append(f"{column.label}: the genders are unknown.")
            continue
        by = by_system[known[0]]
        counts = [
            f"{gender} {part.num_rows} utterances of "
            f"{part.estimate.num_clusters} speakers"
            for gender, part in by.items()
        ]
        total = len(found.cells[known[0], column].predictions.ids)
        unknown = total - sum(part.num_rows for part in by.values())
        counts += [f"unknown {unknown}"] * bool(unknown)
        notes.append(f"{column.label}: {', '.join(counts)}.")
    return notes


def speaker_scores(found: Table, links: Links) -> Html | None:
    """Show UAR by speaker.

    Arguments
    ---------
    found : Table
        Of one protocol.
    links : Links
        Where its runs are.

    Returns
    -------
    Html | None
        A figure and a table a column; None without LAM-GL, Layer-Atn and CC.
    """
    figures = [
        _speaker_figure(found, links, column) for column in found.columns
    ]
    if not any(figures):
        return None
    lead = (
        "A dot a speaker (or what stands for one where speakers are unknown): "
        "UAR over the emotions that the speaker has, mean over the seeds."
    )
    return join([tag("p", lead), tag("div", *figures, class_="side")])


def _speaker_figure(found: Table, links: Links, column: Column) -> Html | None:
    scores = {
        name_of(system): by_speaker(found.cells[system, column].predictions)
        for system in (REFERENCE, ANCHOR, "cc")
        if (system, column) in found.cells
    }
    if not scores:
        return None
    # Runs may have tested other rows; a speaker of all is compared.
    shared = set.intersection(*({s.name for s in v} for v in scores.values()))
    scores = {
        system: [s for s in speakers if s.name in shared]
        for system, speakers in scores.items()
    }
    if not shared:
        return None
    values = {
        system: [100 * s.uar for s in speakers]
        for system, speakers in scores.items()
    }
    title = f"UAR by speaker, {column.label}; {under(found)}"
    heads = [
        links.linked(name_of(system), found, system, column)
        for system in (REFERENCE, ANCHOR, "cc")
        if (system, column) in found.cells
    ]
    return figure(
        f"{title}.",
        image(
            draw_speakers(values),
            "svg+xml",
            _speaker_gist(values, column),
            FIGURE_WIDTH,
        ),
        details("Numbers", _speaker_table(scores, heads, title)),
    )


def _speaker_gist(values: Mapping[str, list[float]], column: Column) -> str:
    first, *others = values
    parts = [
        f"{system} from {min(scores):.1f} to {max(scores):.1f} %, median "
        f"{np.median(scores):.1f} %"
        for system, scores in values.items()
    ]
    for other in others:
        above = np.greater(values[first], values[other]).sum()
        count = len(values[first])
        parts.append(f"{first} is above {other} for {above} of {count}")
    return f"UAR by speaker, {column.label}: {'; '.join(parts)}."


def _speaker_table(
    scores: Mapping[str, Sequence[Speaker]], heads: Sequence[Html], title: str
) -> Html:
    rows = []
    for speakers in zip(*scores.values(), strict=True):
        first = speakers[0]
        entries = [f"{100 * s.uar:.1f}" for s in speakers]
        counts = [str(first.num_rows), str(first.num_classes)]
        rows.append(row(first.name, entries + counts))
    names = [*heads, "utterances", "emotions"]
    return table(
        f"{title}, in %",
        [[(name, 1) for name in names]],
        [rows],
        corner="speaker",
    )
