"""The command ``check``: what would become of a corpus."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

import lam_sb
from lam_sb.arguments import check_arguments
from lam_sb.corpora.manifests import EMOTIONS, SPLITS
from lam_sb.corpora.options import PrepOptions
from lam_sb.corpora.prepare import prepare_corpus
from lam_sb.errors import UserError
from lam_sb.evaluation.statistics import FEW_CLUSTERS

READERS = "data_prep"
NAMED = 3  # utterances of a kind that are named
FEW_ROWS = 30  # of an emotion to train on
SHORT, LONG = 1.0, 20.0  # seconds; most corpora lie between


def check_corpus(argv: Sequence[str]) -> None:
    """Print what preparation keeps of a corpus, what it drops, and why.

    Raises
    ------
    UserError
        What keeps it from being prepared.
    """
    given = check_arguments(argv)
    folder = Path(given.corpus)
    name = given.name or folder.resolve().name
    with tempfile.TemporaryDirectory() as manifests:
        options = PrepOptions(protocol=given.protocol)
        prepare_corpus(
            *(name, folder, manifests, options, _readers()), **given.options
        )
        report, rows = (
            json.loads(Path(manifests, "prep_report.json").read_text("utf-8")),
            {
                split: json.loads(
                    Path(manifests, f"{split}.json").read_text("utf-8")
                )
                for split in SPLITS
            },
        )
    print("\n".join(describe(report, rows)))


def _readers() -> Path:
    """Folder of the readers, here or beside the package."""
    for folder in (Path.cwd(), Path(lam_sb.__file__).parents[1]):
        if (folder / READERS).is_dir():
            return folder / READERS
    raise UserError(
        f"There is no folder {READERS} with the readers of corpora: give the "
        "command in the recipe's folder, beside train.py."
    )


def describe(
    report: Mapping, rows: Mapping[str, Mapping[str, Mapping]]
) -> Iterator[str]:
    """Say what a corpus holds, line by line.

    Arguments
    ---------
    report : Mapping
        What prep_report.json holds.
    rows : Mapping[str, Mapping[str, Mapping]]
        Manifest rows by split and id.
    """
    listed = sum(
        n for kept in report["steps"][0]["kept"].values() for n in kept.values()
    )
    listed += sum(report["steps"][0]["dropped"].values())
    kept = [row for part in rows.values() for row in part.values()]
    yield f"{report['corpus']}: {len(kept)} of {listed} rows are kept."
    by_reason: dict[str, list[str]] = {}
    for utt_id, reason in report["skipped"].items():
        by_reason.setdefault(reason, []).append(utt_id)
    for reason, ids in by_reason.items():
        more = ", ..." if len(ids) > NAMED else ""
        yield f"  dropped: {len(ids)} {reason} ({', '.join(ids[:NAMED])}{more})"
    for split, part in rows.items():
        counts = Counter(row["emo"] or "no or other" for row in part.values())
        emotions = ", ".join(f"{e} {n}" for e, n in sorted(counts.items()))
        speakers = report["speakers"][split]
        yield f"  {split}: {len(part)} rows, {speakers} speakers: {emotions}"
    seconds = np.array([row["duration"] for row in kept])
    low, middle, high = np.percentile(seconds, [5, 50, 95])
    yield (
        f"  {seconds.sum() / 3600:.2f} hours; seconds an utterance: median "
        f"{middle:.1f}, 90 % within {low:.1f} and {high:.1f}, at most "
        f"{seconds.max():.1f}"
    )
    yield f"  languages: {', '.join(sorted({row['language'] for row in kept}))}"
    phones = sum(bool(row["phones"]) for row in kept)
    yield f"  {phones} rows have phone times"
    yield from (f"Note: {note}" for note in report["notes"])
    fixes = [*_fixes(report, rows, seconds)]
    yield from (f"Fix {n}: {fix}" for n, fix in enumerate(fixes, start=1))
    if not fixes:
        yield "Nothing needs to be mended."


def _fixes(
    report: Mapping, rows: Mapping[str, Mapping], seconds: np.ndarray
) -> Iterator[str]:
    """Name what would help most, the first things first."""
    trained = Counter(row["emo"] for row in rows["train"].values())
    few = [e for e in EMOTIONS if trained[e] < FEW_ROWS]
    if few:
        counts = ", ".join(f"{e} {trained[e]}" for e in few)
        yield (
            f"few rows to train on ({counts}): look whether the table calls "
            "them by another name, and say so by label_map. As an unlabelled "
            "target the corpus needs none."
        )
    if report["speaker_labels"] != "known":
        yield (
            "add a column speaker to the table: without it, splits may share "
            "a speaker and intervals are too narrow."
        )
    elif report["speakers"]["test"] < FEW_CLUSTERS:
        yield (
            f"{report['speakers']['test']} test speakers give a rough "
            "interval: train.py --folds 5 tests every speaker once, and "
            "--protocol transductive tests all rows of an unlabelled target."
        )
    if any(report["speakers_in_two_splits"].values()):
        yield (
            "some speakers stand in two splits: leave the split column out, "
            "and lam_sb splits by speaker."
        )
    long = int((seconds > LONG).sum())
    if long:
        yield (
            f"{long} rows are longer than {LONG:.0f} s: cut them into "
            "utterances, or drop them with train.py --max_duration."
        )
    short = int((seconds < SHORT).sum())
    if short > 0.05 * len(seconds):
        yield (
            f"{short} rows are shorter than {SHORT:.0f} s, where emotions are "
            "hard to hear: train.py --min_duration drops them."
        )
