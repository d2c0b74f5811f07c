"""What tables say about themselves: captions, and notes on marks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from lam_sb.analysis.anchor_layers import ANALYSIS_RULES
from lam_sb.corpora.manifests import EMOTIONS
from lam_sb.evaluation.comparisons import (
    CLAIM_SEEDS,
    MARKED_SEEDS,
    REFERENCE,
    STARRED_CLUSTERS,
    Cell,
    Column,
    Difference,
    family_of,
    name_of,
)
from lam_sb.evaluation.statistics import FEW_CLUSTERS, Estimate

Cells = Mapping[tuple[str, Column], Cell]
Differences = Mapping[tuple[str, Column], Difference]

SHOTS = "‡"  # after the name of a row that learns from target labels
WORDS = {
    "normalise": {
        "none": "features as they are",
        "source": "both corpora by the source's statistics",
        "domain": "each corpus by its own statistics, without labels",
        "speaker": "each corpus, then each speaker, those of the test too",
    },
    "protocol": {
        "speakers": "no test speaker is trained on",
        "transductive": "the target's test rows are its unlabelled training "
        "rows too",
    },
    "select_on": {
        "source": "weights of the lowest source validation loss",
        "last": "posteriors averaged over the last validations",
    },
    "target_rows": {
        "four": "target training rows of the four emotions, by their labels",
        "all": "all target training rows",
    },
}
INTERVALS = (
    "In brackets: 95 % intervals over new speakers and new seeds, from the "
    "jackknife over the test speakers (recordings where they are unknown) plus "
    "the variance between the seeds, with quantiles of Student's t."
)


def spread(estimate: Estimate, sign: str = "") -> str:
    """Write a UAR or a difference in percent, with its interval.

    Arguments
    ---------
    estimate : Estimate
        Of a system or a difference.
    sign : str
        ``+`` of a difference, whose limits are not cut to 0 and 100.

    Returns
    -------
    str
        Without an interval where there is none.

    Example
    -------
    >>> spread(Estimate(0.5, 0.25, 0.75, 0.1, 3, 4, 1, 0))
    '50.0 [25.0, 75.0]'
    """
    numbers = 100 * np.array([estimate.value, estimate.low, estimate.high])
    if not sign:
        numbers = numbers.clip(0, 100)
    # Adding 0 makes -0.0 positive.
    value, *limits = (f"{x:{sign}.1f}" for x in numbers.round(1) + 0.0)
    if np.isnan(numbers).any():
        return value
    return f"{value} [{', '.join(limits)}]"


def span(numbers: Iterable[float], form: str = "") -> str:
    """Write numbers as one, or as the least and the most.

    Arguments
    ---------
    numbers : Iterable[float]
        At least one.
    form : str
        How each is written.

    Returns
    -------
    str
        A number, or two.

    Example
    -------
    >>> span([3, 3]), span([2, 5, 3])
    ('3', '2 to 5')
    """
    numbers = list(numbers)
    low, high = f"{min(numbers):{form}}", f"{max(numbers):{form}}"
    return low if low == high else f"{low} to {high}"


def protocol_words(protocol: Mapping) -> str:
    """Say under which protocol a table was made.

    Arguments
    ---------
    protocol : Mapping
        Of a `lam_sb.evaluation.comparisons.Table`.

    Returns
    -------
    str
        A sentence.

    Example
    -------
    >>> protocol_words({"normalise": "none", "folds": 5, "split_seed": 0})
    'Settings: normalise: none (features as they are); 5 folds; split_seed: 0.'
    """
    words = []
    for key, value in protocol.items():
        meaning = WORDS.get(key, {}).get(value)
        if key == "folds":
            words.append(f"{value} folds" if value else "no folds")
        else:
            words.append(f"{key}: {value}" + (f" ({meaning})" * bool(meaning)))
    return f"Settings: {'; '.join(words)}."


def size_words(cells: Cells) -> str:
    """Say how many seeds and test speakers a table rests on.

    Arguments
    ---------
    cells : Cells
        What it shows.

    Returns
    -------
    str
        A sentence.
    """
    estimates = [cell.estimate for cell in cells.values()]
    seeds = span(e.num_seeds for e in estimates)
    clusters = _by_column(cells, lambda cell: cell.estimate.num_clusters)
    by_column = {column: span(found) for column, found in clusters.items()}
    if len(set(by_column.values())) == 1:
        speakers = span(e.num_clusters for e in estimates)
    else:
        speakers = ", ".join(
            f"{count} ({column.label})" for column, count in by_column.items()
        )
    return f"Seeds: {seeds}. Test speakers: {speakers}."


def mark_notes(cells: Cells, differences: Differences) -> list[str]:
    """Explain the marks that occur in a table of UARs.

    Arguments
    ---------
    cells, differences
        What it shows.

    Returns
    -------
    list[str]
        Sentences.
    """
    marks = {difference.mark for difference in differences.values()}
    stars = {"**": "** p < 0.05", "*": "* p < 0.1"}
    found = [words for mark, words in stars.items() if mark in marks]
    notes = []
    if found:
        notes.append(
            f"{', '.join(found)}: LAM-GL is better; one-sided, Holm-corrected "
            "over the baselines of one column. Other rows get no stars."
        )
    if "†" in marks:
        notes.append(
            "† better than LAM-GL: two-sided p < 0.05, Holm-corrected within "
            "one column over the baselines, the ablations, the controls or "
            "the other systems, whichever it is among. Bounds are not tested."
        )
    shots = {cell.runs[0].results["shots"] for cell in cells.values()} - {0}
    if shots:
        notes.append(
            f"{SHOTS} learns from {span(shots)} labelled target rows of each "
            "emotion."
        )
    return notes


def p_note(families: Iterable[str]) -> str:
    """Say what the p-values of a table of differences are.

    Arguments
    ---------
    families : Iterable[str]
        As from `lam_sb.evaluation.comparisons.family_of`, of its rows.

    Returns
    -------
    str
        Sentences.
    """
    families = dict.fromkeys(families)
    tested = [f for f in families if f not in ("baselines", "bounds")]
    parts = []
    if "baselines" in families:
        parts.append("one-sided (LAM-GL is better) over the baselines")
    parts += [f"two-sided over the {family}" for family in tested]
    note = "Intervals of differences are two-sided and not corrected. "
    if parts:
        note += f"p, Holm-corrected within one column: {', '.join(parts)}. "
    if "bounds" in families:
        note += "Bounds are not tested. "
    return note.rstrip()


def caution_notes(cells: Cells) -> list[str]:
    """Say what a table rests on too little of.

    Arguments
    ---------
    cells : Cells
        What it shows.

    Returns
    -------
    list[str]
        Sentences; none where nothing is wanting.
    """
    return [
        *_speaker_notes(cells),
        *_seed_notes(cells),
        *_class_notes(cells),
        *_label_notes(cells),
    ]


def shared_notes(cells: Cells, differences: Differences) -> list[str]:
    """Say where a comparison leaves out rows.

    Arguments
    ---------
    cells, differences
        Of a table.

    Returns
    -------
    list[str]
        A sentence for each system and column.
    """
    notes = []
    reference = {c: cell for (s, c), cell in cells.items() if s == REFERENCE}
    for (system, column), difference in differences.items():
        shared = difference.comparison.num_shared
        pair = cells[system, column], reference[column]
        count = max(len(cell.predictions.ids) for cell in pair)
        if shared < count:
            notes.append(
                f"{name_of(system)} is compared with LAM-GL on the {shared} of "
                f"{count} test rows that both have ({column.label})."
            )
    return notes


def _speaker_notes(cells: Cells) -> list[str]:
    clusters = _by_column(cells, lambda cell: cell.estimate.num_clusters)
    fewest = {column: min(found) for column, found in clusters.items()}

    def below(limit: int) -> str:
        return _labels(c for c, count in fewest.items() if count < limit)

    notes = []
    if below(FEW_CLUSTERS):
        note = f"Few speakers: fewer than {FEW_CLUSTERS} test speakers in "
        note += f"{below(FEW_CLUSTERS)}."
        if below(STARRED_CLUSTERS):
            note += f" Fewer than {STARRED_CLUSTERS}, so no marks of "
            note += f"significance, in {below(STARRED_CLUSTERS)}."
        notes.append(note)
    if below(2):
        notes.append(f"One speaker: no interval in {below(2)}.")
    return notes


def _seed_notes(cells: Cells) -> list[str]:
    fewest: dict[str, int] = {}
    for (system, _), cell in cells.items():
        count = cell.estimate.num_seeds
        fewest[system] = min(count, fewest.get(system, count))

    def below(limit: int) -> str:
        found = [name_of(s) for s, count in fewest.items() if count < limit]
        return "all systems" if len(found) == len(fewest) else ", ".join(found)

    notes = []
    if below(CLAIM_SEEDS):
        note = f"Few seeds, fewer than {CLAIM_SEEDS}, which is a look and no "
        note += f"claim: {below(CLAIM_SEEDS)}."
        if below(MARKED_SEEDS):
            note += f" Fewer than {MARKED_SEEDS}, so no marks of significance: "
            note += f"{below(MARKED_SEEDS)}."
        notes.append(note)
    if below(2):
        notes.append(
            f"One seed, so an interval that holds for that run only: "
            f"{below(2)}."
        )
    return notes


def _class_notes(cells: Cells) -> list[str]:
    notes = []
    estimates = _by_column(cells, lambda cell: cell.estimate)
    for column, found in estimates.items():
        worst = max(found, key=lambda e: e.missing_class_deletions)
        if worst.missing_class_deletions:
            notes.append(
                "Class missing: leaving out one of "
                f"{worst.missing_class_deletions} among {worst.num_clusters} "
                f"speakers leaves no row of an emotion ({column.label}); the "
                "jackknife's UAR is then over the others."
            )
    absent = _by_column(cells, lambda c: _absent(c.predictions.labels))
    for column, found in absent.items():
        if any(found):
            names = ", ".join(sorted(set().union(*found), key=EMOTIONS.index))
            notes.append(
                f"No test row of {column.label} is {names}: its UAR is over "
                "the other emotions."
            )
    return notes


def _label_notes(cells: Cells) -> list[str]:
    """Name the systems whose anchored layers target labels chose."""
    systems = {
        name_of(system): None
        for (system, _), cell in cells.items()
        for run in cell.runs
        if run.results["anchor_rule"] in ANALYSIS_RULES
        and run.results["target_labels_used"]
        and family_of(system) != "bounds"
    }
    if not systems:
        return []
    return [f"Target labels chose the anchored layers of {', '.join(systems)}."]


def _absent(labels: np.ndarray) -> set[str]:
    return {e for n, e in enumerate(EMOTIONS) if not (labels == n).any()}


def _by_column(
    cells: Cells, value: Callable[[Cell], object]
) -> dict[Column, list]:
    found: dict[Column, list] = {}
    for (_, column), cell in cells.items():
        found.setdefault(column, []).append(value(cell))
    return found


def _labels(columns: Iterable[Column]) -> str:
    return "; ".join(column.label for column in columns)
