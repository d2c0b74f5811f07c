"""Prepare RAVDESS (English, Livingstone & Russo 2018) in its original names.

``Actor_12/03-01-06-01-02-01-12.wav``: modality, channel, emotion, intensity,
statement, repetition, actor. Speech as audio alone is read; songs and the sound
of the videos are left out and counted. Calm is another emotion than neutral.

Authors
 * The lam_sb authors 2026
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from lam_sb.corpora.options import PrepOptions
from lam_sb.corpora.readers import prepare_by_file_name

FILE_NAME = r"(0[123])-(0[12])-(0[1-8])-0[12]-0[12]-0[12]-(\d\d)"
EMOTIONS = {
    **{"01": "neutral", "02": "calm", "03": "happy", "04": "sad"},
    **{"05": "angry", "06": "fearful", "07": "disgust", "08": "surprised"},
}


def prepare(
    corpus: str,
    folder: Path,
    save_folder: Path,
    options: PrepOptions,
    label_map: Mapping[str, str | None] | None = None,
) -> None:
    """Write the manifests of RAVDESS; label_map goes by the names above."""
    prepare_by_file_name(
        corpus, folder, save_folder, options, FILE_NAME, _describe, label_map
    )


def _describe(match: re.Match, path: str) -> dict[str, str] | str:
    modality, channel, code, actor = match.groups()
    if channel == "02":
        return "song"
    if modality != "03":
        return "sound of a video"
    return {
        "emotion": EMOTIONS[code],
        "speaker": f"ravdess_{actor}",
        "gender": "male" if int(actor) % 2 else "female",
        "language": "en",
    }
