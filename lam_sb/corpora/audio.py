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
CANCELLING = "audio whose channels cancel each other"
# What libsndfile says of a file that ends before its header says it does.
SIZES = re.compile(
    r"^ *(?:data|SSND|Data Size +|riff) : (\d+) \(should be (\d+)\)",
    re.MULTILINE,
)
RF64_FRAMES = re.compile(r"^RF64$.*?^  Frames    : (\d+)", re.DOTALL | re.M)
# Frames that a NIST SPHERE file promises, of which libsndfile says nothing.
SPHERE = re.compile(rb"NIST_1A\n.*?^sample_count -i (\d+)", re.DOTALL | re.M)
STREAMED = 0x7FFFFF00  # bytes or frames; what writes to a pipe claims more
WHOLE = 0.95  # of what a header promises: those of whole files are a bit off
ENDLESS = 2**62  # frames; what libsndfile says of FLAC without a length
OGG_PAGE = 65307  # bytes, at most
OGG_HEADER = 27  # bytes of a page's header, before the sizes of its segments
MID_SIDE = np.array([[0.5, 0.5], [0.5, -0.5]], dtype=np.float32)
CANCELLED = 0.01  # of the channels' power, which their mean has at least


def check_audio(path: Path) -> dict:
    """Give what a file holds, or the ``problem`` with it.

    The whole file is decoded, as damage may lie behind a good header.

    Returns
    -------
    dict
        ``duration`` and ``silent_end``, the zeros at the end, in seconds;
        ``sample_rate`` in Hz; ``audio_sha``, the beginning of the SHA-256 of
        the file, 16 digits (also of one with a problem, if it can be read);
        ``signal_sha``, that of its samples, which are the same in any lossless
        format.
    """
    digest, beginning, ending = hashlib.sha256(), b"", b""
    try:
        if not path.is_file():  # a pipe would be waited for
            return {"problem": UNREADABLE}
        with open(path, "rb") as file:
            beginning = part = file.read(BLOCK)
            while part:
                digest.update(part)
                ending = (ending + part)[-2 * OGG_PAGE :]
                part = file.read(BLOCK)
    except OSError:
        return {"problem": UNREADABLE}
    facts = {"audio_sha": digest.hexdigest()[:16]}
    if not beginning:
        return facts | {"problem": "empty audio file"}
    try:
        with soundfile.SoundFile(path) as file:
            facts |= _decode(file, beginning, ending)
    # TypeError: .raw
    except (soundfile.SoundFileError, OSError, TypeError, MemoryError):
        is_other = path.suffix.lower() in UNSUPPORTED_SUFFIXES or (
            UNSUPPORTED_BEGINNING.match(beginning)
        )
        facts["problem"] = UNSUPPORTED if is_other else UNREADABLE
    return facts


def _decode(file: soundfile.SoundFile, beginning: bytes, ending: bytes) -> dict:
    if file.samplerate not in RATES:
        return {"problem": "audio with a sample rate that is none of speech"}
    if file.frames > ENDLESS:
        return {"problem": UNSUPPORTED}
    digest = hashlib.sha256(f"{file.samplerate}".encode())
    sums = _Sums()
    size = max(1, BLOCK // file.channels)
    while len(block := file.read(size, dtype="float32", always_2d=True)):
        if not np.isfinite(block).all():
            return {"problem": "audio with samples that are no numbers"}
        sums.add(block)
        digest.update(f"{block.shape[1]}".encode() + block.tobytes())
    if sums.frames == 0:
        return {"problem": "audio without samples"}
    if _is_cut_ogg(beginning, ending) or _is_cut(file, sums.frames, beginning):
        return {"problem": UNREADABLE}
    if problem := sums.problem():
        return {"problem": problem}
    return {
        "duration": round(sums.frames / file.samplerate, 4),
        "sample_rate": file.samplerate,
        "silent_end": round((sums.frames - sums.heard) / file.samplerate, 4),
        "signal_sha": digest.hexdigest()[:16],
    }


class _Sums:
    """What is summed up over the blocks of a file."""

    def __init__(self):
        self.frames = 0
        self.heard = 0  # frames to the last that is not zero
        self.lowest, self.highest = np.inf, -np.inf  # of each channel
        self.powers = np.zeros(2)  # of two channels: their mean, and the rest

    def add(self, block: np.ndarray) -> None:
        """Take in (N, C) samples."""
        sounding = np.flatnonzero(block.any(1))
        if len(sounding):
            self.heard = self.frames + 1 + int(sounding[-1])
        self.frames += len(block)
        self.lowest = np.minimum(self.lowest, block.min(0))
        self.highest = np.maximum(self.highest, block.max(0))
        if block.shape[1] == 2:
            spread = (block @ MID_SIDE).var(0, dtype=np.float64)
            self.powers += len(block) * spread

    def problem(self) -> str | None:
        """Say why what was heard is no speech."""
        if (self.lowest == self.highest).all():  # left by an interrupted copy
            return "audio of digital silence"
        if self.powers[0] < CANCELLED * self.powers.sum():
            return CANCELLING  # one is wired the wrong way round
        return None


def _is_cut(file: soundfile.SoundFile, frames: int, beginning: bytes) -> bool:
    """Whether a file holds less than its header says."""
    pairs = [(file.frames, frames)]
    if sizes := SIZES.search(file.extra_info):
        pairs += [(int(sizes[1]), int(sizes[2]))]
    if count := RF64_FRAMES.search(file.extra_info) or SPHERE.match(beginning):
        pairs += [(int(count[1]), frames)]
    return any(
        promised < STREAMED and held < WHOLE * promised
        for promised, held in pairs
    )


def _is_cut_ogg(beginning: bytes, ending: bytes) -> bool:
    """Whether an Ogg file's last page is not its end, or not whole.

    See RFC 3533, section 6. What follows the last page, as tags do, is none.
    """
    if not beginning.startswith(b"OggS"):
        return False
    page = ending[max(0, ending.rfind(b"OggS")) :]
    if len(page) < OGG_HEADER:
        return True
    segments = OGG_HEADER + page[OGG_HEADER - 1]
    size = segments + sum(page[OGG_HEADER:segments])
    return not page[5] & 4 or len(page) < size
