"""What tables say about themselves: captions, and notes on marks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from lam_sb.analysis.anchor_layers import ANALYSIS_RULES
from lam_sb.corpora.manifests import EMOTIONS
from lam_sb.evaluation.catalogue import REFERENCE, family_of, name_of
from lam_sb.evaluation.comparisons import (
    MIN_CLAIM_SEEDS,
    MIN_MARK_SEEDS,
    MIN_MARK_SPEAKERS,
    Difference,
    Key,
    Score,
    ScoreTable,
)
from lam_sb.evaluation.results import absent_note, few_note
from lam_sb.evaluation.statistics import FEW_CLUSTERS, Estimate

Scores = Mapping[Key, Score]
Differences = Mapping[Key, Difference]

SHOTS = "‡"  # after the name of a row that learns from target labels
MEANINGS = {
    "normalise": {
        "none": "features as they are",
        "source": "both corpora by the source's statistics",
        "domain": "each corpus by its own statistics, without labels",
        "speaker": "each corpus, then each speaker, those of the test too",
        "residual": "each corpus, then what is left of each speaker, those of "
        "the test too, once the emotions are taken off",
    },
    "protocol": {
        "speakers": "no test speaker is trained on, unless a corpus's own "
        "splits share speakers",
        "transductive": "the target's test rows are its unlabelled training "
        "rows too",
    },
    "select_on": {
        "source": "weights of the lowest source validation loss",
        "last": "posteriors averaged over the last validations",
    },
    "hold_out_shots": {
        True: "a fifth of the target, from which shots may come, is not tested",
        False: "every test row of the target is tested",
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
CALIBRATION = (
    "The confidence of a row is its largest posterior; where the mean "
    "confidence is above the accuracy, a system is surer than it is right. ECE "
    "is the expected calibration error over 15 bins of the confidence, 0 at "
    "best. The Brier score adds up the squared differences of posteriors and "
    "truth over the emotions, and is the mean over the rows, from 0 at best to "
    "2. The surest rows are those of the highest confidence; where not all "
    "rows of one confidence fit in, they count in equal parts. All are means "
    "over the seeds."
)
LACKS = "§"  # after a UAR of fewer emotions than the test rows have
UNCORRECTED = "Intervals of differences are two-sided and not corrected."
# What is said of columns with fewer test speakers, of systems with fewer seeds.
FEW_SPEAKERS = {
    FEW_CLUSTERS: "Few speakers: fewer than {} test speakers in {}.",
    MIN_MARK_SPEAKERS: "Fewer than {} speakers, so no marks of significance, "
    "in {}.",
    2: "One speaker, so no interval, in {1}.",
}
FEW_SEEDS = {
    MIN_CLAIM_SEEDS: "Few seeds, fewer than {}, which is a look and no claim: "
    "{}.",
    MIN_MARK_SEEDS: "Fewer than {} seeds, so no marks of significance: {}.",
    2: "One seed, so an interval that holds for that run only: {1}.",
}


def with_interval(estimate: Estimate, sign: str = "") -> str:
    """Write a UAR or, with the sign ``+``, a difference in percent.

    Without an interval where it has none; limits of a UAR are cut to 0 and 100.

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
    """Write numbers as one, or as the least and the most: ``2 to 5``."""
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


def differing_note(table: ScoreTable, shown: Iterable[Key]) -> str:
    """Say which rows are not as LAM-GL but for their system; empty if none."""
    first = REFERENCE if REFERENCE in table.systems else table.systems[0]
    texts: dict[str, list[str]] = {}
    for key in shown:
        if key in table.differing:
            system, column = key
            text = f"{name_of(system)} ({'; '.join(table.differing[key])})"
            texts.setdefault(text, []).append(column.label)
    several = len(table.columns) > 1
    parts = [
        text + f" in {', '.join(columns)}" * several
        for text, columns in texts.items()
    ]
    if not parts:
        return ""
    return (
        f"Not comparable: beside the system, these rows differ from "
        f"{name_of(first)} and get no marks: {'; '.join(parts)}."
    )


def describe_sizes(scores: Scores) -> str:
    """Say how many seeds and test speakers a table rests on."""
    sizes = _sizes(scores)
    by_column = sizes.groupby("column", sort=False)["speakers"]
    by_column = by_column.agg(number_range)
    speakers = ", ".join(f"{n} ({column})" for column, n in by_column.items())
    if by_column.nunique() == 1:
        speakers = by_column.iloc[0]
    return f"Seeds: {number_range(sizes.seeds)}. Test speakers: {speakers}."


def _sizes(scores: Scores) -> pd.DataFrame:
    """Numbers that scores rest on, a row each."""
    return pd.DataFrame(
        {
            "system": name_of(system),
            "column": column.label,
            "seeds": score.estimate.num_seeds,
            "speakers": score.estimate.num_clusters,
            "missing": score.estimate.missing_class_deletions,
        }
        for (system, column), score in scores.items()
    )


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


def p_note(differences: Differences) -> str:
    """Say what the p-values of differences are."""
    families = dict.fromkeys(family_of(system) for system, _ in differences)
    sides = {"baselines": "one-sided (LAM-GL is better)"}
    parts = [
        f"{sides.get(family, 'two-sided')} over the {family}"
        for family in sorted(families, key=lambda f: f != "baselines")
        if family != "bounds"
    ]
    note = UNCORRECTED
    if parts:
        note += f" p, Holm-corrected within one column: {', '.join(parts)}."
    return note + " Bounds are not tested." * ("bounds" in families)


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
    sizes = _sizes(scores)
    speakers = sizes.groupby("column", sort=False)["speakers"].min()
    seeds = sizes.groupby("system", sort=False)["seeds"].min()
    notes = []
    for limit, sentence in FEW_SPEAKERS.items():
        few = speakers.index[speakers < limit]
        notes += [sentence.format(limit, "; ".join(few))] * bool(len(few))
    for limit, sentence in FEW_SEEDS.items():
        few = seeds.index[seeds < limit]
        who = "all systems" if len(few) == len(seeds) else ", ".join(few)
        notes += [sentence.format(limit, who)] * bool(len(few))
    worst = sizes.loc[sizes.groupby("column", sort=False).missing.idxmax()]
    for row in worst[worst.missing > 0].itertuples():
        notes.append(
            f"Class missing: leaving out one of {row.missing} among "
            f"{row.speakers} speakers leaves no row of an emotion "
            f"({row.column}); the jackknife's UAR is then over the others."
        )
    notes += [*_absent_notes(scores), *_label_notes(scores)]
    return [*notes, *_run_notes(scores)]


def _run_notes(scores: Scores) -> list[str]:
    """Give what the runs say of their rows, but for what is said above."""
    columns: dict[str, dict[str, None]] = {}
    for (_, column), score in scores.items():
        for run in score.runs:
            said = {absent_note(run.results), few_note(run.results)}
            for note in run.results["notes"]:
                if note not in said:
                    columns.setdefault(note, {})[column.label] = None
    return [f"{note} ({'; '.join(where)})" for note, where in columns.items()]


def _absent_notes(scores: Scores) -> list[str]:
    """Name the emotions that no test row has."""
    absent: dict[str, set[int]] = {}
    for (_, column), score in scores.items():
        missing = {*range(len(EMOTIONS))} - {*score.predictions.labels}
        absent.setdefault(column.label, set()).update(missing)
    return [
        f"No test row of {column} is "
        f"{', '.join(EMOTIONS[n] for n in sorted(missing))}: its UAR is over "
        "the other emotions."
        for column, missing in absent.items()
        if missing
    ]


def _label_notes(scores: Scores) -> list[str]:
    """Name the systems whose anchored layers target labels chose."""
    systems = {
        name_of(system): None
        for (system, _), score in scores.items()
        for run in score.runs
        if run.results["anchor_rule"] in ANALYSIS_RULES
        and run.results["target_labels_used"]
        and family_of(system) != "bounds"
    }
    if not systems:
        return []
    return [f"Target labels chose the anchored layers of {', '.join(systems)}."]
