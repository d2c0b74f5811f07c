"""What tables say about themselves: captions, and notes on marks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from lam_sb.analysis.anchors import SELECTED
from lam_sb.corpora.manifests import EMOTIONS
from lam_sb.evaluation.catalogue import REFERENCE, family_of, name_of
from lam_sb.evaluation.comparisons import (
    MIN_CLAIM_SEEDS,
    MIN_MARK_SEEDS,
    MIN_MARK_SPEAKERS,
    Column,
    Difference,
    Key,
    Score,
)
from lam_sb.evaluation.metrics import FEW_CLUSTERS, Estimate

Scores = Mapping[Key, Score]
Differences = Mapping[Key, Difference]

SHOTS = "‡"  # after the name of a row that learns from target labels
MEANINGS = {
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


def with_interval(estimate: Estimate, sign: str = "") -> str:
    """Write a UAR or a difference in percent, with its interval if it has one.

    Arguments
    ---------
    estimate : Estimate
        Of a system or a difference.
    sign : str
        ``+`` of a difference, whose limits are not cut to 0 and 100.

    Returns
    -------
    str
        Value and limits with one digit.

    Example
    -------
    >>> with_interval(Estimate(0.5, 0.25, 0.75, 0.1, 3, 4, 1, 0))
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


def with_p(estimate: Estimate, p: float) -> str:
    """Write a difference in points with its interval, and p if there is one."""
    text = with_interval(estimate, "+")
    if math.isnan(p):
        return text
    return f"{text}, {'p < 0.001' if p < 0.001 else f'p {p:.3f}'}"


def number_range(numbers: Iterable[float]) -> str:
    """Write numbers as one, or as the least and the most.

    Example
    -------
    >>> number_range([3, 3]), number_range([2, 5, 3])
    ('3', '2 to 5')
    """
    numbers = list(numbers)
    low, high = str(min(numbers)), str(max(numbers))
    return low if low == high else f"{low} to {high}"


def describe_protocol(protocol: Mapping) -> str:
    """Say under which protocol a table was made.

    Example
    -------
    >>> describe_protocol({"normalise": "none", "folds": 5, "split_seed": 0})
    'Settings: normalise: none (features as they are); 5 folds; split_seed: 0.'
    """
    parts = []
    for key, value in protocol.items():
        meaning = MEANINGS.get(key, {}).get(value)
        if key == "folds":
            parts.append(f"{value} folds" if value else "no folds")
        else:
            parts.append(f"{key}: {value}" + (f" ({meaning})" * bool(meaning)))
    return f"Settings: {'; '.join(parts)}."


def describe_sizes(scores: Scores) -> str:
    """Say how many seeds and test speakers a table rests on."""
    estimates = [score.estimate for score in scores.values()]
    seeds = number_range(e.num_seeds for e in estimates)
    clusters = _by_column(scores, lambda score: score.estimate.num_clusters)
    by_column = {c: number_range(counts) for c, counts in clusters.items()}
    if len(set(by_column.values())) == 1:
        speakers = number_range(e.num_clusters for e in estimates)
    else:
        speakers = ", ".join(
            f"{count} ({column.label})" for column, count in by_column.items()
        )
    return f"Seeds: {seeds}. Test speakers: {speakers}."


def mark_notes(scores: Scores, differences: Differences) -> list[str]:
    """Explain the marks that occur in a table of UARs, a sentence each."""
    marks = {difference.mark for difference in differences.values()}
    stars = {"**": "** p < 0.05", "*": "* p < 0.1"}
    explained = [meaning for mark, meaning in stars.items() if mark in marks]
    notes = []
    if explained:
        notes.append(
            f"{', '.join(explained)}: LAM-GL is better; one-sided, "
            "Holm-corrected over the baselines of one column. Other rows get "
            "no stars."
        )
    if "†" in marks:
        notes.append(
            "† better than LAM-GL: two-sided p < 0.05, Holm-corrected within "
            "one column over the baselines, the ablations, the controls or "
            "the other systems, whichever it is among. Bounds are not tested."
        )
    shots = {score.runs[0].results["shots"] for score in scores.values()} - {0}
    if shots:
        notes.append(
            f"{SHOTS} learns from {number_range(shots)} labelled target rows "
            "of each emotion."
        )
    return notes


def p_note(families: Iterable[str]) -> str:
    """Say what the p-values of differences are, by the families of rows."""
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


def shared_row_notes(scores: Scores, differences: Differences) -> list[str]:
    """Say where a comparison leaves out rows that only one system tested."""
    notes = []
    for (system, column), difference in differences.items():
        pair = scores[system, column], scores[REFERENCE, column]
        shared = difference.comparison.num_shared
        count = max(len(score.predictions.ids) for score in pair)
        if shared < count:
            notes.append(
                f"{name_of(system)} is compared with LAM-GL on the {shared} of "
                f"{count} test rows that both have ({column.label})."
            )
    return notes


def caution_notes(scores: Scores) -> list[str]:
    """Say where scores have few speakers or seeds, or lack a class."""
    return [
        *_speaker_notes(scores),
        *_seed_notes(scores),
        *_class_notes(scores),
        *_label_notes(scores),
    ]


def _speaker_notes(scores: Scores) -> list[str]:
    clusters = _by_column(scores, lambda score: score.estimate.num_clusters)

    def below(limit: int) -> str:
        few = [c.label for c, counts in clusters.items() if min(counts) < limit]
        return "; ".join(few)

    notes = []
    if below(FEW_CLUSTERS):
        note = f"Few speakers: fewer than {FEW_CLUSTERS} test speakers in "
        note += f"{below(FEW_CLUSTERS)}."
        if below(MIN_MARK_SPEAKERS):
            note += f" Fewer than {MIN_MARK_SPEAKERS}, so no marks of "
            note += f"significance, in {below(MIN_MARK_SPEAKERS)}."
        notes.append(note)
    if below(2):
        notes.append(f"One speaker: no interval in {below(2)}.")
    return notes


def _seed_notes(scores: Scores) -> list[str]:
    fewest: dict[str, int] = {}
    for (system, _), score in scores.items():
        count = score.estimate.num_seeds
        fewest[system] = min(count, fewest.get(system, count))

    def below(limit: int) -> str:
        few = [name_of(s) for s, count in fewest.items() if count < limit]
        return "all systems" if len(few) == len(fewest) else ", ".join(few)

    notes = []
    if below(MIN_CLAIM_SEEDS):
        note = f"Few seeds, fewer than {MIN_CLAIM_SEEDS}, which is a look and "
        note += f"no claim: {below(MIN_CLAIM_SEEDS)}."
        if below(MIN_MARK_SEEDS):
            note += f" Fewer than {MIN_MARK_SEEDS}, so no marks of "
            note += f"significance: {below(MIN_MARK_SEEDS)}."
        notes.append(note)
    if below(2):
        notes.append(
            "One seed, so an interval that holds for that run only: "
            f"{below(2)}."
        )
    return notes


def _class_notes(scores: Scores) -> list[str]:
    notes = []
    estimates = _by_column(scores, lambda score: score.estimate)
    for column, of_column in estimates.items():
        worst = max(of_column, key=lambda e: e.missing_class_deletions)
        if worst.missing_class_deletions:
            notes.append(
                "Class missing: leaving out one of "
                f"{worst.missing_class_deletions} among {worst.num_clusters} "
                f"speakers leaves no row of an emotion ({column.label}); the "
                "jackknife's UAR is then over the others."
            )
    labels = _by_column(scores, lambda score: score.predictions.labels)
    for column, of_column in labels.items():
        absent = [
            emotion
            for n, emotion in enumerate(EMOTIONS)
            if not all((rows == n).any() for rows in of_column)
        ]
        if absent:
            notes.append(
                f"No test row of {column.label} is {', '.join(absent)}: its "
                "UAR is over the other emotions."
            )
    return notes


def _label_notes(scores: Scores) -> list[str]:
    """Name the systems whose anchored layers target labels chose."""
    systems = {
        name_of(system): None
        for (system, _), score in scores.items()
        for run in score.runs
        if run.results["anchor_rule"] in SELECTED
        and run.results["target_labels_used"]
        and family_of(system) != "bounds"
    }
    if not systems:
        return []
    return [f"Target labels chose the anchored layers of {', '.join(systems)}."]


def _by_column(
    scores: Scores, value: Callable[[Score], object]
) -> dict[Column, list]:
    values: dict[Column, list] = {}
    for (_, column), score in scores.items():
        values.setdefault(column, []).append(value(score))
    return values
