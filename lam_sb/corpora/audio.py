"""Checking audio files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import soundfile


def check_audio(path: Path) -> dict:
    """Give ``duration`` in seconds and ``audio_sha``, or the ``problem``.

    ``audio_sha`` is the beginning of the SHA-256 of the whole file, 16 digits.
    """
    try:
        content = path.read_bytes()
        if not content:
            return {"problem": "empty audio file"}
        info = soundfile.info(str(path))
    except (soundfile.LibsndfileError, OSError):
        return {"problem": "unreadable audio"}
    if info.frames == 0:
        return {"problem": "audio without samples"}
    return {
        "duration": round(info.frames / info.samplerate, 4),
        "audio_sha": hashlib.sha256(content).hexdigest()[:16],
    }
