"""Prepare any corpus that has a labels.csv.

The table has a column ``path`` (relative to the corpus folder) and, as far as
known, ``emotion``, ``speaker``, ``split`` (train, valid, test), ``gender``,
``language`` and ``id`` (else the file's stem). An empty emotion is no label.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from lam_sb.errors import UserError
from lam_sb.manifests import (
    EMOTIONS,
    UNKNOWN,
    PrepOptions,
    Utterance,
    write_corpus,
)

SYNONYMS = {
    "neutral": ("neutral", "neu", "neutrality"),
    "happy": ("happy", "hap", "happiness", "joy"),
    "angry": ("angry", "ang", "anger"),
    "sad": ("sad", "sadness"),
}
OTHERS = (
    *("boredom", "bored", "calm", "contempt", "disgust", "disgusted"),
    *("excited", "excitement", "fear", "fearful", "frustrated"),
    *("frustration", "other", "surprise", "surprised"),
)
SPLIT_NAMES = {
    "train": ("train", "training"),
    "valid": ("valid", "validation", "dev", "development"),
    "test": ("test", "test1", "testing"),
}


def prepare(
    corpus: str,
    folder: Path,
    save_folder: Path,
    options: PrepOptions,
    label_map: Mapping[str, str | None] | None = None,
) -> None:
    """Write the manifests of a corpus with a labels.csv.

    Arguments
    ---------
    corpus : str
        Name, written into every row.
    folder : Path
        Folder with labels.csv.
    save_folder : Path
        Where train.json, valid.json, test.json and prep_report.json go.
    options : PrepOptions
        Protocol and filters.
    label_map : Mapping[str, str | None], optional
        One of the four emotions, or null for none, by the table's value.

    Raises
    ------
    UserError
        A missing column, an unknown emotion or split, or whatever
        `lam_sb.manifests.write_corpus` finds.
    """
    table = _read_table(folder / "labels.csv")
    emotions = _emotions(table, corpus, label_map or {})
    stems = Counter(Path(line["path"]).stem for line in table)
    utterances = [
        Utterance(
            id=line.get("id") or _id(line["path"], stems),
            path=line["path"],
            emo=emotions[line.get("emotion", "")],
            speaker=line.get("speaker") or UNKNOWN,
            gender=line.get("gender") or UNKNOWN,
            language=line.get("language") or UNKNOWN,
            split=_split(line.get("split", ""), corpus),
        )
        for line in table
    ]
    other = sum(
        u.emo is None and bool(line.get("emotion"))
        for u, line in zip(utterances, table, strict=True)
    )
    notes = {"rows of another emotion, kept unlabelled": other}
    write_corpus(corpus, folder, save_folder, utterances, options, notes=notes)


def _read_table(path: Path) -> list[dict[str, str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no UTF-8: {error}; save it so.") from None
    reader = csv.DictReader(io.StringIO(text, newline=""))
    columns = [(c or "").strip() for c in reader.fieldnames or []]
    reader.fieldnames = columns
    if "path" not in columns:
        raise UserError(
            f"{path} has no column 'path'; found: {', '.join(columns)}."
        )
    return [
        {k: (v or "").strip() for k, v in line.items() if k is not None}
        for line in reader
    ]


def _emotions(
    table: list[dict], corpus: str, label_map: Mapping
) -> dict[str, str | None]:
    """Map each value of the emotion column, or say which are unknown."""
    label_map = {str(k): emo for k, emo in label_map.items()}  # YAML: {5: sad}
    wrong = set(label_map.values()) - {*EMOTIONS, None}
    if wrong:
        raise UserError(
            f"label_map of {corpus} gives {sorted(map(str, wrong))}; use "
            f"{', '.join(EMOTIONS)} or null."
        )
    known = {name: emo for emo, names in SYNONYMS.items() for name in names}
    known |= dict.fromkeys(OTHERS)
    known[""] = None
    mapped, unknown = {}, Counter()
    for line in table:
        value = line.get("emotion", "")
        if value in label_map:
            mapped[value] = label_map[value]
        elif value.lower() in known:
            mapped[value] = known[value.lower()]
        else:
            unknown[value] += 1
    if unknown:
        listed = ", ".join(f"{v} ({n})" for v, n in unknown.most_common())
        raise UserError(
            f"{corpus}: unknown emotions in labels.csv: {listed}. Name them "
            "in label_map, for example "
            f"{{{next(iter(unknown))}: null}} for no label."
        )
    return mapped


def _split(value: str, corpus: str) -> str | None:
    for split, names in SPLIT_NAMES.items():
        if value.lower() in names:
            return split
    if value:
        raise UserError(
            f"{corpus}: the split '{value}' in labels.csv is none of "
            "train, valid, test."
        )
    return None


def _id(path: str, stems: Counter) -> str:
    """Stem of the file, or its whole path where stems are not unique."""
    if stems[Path(path).stem] == 1:
        return Path(path).stem
    return str(Path(path).with_suffix("")).replace("/", "-")
