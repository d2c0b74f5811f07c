"""Corpora that follow the MSP-Podcast protocol: a label table, flat audio."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from lam_sb.corpora.audio import UNSUPPORTED_SUFFIXES
from lam_sb.corpora.copies import choose_copies
from lam_sb.corpora.folders import (
    AUDIO_SUFFIXES,
    files_by_name,
    listing,
    unsupported_audio,
)
from lam_sb.corpora.labels import KNOWN_EMOTIONS, known_name
from lam_sb.corpora.manifests import UNKNOWN
from lam_sb.corpora.options import PrepOptions, check_mapping
from lam_sb.corpora.readers import write_records
from lam_sb.corpora.tables import (
    COLUMNS,
    Table,
    find_column,
    missing_column,
    read_table,
    table_facts,
)
from lam_sb.corpora.votes import most_votes, vote_columns
from lam_sb.errors import UserError

AUDIO_FOLDERS = ("Audios", "Audio", "wavs", "wav")
LABEL_FOLDERS = ("Labels", "labels", "Label", "label", "Labels/Labels", ".")
# The second spelling is that of the releases up to 1.9.
LABEL_FILES = [
    f"labels_{name}.{suffix}"
    for suffix in ("csv", "json")
    for name in ("consensus", "concensus")
]
ALIGNMENT_FOLDERS = (
    *("ForceAligned", "TextGrid", "TextGrids"),
    *("MFA", "Alignments"),
)
NAMES = {
    "file": ("filename", "utt", *COLUMNS["path"]),
    "emotion": ("emoclass", *COLUMNS["emotion"]),
    "split": ("splitset", *COLUMNS["split"]),
    "speaker": ("spkrid", *COLUMNS["speaker"]),
    "gender": COLUMNS["gender"],
}
EMOTION_VALUES: dict[str, str | None] = {
    **KNOWN_EMOTIONS,
    **{"n": "neutral", "h": "happy", "a": "angry", "s": "sad"},
    **dict.fromkeys(("u", "f", "d", "c", "o")),  # other emotions
    **dict.fromkeys(("x", "xxx", "no agreement", "tie", "no votes")),
}


def prepare_podcast(
    corpus: str,
    folder: Path,
    save_folder: Path,
    options: PrepOptions,
    language: str,
    label_map: Mapping[str, str | None] | None = None,
    splits: Mapping | None = None,
    columns: Mapping[str, str | list[str] | None] | None = None,
    label_file: str | None = None,
    alignment_dir: str | None = None,
    phone_set: str = "auto",
    require_known_speaker: bool = False,
    require_alignment: bool = False,
) -> None:
    """Write the manifests of a corpus that is laid out as MSP-Podcast is.

    Arguments
    ---------
    corpus, save_folder, options, label_map, splits
        As in `lam_sb.corpora.readers.write_records`.
    folder : Path
        With ``Audios``, ``Labels`` and, for phones, ``ForceAligned``, or
        their usual variants.
    language : str
        Written into every row.
    columns : Mapping[str, str | list[str]], optional
        The table's columns by what they hold: file, emotion, split, speaker,
        gender; for emotion a list of columns with votes, too.
    label_file, alignment_dir : str, optional
        Where they are, relative to the folder, if at no usual place.
    phone_set : str
        As in `lam_sb.corpora.options.PrepOptions`.
    require_known_speaker, require_alignment : bool
        Drop rows without.

    Raises
    ------
    UserError
        No label table, column or audio (with what was found), or whatever
        `lam_sb.corpora.readers.write_records` finds.
    """
    path = _label_file(corpus, folder, label_file)
    table = read_table(path)
    columns = check_mapping(corpus, "columns", columns, [*NAMES])
    names = _column_names(table, columns)
    if names["speaker"] is None and require_known_speaker:
        raise missing_column(
            table, "of speakers, but they are required", "speaker"
        )
    votes, facts, notes = _read_votes(corpus, table, names, columns)
    facts = {"label_file": os.path.relpath(path, folder)} | facts
    records = _records(table, names, votes, language)
    _add_splits(table, names["split"], records, folder, splits)
    _add_audio(corpus, folder, save_folder, records)
    _add_alignments(corpus, folder, records, alignment_dir, require_alignment)
    dropped = {}
    if require_known_speaker:
        unknown = [r["id"] for r in records if r["speaker"] == UNKNOWN]
        dropped = dict.fromkeys(unknown, "unknown speaker")
        records = [r for r in records if r["id"] not in dropped]
    options = replace(
        options, require_alignment=require_alignment, phone_set=phone_set
    )
    known = EMOTION_VALUES | dict.fromkeys(
        c.lower() for c in votes if c.lower() not in EMOTION_VALUES
    )
    mapping = {"known": known, "label_map": label_map, "splits": splits}
    mapping |= {"dropped": dropped, "facts": facts, "notes": notes}
    write_records(corpus, folder, save_folder, options, records, **mapping)


def _column_names(table: Table, columns: Mapping) -> dict[str, str | None]:
    """Columns by what they hold; of emotions none, if they are votes."""
    columns = {w: c for w, c in columns.items() if not isinstance(c, list)}
    names = {w: find_column(table, w, NAMES[w], columns) for w in NAMES}
    if names["file"] is None:  # the index of a table that pandas wrote
        index = [c for c in table.columns if c in ("", "Unnamed: 0")]
        names["file"] = next(iter(index), None)
    if names["file"] is None:
        raise missing_column(table, "of file names", "file")
    return names


def _read_votes(
    corpus: str,
    table: Table,
    names: dict[str, str | None],
    columns: Mapping[str, object],
) -> tuple[list[str], dict, list[str]]:
    """Columns of votes, if they are the emotions; facts and notes on them."""
    votes, others = [], []
    if isinstance(columns.get("emotion"), list):
        votes, names["emotion"] = columns["emotion"], None
        for column in votes:
            if column not in table.columns:
                raise missing_column(table, f"'{column}' (emotion)", "emotion")
    elif names["emotion"] is None:
        votes, others = vote_columns(table, names.values(), EMOTION_VALUES)
    used = names | {f"votes for {column}": column for column in votes}
    facts, notes = table_facts(
        corpus, table, used, {"emotion": None, **columns}
    )
    if votes:
        facts |= {"votes": votes, "numbers_that_are_no_votes": others}
        rest = f" (no votes: {', '.join(others)})" if others else ""
        notes.append(
            f"The emotion of {corpus} is the one with the most votes in the "
            f"columns {', '.join(votes)}{rest}."
        )
    return votes, facts, notes


def _label_file(corpus: str, folder: Path, label_file: str | None) -> Path:
    tried = [label_file] if label_file else []
    if not label_file:
        pairs = itertools.product(LABEL_FILES, LABEL_FOLDERS)
        tried = [os.path.normpath(f"{where}/{name}") for name, where in pairs]
    for name in tried:
        if (folder / name).is_file():
            return folder / name
    held = [
        f"{subfolder} holds: {listing(folder / subfolder)}"
        for subfolder in LABEL_FOLDERS[:-1]
        if (folder / subfolder).is_dir()
    ]
    raise UserError(
        f"{corpus}: no label table in {folder} (looked for "
        f"{label_file or ', '.join(LABEL_FILES)}; {listing(folder)} found"
        f"{''.join('; ' + text for text in held)}). Name yours with the option "
        "label_file."
    )


def _records(
    table: Table,
    names: Mapping[str, str | None],
    votes: Sequence[str],
    language: str,
) -> list[dict]:
    """Fields of each row as far as the table alone tells them."""
    records = []
    for line in table.rows:
        file = Path(line.get(names["file"], "").replace("\\", "/")).name
        if not file:
            raise UserError(f"A row of the label table names no file: {line}.")
        is_path = file.lower().endswith(
            (*AUDIO_SUFFIXES, *UNSUPPORTED_SUFFIXES)
        )
        emotion = line.get(names["emotion"], "")
        records.append(
            {
                "id": Path(file).stem if is_path else file,
                "path": file if is_path else f"{file}.wav",
                "emotion": most_votes(line, votes) if votes else emotion,
                "speaker": known_name(line.get(names["speaker"], "")),
                "gender": known_name(line.get(names["gender"], "").lower()),
                "language": language,
            }
        )
    return records


def _add_splits(
    table: Table,
    column: str | None,
    records: Sequence[dict],
    folder: Path,
    splits: Mapping | None,
) -> None:
    """Add the table's splits, or those of Partitions.txt, if any."""
    path = folder / "Partitions.txt"
    if column is not None:
        for line, record in zip(table.rows, records, strict=True):
            record["split"] = line.get(column, "")
    elif path.is_file():
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        parts = [line.partition(";") for line in lines]
        by_file = {file.strip(): split.strip() for split, _, file in parts}
        for record in records:
            record["split"] = by_file.get(record["path"], "")
    elif splits:
        raise missing_column(table, "of splits", "split")


def _add_audio(
    corpus: str, folder: Path, save_folder: Path, records: Sequence[dict]
) -> None:
    """Say in which variant of the audio folder each file lies."""
    wanted = {record["path"] for record in records}
    files = files_by_name(folder, AUDIO_FOLDERS)
    if not wanted & files.keys():
        files = files_by_name(folder, ["."])
    present = {name: files[name] for name in sorted(wanted & files.keys())}
    if not present:
        raise UserError(
            f"{corpus}: none of the {len(records)} files of the label table "
            f"({', '.join(sorted(wanted)[:1])} the first) is in "
            f"{', '.join(AUDIO_FOLDERS)} or {folder} itself, nor one level "
            f"below; it holds: {listing(folder)}.{unsupported_audio(folder)}"
        )
    chosen = choose_copies(corpus, folder, save_folder, present)
    usual = Path(next(iter(chosen.values()))).parent
    for record in records:
        record["path"] = chosen.get(record["path"], str(usual / record["path"]))


def _add_alignments(
    corpus: str,
    folder: Path,
    records: Sequence[dict],
    alignment_dir: str | None,
    required: bool,
) -> None:
    folders = [alignment_dir] if alignment_dir else ALIGNMENT_FOLDERS
    files = files_by_name(folder, folders)
    for record in records:
        paths = files.get(f"{record['id']}.TextGrid", [None])
        record["alignment"] = paths[0]
    missing = not any(record["alignment"] for record in records)
    if missing and (required or alignment_dir):
        raise UserError(
            f"{corpus}: no row has a TextGrid in {', '.join(folders)} of "
            f"{folder}, which holds: {listing(folder)}. Say where with the "
            "option alignment_dir."
        )
