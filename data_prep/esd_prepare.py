"""Prepare ESD (English and Mandarin, Zhou et al. 2022) in its original names.

``0011/Angry/0011_000351.wav``, perhaps with ``train``, ``evaluation`` and
``test`` within or around; speakers 0001 to 0010 are Mandarin, 0011 to 0020
English. Where no folder names the emotion, ``<speaker>.txt`` does (id, text,
emotion, by tabs). Those subfolders hold the same speakers, so they are no
splits unless the option ``splits`` makes them so.

Authors
 * The lam_sb authors 2026
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from lam_sb.corpora.labels import KNOWN_EMOTIONS
from lam_sb.corpora.options import PrepOptions
from lam_sb.corpora.readers import prepare_by_file_name
from lam_sb.errors import UserError, check_choice

FILE_NAME = r"(\d{4})_\d{6}"
EMOTION_NAMES: dict[str, str | None] = {
    **KNOWN_EMOTIONS,
    **{"中立": "neutral", "快乐": "happy", "伤心": "sad", "生气": "angry"},
    "惊喜": None,
}
LANGUAGES = ("both", "en", "zh")
SPLIT_FOLDERS = ("train", "evaluation", "test")
# Copies of ESD differ in how their texts are encoded.
BOMS = (b"\xff\xfe", b"\xfe\xff")


def prepare(
    corpus: str,
    folder: Path,
    save_folder: Path,
    options: PrepOptions,
    label_map: Mapping[str, str | None] | None = None,
    language: str = "both",
    splits: Mapping | None = None,
) -> None:
    """Write the manifests of ESD, or of one of its languages.

    Arguments
    ---------
    corpus, folder, save_folder, options, label_map
        As in `lam_sb.corpora.readers.write_records`.
    language : str
        en, zh or both.
    splits : Mapping, optional
        Subfolders that are train, valid and test, for example
        ``{valid: evaluation}``; without it, splits are made by speaker.

    Raises
    ------
    UserError
        A file whose emotion nothing names, or whatever
        `lam_sb.corpora.readers.prepare_by_file_name` finds.
    """
    check_choice("language", language, LANGUAGES)
    tables: dict[Path, dict[str, str]] = {}

    def describe(match: re.Match, path: str) -> dict[str, str] | str:
        spoken = "zh" if int(match[1]) <= 10 else "en"
        if language not in ("both", spoken):
            return f"language {spoken}"
        above = [p.name for p in Path(path).parents]
        named = [n for n in above if n.lower() in EMOTION_NAMES and n]
        emotion = named[0] if named else _from_text(folder, path, tables)
        row = {
            "emotion": emotion,
            "speaker": f"esd_{match[1]}",
            "language": spoken,
        }
        if splits:
            parts = [n for n in above if n.lower() in SPLIT_FOLDERS]
            row["split"] = parts[0] if parts else ""
        return row

    mapping = {"label_map": label_map, "known": EMOTION_NAMES, "splits": splits}
    prepare_by_file_name(
        corpus, folder, save_folder, options, FILE_NAME, describe, **mapping
    )


def _from_text(folder: Path, path: str, tables: dict) -> str:
    """Emotion of a file by the text beside its speaker's folders."""
    name = Path(path).stem
    speaker = name[:4]
    for parent in Path(path).parents:
        text = folder / parent / f"{speaker}.txt"
        if text not in tables:
            tables[text] = _read_text(text) if text.is_file() else {}
        if name in tables[text]:
            return tables[text][name]
    raise UserError(
        f"The emotion of {path} is unknown: no folder above it names one, and "
        f"no {speaker}.txt."
    )


def _read_text(path: Path) -> dict[str, str]:
    """Emotion by id."""
    content = path.read_bytes()
    unicode = "utf-16" if content[:2] in BOMS else "utf-8-sig"
    for encoding in (unicode, "gb18030"):
        try:
            lines = content.decode(encoding).splitlines()
        except UnicodeDecodeError:
            continue
        rows = [line.strip().split("\t") for line in lines]
        return {row[0].strip(): row[-1].strip() for row in rows if row[1:]}
    raise UserError(
        f"{path} is in no encoding that can be read; save as UTF-8."
    )
