"""Checking audio files."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
import soundfile

RATES = range(4000, 400_001)  # Hz that speech comes in
BLOCK = 2**18  # samples that are decoded at once
# Formats that libsndfile does not read, by a file's beginning or its suffix.
UNSUPPORTED_BEGINNING = re.compile(
    rb".{4}ftyp|\x30\x26\xb2\x75|#!AMR|\x1a\x45\xdf\xa3", re.DOTALL
)
UNSUPPORTED_SUFFIXES = (
    *(".m4a", ".mp4", ".aac", ".wma", ".amr", ".3gp", ".webm", ".mkv"),
)
UNSUPPORTED = "audio of a format that is not supported"
UNREADABLE = "unreadable audio"
# What libsndfile says of a file that ends before its header says it does.
SIZES = re.compile(
    r"^ *(?:data|SSND|Data Size +|Riff size|riff) : (\d+) \(should be (\d+)\)",
    re.MULTILINE,
)
CUT_OGG = re.compile("^Ogg ?: Junk after the last page", re.MULTILINE)
# Frames that a NIST SPHERE file promises, of which libsndfile says nothing.
SPHERE = re.compile(rb"NIST_1A\n.*?^sample_count -i (\d+)", re.DOTALL | re.M)
STREAMED = 0x7FFFFF00  # bytes or frames; what writes to a pipe claims more
WHOLE = 0.95  # of what a header promises: those of whole files are a bit off
ENDLESS = 2**62  # frames; what libsndfile says of FLAC without a length
MIXED = 0.1  # of the channels' swing, which their mean has at least


def check_audio(path: Path) -> dict:
    """Give what a file holds, or the ``problem`` with it.

    The whole file is decoded, as damage may lie behind a good header.

    Returns
    -------
    dict
        ``duration`` and ``silent_end``, the zeros at the end, in seconds;
        ``sample_rate`` in Hz; ``audio_sha``, the
        beginning of the SHA-256 of the file, 16 digits; ``signal_sha``, that
        of its samples, which are the same in any lossless format.
    """
    beginning = b""
    try:
        if not path.is_file():  # a pipe would be waited for
            return {"problem": UNREADABLE}
        with open(path, "rb") as file:
            beginning = part = file.read(BLOCK)
            digest = hashlib.sha256()
            while part:
                digest.update(part)
                part = file.read(BLOCK)
        if not beginning:
            return {"problem": "empty audio file"}
        with soundfile.SoundFile(path) as file:
            facts = _decode(file, beginning)
        return facts | {"audio_sha": digest.hexdigest()[:16]}
    # TypeError: .raw
    except (soundfile.SoundFileError, OSError, TypeError, MemoryError):
        is_other = path.suffix.lower() in UNSUPPORTED_SUFFIXES or (
            UNSUPPORTED_BEGINNING.match(beginning)
        )
        return {"problem": UNSUPPORTED if is_other else UNREADABLE}


def _decode(file: soundfile.SoundFile, beginning: bytes) -> dict:
    if file.samplerate not in RATES:
        return {"problem": "audio with a sample rate that is none of speech"}
    if file.frames > ENDLESS:
        return {"problem": UNSUPPORTED}
    frames, heard, swing, mixed = 0, 0, 0.0, 0.0
    digest = hashlib.sha256(f"{file.samplerate}".encode())
    size = max(1, BLOCK // file.channels)
    while len(block := file.read(size, dtype="float32", always_2d=True)):
        if not np.isfinite(block).all():
            return {"problem": "audio with samples that are no numbers"}
        sounding = np.flatnonzero(block.any(1))
        heard = frames + 1 + int(sounding[-1]) if len(sounding) else heard
        frames += len(block)
        swing = max(swing, np.ptp(block))
        mixed = max(mixed, np.ptp(block.mean(1)))  # as it is encoded
        digest.update(f"{block.shape[1]}".encode() + block.tobytes())
    if frames == 0:
        return {"problem": "audio without samples"}
    if _is_cut(file, frames, beginning):
        return {"problem": UNREADABLE}
    if swing == 0:  # what an interrupted copy may leave
        return {"problem": "audio of digital silence"}
    if mixed < MIXED * swing:  # one is wired the wrong way round
        return {"problem": "audio whose channels cancel each other"}
    return {
        "duration": round(frames / file.samplerate, 4),
        "sample_rate": file.samplerate,
        "silent_end": round((frames - heard) / file.samplerate, 4),
        "signal_sha": digest.hexdigest()[:16],
    }


def _is_cut(file: soundfile.SoundFile, frames: int, beginning: bytes) -> bool:
    """Whether a file holds less than its header says."""
    pairs = [(file.frames, frames)]
    if sizes := SIZES.search(file.extra_info):
        pairs += [(int(sizes[1]), int(sizes[2]))]
    if count := SPHERE.match(beginning):
        pairs += [(int(count[1]), frames)]
    return bool(CUT_OGG.search(file.extra_info)) or any(
        promised < STREAMED and held < WHOLE * promised
        for promised, held in pairs
    )
