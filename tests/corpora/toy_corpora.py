"""Small corpora with a labels.csv."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

from conftest import EMOTIONS, write_table, write_wav

from lam_sb.corpora.manifests import SPLITS
from lam_sb.corpora.options import PrepOptions
from lam_sb.corpora.prepare import prepare_corpus

READERS = Path(__file__).parents[2] / "data_prep"


FOUR_FILES = [*(f"{s}.json" for s in SPLITS), "prep_report.json"]


def write_corpus_of(folder: Path, lines: Iterable[dict]) -> Path:
    """Write a corpus with these lines in its labels.csv."""
    lines = [
        {**line, "path": line.get("path") or f"{n:03d}.wav"}
        for n, line in enumerate(lines, 1)
    ]
    for number, line in enumerate(lines, 1):
        write_wav(folder / line["path"], number)
    write_table(folder / "labels.csv", lines)
    return folder


def by_speaker(speakers: int, takes: int = 1) -> list[dict]:
    """List one row an emotion, speaker and take."""
    return [
        {"emotion": emotion, "speaker": f"s{speaker:02d}"}
        for speaker in range(speakers)
        for emotion in EMOTIONS
        for _ in range(takes)
    ]


def in_splits(*lines: dict) -> list[dict]:
    """List the lines as training rows, with one row each to valid and test."""
    train = [{"emotion": "", "split": "train"} | line for line in lines]
    others = [{"emotion": "sad", "split": s} for s in ("valid", "test")]
    columns = dict.fromkeys(key for line in train for key in line)
    return [{c: line.get(c, "") for c in columns} for line in train + others]


def prepare(folder: Path, save_folder: Path, corpus="toy", **options) -> dict:
    """Prepare a corpus; return rows and report by the file's stem."""
    label_map = options.pop("label_map", None)
    prepare_corpus(
        corpus,
        str(folder),
        str(save_folder),
        PrepOptions(**options),
        READERS,
        label_map=label_map,
    )
    return {
        Path(name).stem: json.loads((save_folder / name).read_text("utf-8"))
        for name in FOUR_FILES
    }


def column(rows: dict, name: str) -> set:
    return {row[name] for row in rows.values()}


def write_damaged(folder: Path) -> Path:
    """64 rows, 16 an emotion: 8 train, 4 valid, 4 test; some are damaged.

    Rows are named by split, emotion and number: train-sad-1.
    """
    counts = {"train": 8, "valid": 4, "test": 4}
    speakers = {"train": "a", "valid": "b", "test": "c"}
    lines = [
        {
            "path": f"{split}-{emotion}-{n}.wav",
            "emotion": emotion,
            "speaker": speakers[split],
            "split": split,
        }
        for split in SPLITS
        for emotion in EMOTIONS
        for n in range(counts[split])
    ]
    labels = {line["path"]: line for line in lines}
    labels["test-neutral-0.wav"]["emotion"] = ""
    labels["test-happy-0.wav"]["emotion"] = "disgust"
    labels["test-angry-3.wav"]["speaker"] = "a"
    write_corpus_of(folder, lines)
    (folder / "train-neutral-0.wav").unlink()
    (folder / "train-happy-0.wav").write_bytes(b"")
    (folder / "valid-angry-0.wav").write_text("no audio")
    write_wav(folder / "test-sad-0.wav", 99, count=800)  # 0.05 s
    shutil.copy(folder / "train-sad-0.wav", folder / "train-sad-1.wav")
    return folder
