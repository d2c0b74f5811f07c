"""Prepare any corpus that has a labels.csv.

The table has a column ``path`` (relative to the corpus folder) and, as far as
known, ``emotion``, ``speaker``, ``split`` (train, valid, test), ``gender``,
``language``, ``alignment`` (a TextGrid, relative to the corpus folder) and
``id`` (else the file's stem). An empty emotion is no label.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from lam_sb.corpora.labels import (
    KNOWN_EMOTIONS,
    SPLIT_NAMES,
    count_unlabelled,
    map_emotions,
)
from lam_sb.corpora.manifests import UNKNOWN, Utterance
from lam_sb.corpora.options import PrepOptions
from lam_sb.corpora.prepare import write_corpus
from lam_sb.corpora.tables import columns_of, read_table
from lam_sb.errors import UserError


def prepare(
    corpus: str,
    folder: Path,
    save_folder: Path,
    options: PrepOptions,
    label_map: Mapping[str, str | None] | None = None,
    require_alignment: bool = False,
    phone_set: str = "auto",
) -> None:
    """Write the manifests of a corpus with a labels.csv.

    ``require_alignment`` and ``phone_set`` go before those of `PrepOptions`. A
    missing column and an unknown emotion or split are errors.
    """
    table = read_table(folder / "labels.csv")
    if table and "path" not in table[0]:
        raise UserError(
            f"{folder / 'labels.csv'} has no column 'path'; found: "
            f"{', '.join(columns_of(table))}."
        )
    values = [line.get("emotion", "") for line in table]
    emotions = map_emotions(corpus, values, KNOWN_EMOTIONS, label_map)
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
            alignment=line.get("alignment") or None,
        )
        for line in table
    ]
    notes = {"unlabelled": count_unlabelled(values, emotions)}
    options = replace(
        options, require_alignment=require_alignment, phone_set=phone_set
    )
    write_corpus(corpus, folder, save_folder, utterances, options, notes=notes)


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
