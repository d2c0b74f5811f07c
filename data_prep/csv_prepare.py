"""Prepare any corpus that has a labels.csv.

The table has a column ``path`` (relative to the corpus folder) and, as far as
known, ``emotion``, ``speaker``, ``split`` (train, valid, test), ``gender``,
``language``, ``alignment`` (a TextGrid, relative to the corpus folder) and
``id`` (else the file's stem). Without an alignment, that of a row of the path
``audio/a.wav`` is ``TextGrids/audio/a.TextGrid``, if it is there.
An empty emotion is no label. Usual variants of these names are read too
(`lam_sb.corpora.tables.COLUMNS`).

Authors
 * The lam_sb authors 2026
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from lam_sb.corpora.labels import (
    KNOWN_EMOTIONS,
    SPLIT_NAMES,
    emotion_facts,
    known_name,
    map_emotions,
)
from lam_sb.corpora.manifests import Utterance
from lam_sb.corpora.options import PrepOptions, check_mapping
from lam_sb.corpora.prepare import write_corpus
from lam_sb.corpora.tables import (
    COLUMNS,
    find_column,
    missing_column,
    read_table,
    table_facts,
)
from lam_sb.corpora.textgrids import TEXTGRIDS, alignment_path
from lam_sb.errors import UserError


def prepare(
    corpus: str,
    folder: Path,
    save_folder: Path,
    options: PrepOptions,
    label_map: Mapping[str, str | None] | None = None,
    columns: Mapping[str, str | None] | None = None,
    require_alignment: bool = False,
    phone_set: str = "auto",
    alignment_dir: str | None = None,
) -> None:
    """Write the manifests of a corpus with a labels.csv.

    ``columns`` names the table's columns by what they hold, where they have no
    usual names. ``require_alignment`` and ``phone_set`` go before those of
    `PrepOptions`. ``alignment_dir`` is taken instead of ``TextGrids``, wherever
    it lies, and has to be there. A missing column, a row without a path and an
    unknown emotion or split are errors.
    """
    table = read_table(folder / "labels.csv")
    columns = check_mapping(corpus, "columns", columns, [*COLUMNS])
    names = {w: find_column(table, w, COLUMNS[w], columns) for w in COLUMNS}
    if names["path"] is None:
        raise missing_column(table, "of paths", "path")
    lines = [
        {what: row.get(name, "") for what, name in names.items()}
        for row in table.rows
    ]
    _add_alignments(corpus, folder, lines, alignment_dir)
    values = [line["emotion"] for line in lines]
    emotions = map_emotions(corpus, values, KNOWN_EMOTIONS, label_map)
    utterances = [
        Utterance(
            id=line["id"] or utt_id,
            path=line["path"],
            emo=emotions[line["emotion"]],
            speaker=known_name(line["speaker"]),
            gender=known_name(line["gender"]),
            language=known_name(line["language"]),
            split=_split(line["split"], corpus, names["split"]),
            alignment=line["alignment"] or None,
        )
        for line, utt_id in zip(lines, _ids(lines), strict=True)
    ]
    facts, notes = table_facts(corpus, table, names, columns)
    facts = emotion_facts(values, emotions, label_map) | facts
    options = replace(
        options, require_alignment=require_alignment, phone_set=phone_set
    )
    write_corpus(
        corpus,
        folder,
        save_folder,
        utterances,
        options,
        facts=facts,
        notes=notes,
    )


def _add_alignments(
    corpus: str,
    folder: Path,
    lines: Sequence[dict[str, str]],
    alignment_dir: str | None,
) -> None:
    """Say where the TextGrids lie that the table does not name."""
    where = alignment_dir or TEXTGRIDS
    if not (folder / where).is_dir():
        if alignment_dir:
            raise UserError(
                f"{corpus}: there is no folder {folder / where}; correct the "
                "option alignment_dir."
            )
        return
    for line in lines:
        if not line["alignment"]:
            line["alignment"] = alignment_path(where, line["path"])


def _split(value: str, corpus: str, column: str | None) -> str | None:
    for split, names in SPLIT_NAMES.items():
        if value.lower() in names:
            return split
    if value:
        raise UserError(
            f"{corpus}: the split '{value}' in labels.csv is none of train, "
            f"valid, test; correct it, or do not read the column {column}: "
            '--source_options "{columns: {split: null}}" (or --target_options).'
        )
    return None


def _ids(lines: Sequence[Mapping[str, str]]) -> list[str]:
    """Stem of each file; where stems repeat its path, then with its suffix."""
    paths = [Path(line["path"]) for line in lines]
    for line, path in zip(lines, paths, strict=True):
        if not path.name:
            raise UserError(f"A row of labels.csv has no path: {line}.")
        if os.path.normpath(path).startswith(".."):  # not by its full name
            raise UserError(
                f"labels.csv: {path} leads out of the corpus's folder; name "
                "the file from / on, or link its folder into that."
            )
    ids = [path.stem for path in paths]
    for name_of in (lambda path: path.with_suffix(""), lambda path: path):
        counts = Counter(ids)
        ids = [
            i if counts[i] == 1 else str(name_of(path)).replace("/", "-")
            for i, path in zip(ids, paths, strict=True)
        ]
    return ids
