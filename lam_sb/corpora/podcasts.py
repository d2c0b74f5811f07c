"""Corpora that follow the MSP-Podcast protocol: a label table, flat audio."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from lam_sb.corpora.folders import files_by_name, listing
from lam_sb.corpora.labels import KNOWN_EMOTIONS
from lam_sb.corpora.manifests import UNKNOWN, cluster_of
from lam_sb.corpora.options import PrepOptions, check_mapping
from lam_sb.corpora.readers import write_records
from lam_sb.corpora.tables import (
    columns_of,
    find_column,
    missing_column,
    read_table,
)
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
COLUMNS = {
    "file": ("FileName", "file_name", "file", "utt", "wav", "", "Unnamed: 0"),
    "emotion": ("EmoClass", "emotion", "emo", "label"),
    "split": ("Split_Set", "split", "partition"),
    "speaker": ("SpkrID", "speaker", "speaker_id"),
    "gender": ("Gender",),
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
    columns: Mapping[str, str] | None = None,
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
    columns : Mapping[str, str], optional
        The table's columns by what they hold: file, emotion, split, speaker,
        gender.
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
    own = check_mapping(corpus, "columns", columns, [*COLUMNS])
    names = {w: find_column(table, w, COLUMNS[w], own) for w in COLUMNS}
    notes = {"label_file": os.path.relpath(path, folder)}
    if names["speaker"] is None:
        notes["speakers"] = "no such column: each podcast stands for a speaker"
        if require_known_speaker:
            what = "of speakers, but they are required"
            raise missing_column(table, what)
    records = _records(table, names, language)
    _add_splits(table, names["split"], records, folder, splits)
    _add_audio(corpus, folder, records)
    _add_alignments(corpus, folder, records, alignment_dir, require_alignment)
    dropped = {}
    if require_known_speaker:
        unknown = [r["id"] for r in records if r["speaker"] == UNKNOWN]
        dropped = dict.fromkeys(unknown, "unknown speaker")
        records = [r for r in records if r["id"] not in dropped]
    options = replace(
        options, require_alignment=require_alignment, phone_set=phone_set
    )
    mapping = {"known": EMOTION_VALUES, "label_map": label_map}
    mapping |= {"splits": splits, "dropped": dropped, "notes": notes}
    write_records(corpus, folder, save_folder, options, records, **mapping)


def _label_file(corpus: str, folder: Path, label_file: str | None) -> Path:
    tried = [label_file] if label_file else []
    if not label_file:
        pairs = itertools.product(LABEL_FILES, LABEL_FOLDERS)
        tried = [os.path.normpath(f"{place}/{name}") for name, place in pairs]
    for name in tried:
        if (folder / name).is_file():
            return folder / name
    held = [
        f"{place} holds: {listing(folder / place)}"
        for place in LABEL_FOLDERS[:-1]
        if (folder / place).is_dir()
    ]
    raise UserError(
        f"{corpus}: no label table in {folder} (looked for "
        f"{label_file or ', '.join(LABEL_FILES)}; {listing(folder)} found"
        f"{''.join('; ' + text for text in held)}). Name yours with the option "
        "label_file."
    )


def _records(
    table: Sequence[Mapping], names: Mapping[str, str | None], language: str
) -> list[dict]:
    """Fields of each row as far as the table alone tells them."""
    if names["file"] is None:
        raise missing_column(table, "of file names")
    records = []
    for line, emotion in zip(table, _emotions(table, names), strict=True):
        file = Path(line.get(names["file"], "").replace("\\", "/")).name
        if not file:
            raise UserError(f"A row of the label table names no file: {line}.")
        utt_id = file.removesuffix(".wav")
        gender = line.get(names["gender"], "").lower()
        records.append(
            {
                "id": utt_id,
                "path": f"{utt_id}.wav",
                "emotion": emotion,
                "speaker": _speaker(line, names["speaker"], utt_id),
                "gender": gender or UNKNOWN,
                "language": language,
            }
        )
    return records


def _speaker(line: Mapping, column: str | None, utt_id: str) -> str:
    if column is None:
        return cluster_of(utt_id, UNKNOWN)
    value = line.get(column, "")
    return UNKNOWN if value.lower() in ("", UNKNOWN) else value


def _emotions(
    table: Sequence[Mapping], names: Mapping[str, str | None]
) -> list[str]:
    """Emotion of each row, by its column or by one column an emotion."""
    if names["emotion"] is not None:
        return [line.get(names["emotion"], "") for line in table]
    columns = [
        c
        for c in columns_of(table)
        if c.lower() in EMOTION_VALUES and c not in names.values()
    ]
    if len(columns) < 2:
        raise missing_column(table, "of emotions")
    return [_most_votes(line, columns) for line in table]


def _most_votes(line: Mapping, columns: Sequence[str]) -> str:
    """Name of the column with the single largest count or share."""
    try:
        votes = {c: float(line.get(c) or 0) for c in columns}
    except ValueError as error:
        raise UserError(
            f"The columns {', '.join(columns)} of the label table are read as "
            f"votes, but {error}: {dict(line)}."
        ) from None
    most = max(votes.values())
    if not most > 0:
        return "no votes"
    winners = [c for c in columns if votes[c] == most]
    return winners[0] if len(winners) == 1 else "tie"


def _add_splits(
    table: Sequence[Mapping],
    column: str | None,
    records: Sequence[dict],
    folder: Path,
    splits: Mapping | None,
) -> None:
    """Add the table's splits, or those of Partitions.txt, if any."""
    path = folder / "Partitions.txt"
    if column is not None:
        for line, record in zip(table, records, strict=True):
            record["split"] = line.get(column, "")
    elif path.is_file():
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        parts = [line.partition(";") for line in lines]
        by_file = {file.strip(): split.strip() for split, _, file in parts}
        for record in records:
            record["split"] = by_file.get(record["path"], "")
    elif splits:
        raise missing_column(table, "of splits")


def _add_audio(corpus: str, folder: Path, records: Sequence[dict]) -> None:
    """Say in which variant of the audio folder each file lies."""
    wanted = {record["path"] for record in records}
    files = files_by_name(folder, AUDIO_FOLDERS)
    if not wanted & files.keys():
        files = files_by_name(folder, ["."])
    present = sorted(wanted & files.keys())
    if not present:
        raise UserError(
            f"{corpus}: none of the {len(records)} files of the label table "
            f"({', '.join(sorted(wanted)[:1])} the first) is in "
            f"{', '.join(AUDIO_FOLDERS)} or {folder} itself, nor one level "
            f"below; it holds: {listing(folder)}."
        )
    usual = Path(files[present[0]]).parent
    for record in records:
        record["path"] = files.get(record["path"], str(usual / record["path"]))


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
        record["alignment"] = files.get(f"{record['id']}.TextGrid")
    missing = not any(record["alignment"] for record in records)
    if missing and (required or alignment_dir):
        raise UserError(
            f"{corpus}: no row has a TextGrid in {', '.join(folders)} of "
            f"{folder}, which holds: {listing(folder)}. Say where with the "
            "option alignment_dir."
        )
