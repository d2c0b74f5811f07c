"""The card of an exported model: what it is, how good, what it is not for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from lam_sb.corpora.manifests import EMOTIONS, UNKNOWN
from lam_sb.evaluation.calibration import calibration_scores
from lam_sb.evaluation.catalogue import name_of, row_of
from lam_sb.evaluation.metrics import scores
from lam_sb.evaluation.predictions import Predictions
from lam_sb.evaluation.results import Run
from lam_sb.evaluation.statistics import (
    Estimate,
    interval,
)
from lam_sb.study.report.notes import MEANINGS, with_interval
from lam_sb.training.kept import FinishedRun
from lam_sb.yaml_text import dump

# Ways of standardising that take off each speaker's mean, which a model cannot.
BY_SPEAKER = ("speaker", "residual")
TAGS = ("speechbrain", "lam_sb", "speech-emotion-recognition", "cross-lingual")


class Scores(NamedTuple):
    """How well the average of some runs does on their labelled test rows.

    Arguments
    ---------
    uar : Estimate
        With its interval over speakers.
    others : dict
        Accuracy, recall by emotion, and those of `calibration_scores`.
    """

    uar: Estimate
    others: dict


def average_scores(runs: Sequence[Run]) -> Scores | None:
    """Score the mean posteriors of runs on the rows that all of them tested.

    None without labels.
    """
    ids = reduce(np.intersect1d, [run.ids for run in runs])
    if not len(ids):
        return None
    places = [{i: n for n, i in enumerate(run.ids.tolist())} for run in runs]
    rows = [[place[i] for i in ids.tolist()] for place in places]
    posteriors = np.mean(
        [run.posteriors[own] for run, own in zip(runs, rows, strict=True)],
        axis=0,
    )
    labels, clusters = runs[0].labels[rows[0]], runs[0].clusters[rows[0]]
    guesses = posteriors.argmax(1)
    found = scores(labels, guesses, EMOTIONS)
    found |= calibration_scores(labels, posteriors)
    predictions = Predictions(ids, labels, clusters, guesses[None])
    return Scores(interval(predictions), found)


def model_card(runs: Sequence[FinishedRun], encoder_source: str) -> str:
    """Text of README.md, with the Hub's metadata on top.

    It names corpora, but no utterance, speaker or path.

    Arguments
    ---------
    runs : Sequence[FinishedRun]
        The runs that the model averages.
    encoder_source : str
        Id of the encoder, or the name of its folder.
    """
    results = runs[0].results
    found = average_scores([run.run for run in runs])
    normalise = results["normalise"]
    environment = Environment(
        loader=PackageLoader("lam_sb.inference"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("model_card.md").render(
        metadata=dump(_metadata(results, encoder_source, found)),
        title=_title(results),
        labels=EMOTIONS,
        encoder=encoder_source,
        is_hub_id="/" in encoder_source,
        system=_system(runs),
        sources=", ".join(results["sources"]),
        target=results["target"],
        languages=_languages(results),
        protocol=_meaning("protocol", results["protocol"]),
        normalise=_meaning("normalise", normalise),
        target_labels=results["target_labels_used"],
        counts=_counts(results, found),
        who=_who(results),
        scores=_score_rows(found),
        by_speaker=normalise in BY_SPEAKER,
        few=found is not None and found.uar.few_clusters,
    )


def _title(results: dict) -> str:
    sources = " and ".join(results["sources"])
    return f"Speech emotions, from {sources} to {results['target']}"


def _system(runs: Sequence[FinishedRun]) -> str:
    name = name_of(row_of(runs[0].results))
    seeds = sum(run.results["seeds_averaged"] for run in runs)
    return name if seeds == 1 else f"{name}, mean posteriors of {seeds} seeds"


def _meaning(key: str, value: str) -> str:
    meaning = MEANINGS.get(key, {}).get(value)
    return f"{value} ({meaning})" if meaning else value


def _languages(results: dict) -> list[str]:
    """Codes that the corpora's tables give; none where they give none."""
    given = results.get("languages", {}).values()
    return sorted({code for codes in given for code in codes} - {UNKNOWN})


def _counts(results: dict, found: Scores | None) -> str:
    text = f"{results['n_test']} utterances of {results['target']}"
    if found is None:
        return f"{text}, without labels"
    return f"{text}, {found.uar.num_clusters} {_who(results)}"


def _who(results: dict) -> str:
    """Name what the interval is over."""
    return "speakers" if results["speakers"] == "known" else "recordings"


def _score_rows(found: Scores | None) -> dict[str, str]:
    """Texts by name of a score."""
    if found is None:
        return {}
    others = found.others
    recalls = {
        f"recall of {emotion} (%)": f"{100 * value:.1f}"
        for emotion, value in others["recall"].items()
        if value is not None
    }
    return {
        "UAR (%), 95 % interval": with_interval(found.uar),
        "accuracy (%)": f"{100 * others['accuracy']:.1f}",
        **recalls,
        "expected calibration error": f"{others['ece']:.3f}",
        "Brier score": f"{others['brier']:.3f}",
    }


def _metadata(
    results: dict, encoder_source: str, found: Scores | None
) -> dict[str, object]:
    """Give what the Hub reads of a card."""
    metadata: dict[str, object] = {
        "license": "other",
        "library_name": "speechbrain",
        "pipeline_tag": "audio-classification",
        "tags": list(TAGS),
        "datasets": [*results["sources"], results["target"]],
        "metrics": ["recall", "accuracy"],
    }
    if "/" in encoder_source:
        metadata["base_model"] = encoder_source
    if _languages(results):
        metadata["language"] = _languages(results)
    if found is not None:
        uar, others = found.uar, found.others
        name = f"UAR, 95 % interval {with_interval(uar)}"
        measured = [
            {"type": "recall", "name": name, "value": round(uar.value, 4)},
            {
                "type": "accuracy",
                "name": "Accuracy",
                "value": round(others["accuracy"], 4),
            },
        ]
        target = results["target"]
        metadata["model-index"] = [
            {
                "name": _title(results),
                "results": [
                    {
                        "task": {"type": "audio-classification"},
                        "dataset": {"name": target, "type": target},
                        "metrics": measured,
                    }
                ],
            }
        ]
    return metadata
