"""A podcast corpus as MSP-Podcast is published, and other small corpora."""

from __future__ import annotations

import json
from pathlib import Path

from conftest import write_table, write_wav
from toy_corpora import READERS

from lam_sb.corpora.manifests import SPLITS
from lam_sb.corpora.options import PrepOptions
from lam_sb.corpora.prepare import prepare_corpus

# A podcast corpus: podcast, emotion, speaker and split; four of each.
PODCAST = [
    ("0001", "N", "1", "Train"),
    ("0001", "H", "1", "Train"),
    ("0002", "A", "Unknown", "Train"),
    ("0002", "S", "2", "Train"),
    ("0002", "X", "2", "Train"),
    ("0003", "O", "Unknown", "Train"),
    ("0003", "U", "2", "Train"),
    ("0004", "N", "3", "Development"),
    ("0004", "S", "3", "Development"),
    ("0005", "H", "4", "Test1"),
    ("0005", "C", "4", "Test1"),
    ("0006", "A", "5", "Test2"),
    ("0006", "X", "5", "Test2"),
]
HEADER = [
    *("FileName", "EmoClass", "EmoAct", "EmoVal", "EmoDom"),
    *("SpkrID", "Gender", "Split_Set"),
]
KEPT = {
    "train": {"angry": 4, "happy": 4, "neutral": 4, "none": 12, "sad": 4},
    "valid": {"neutral": 4, "sad": 4},
    "test": {"happy": 4, "none": 4},
}
UNLABELLED = {"C": 4, "O": 4, "U": 4, "X": 4}  # Test2's four X are not used


def rows_of(corpus: str = "MSP") -> list[dict]:
    """List the label table as it is published."""
    names = [
        f"{corpus}-PODCAST_{podcast}_{n:03d}{take}.wav"
        for n, (podcast, *_) in enumerate(PODCAST)
        for take in range(4)
    ]
    values = [
        (emotion, "2.2", "4.0", "2.6", speaker, "Male", split)
        for _, emotion, speaker, split in PODCAST
        for _ in range(4)
    ]
    return [
        dict(zip(HEADER, (name, *value), strict=True))
        for name, value in zip(names, values, strict=True)
    ]


def write_podcast(
    folder: Path,
    audio: str = "Audios",
    labels: str = "Labels/labels_consensus.csv",
    rows: list[dict] | None = None,
) -> Path:
    """Write a podcast corpus; 52 files, the n-th of content n."""
    rows = rows or rows_of()
    (folder / labels).parent.mkdir(parents=True, exist_ok=True)
    if labels.endswith(".json"):
        content = {row.pop("FileName"): row for row in map(dict, rows)}
        (folder / labels).write_text(json.dumps(content))
        rows = [{"FileName": name} for name in content]
    else:
        write_table(folder / labels, rows)
    for number, row in enumerate(rows):
        name = next(iter(row.values())).removesuffix(".wav")
        write_wav(folder / audio / f"{name}.wav", number)
    return folder


def prepare(
    folder: Path, corpus: str = "msp_podcast", common=None, **options
) -> dict:
    """Prepare a corpus; return rows and report by the file's stem."""
    save = folder.parent / "manifests" / corpus
    prepare_corpus(
        corpus,
        str(folder),
        str(save),
        PrepOptions(**common or {}),
        READERS,
        **{"label_map": {}} | options,
    )
    names = (*SPLITS, "prep_report")
    return {
        n: json.loads((save / f"{n}.json").read_text("utf-8")) for n in names
    }


def all_rows(manifests: dict) -> dict:
    return {i: r for split in SPLITS for i, r in manifests[split].items()}


def column(rows: dict, name: str) -> dict:
    return {utt_id: row[name] for utt_id, row in rows.items()}


def textgrid(tiers: dict[str, list[tuple]], short: bool = False) -> str:
    """Text of a TextGrid of one second, as Praat writes it."""
    head = 'File type = "ooTextFile"\nObject class = "TextGrid"\n\n'
    if short:
        lines = ["0", "1", "<exists>", len(tiers)]
        for name, entries in tiers.items():
            lines += ['"IntervalTier"', f'"{name}"', 0, 1, len(entries)]
            lines += [x for a, b, p in entries for x in (a, b, f'"{p}"')]
        return head + "\n".join(map(str, lines)) + "\n"
    text = (
        f"xmin = 0\nxmax = 1\ntiers? <exists>\nsize = {len(tiers)}\nitem []:\n"
    )
    for k, (name, entries) in enumerate(tiers.items(), 1):
        text += f'    item [{k}]:\n        class = "IntervalTier"\n'
        text += f'        name = "{name}"\n        xmin = 0\n        xmax = 1\n'
        text += f"        intervals: size = {len(entries)}\n"
        for n, (start, end, phone) in enumerate(entries, 1):
            text += f"        intervals [{n}]:\n            xmin = {start}\n"
            text += f'            xmax = {end}\n            text = "{phone}"\n'
    return head + text


WORDS = [(0, 0.2, ""), (0.2, 1, "hi")]
PHONES = [(0, 0.2, ""), (0.2, 0.45, "HH"), (0.45, 0.8, "AY1"), (0.8, 1, "sil")]
READ = [["HH", 0.2, 0.45], ["AY1", 0.45, 0.8]]


def write_textgrid(path: Path, text: str | None = None, encoding="utf-8"):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = text or textgrid({"words": WORDS, "phones": PHONES})
    path.write_bytes(text.encode(encoding))
