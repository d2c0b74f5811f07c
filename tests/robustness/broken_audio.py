"""Files of many kinds that are no speech, or less than they promise."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import soundfile
from conftest import RATE

FORMATS = ("wav", "flac", "ogg", "mp3", "aiff", "w64", "caf")
# Kinds of which some of the speech that they hold can be read.
READABLE = {
    *("no_end", "half", "trailing", "bits_1", "bits_7"),
}
# Kinds that preparation refuses, although their beginning can be read.
BEGUN = {"no_end", "half", "promise", "one", "channels_1024"}
PCM, FLOAT = 1, 3  # formats in a WAV file's header


def header(
    rate: int = RATE,
    channels: int = 1,
    size: int = 3200,
    bits: int = 16,
    kind: int = PCM,
) -> bytes:
    """Give a WAV file's header, which may say anything."""
    frame = bits // 8 * channels
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        *(b"RIFF", (36 + size) % 2**32, b"WAVE", b"fmt ", 16, kind, channels),
        *(rate, rate * frame % 2**32, frame % 2**16, bits, b"data", size),
    )


def broken_audio(folder: Path) -> dict[str, Path]:
    """Write them into a folder; by name."""
    tone = 0.1 * np.sin(np.arange(8000) / 9)
    for suffix in FORMATS:
        soundfile.write(folder / f"whole.{suffix}", tone, RATE)
        content = (folder / f"whole.{suffix}").read_bytes()
        for name, part in {
            "half": content[: len(content) // 2],
            "header": content[:40],
            "one_byte": content[:1],
            "turned": content[::-1],
            "no_end": content[:-1000],
        }.items():
            (folder / f"{name}.{suffix}").write_bytes(part)
        (folder / f"whole.{suffix}").unlink()
    _write_no_numbers(folder, tone)
    for name, content in _wrong_wavs().items():
        (folder / f"{name}.wav").write_bytes(content)
    (folder / "samples.raw").write_bytes(bytes(5000))
    (folder / "samples.pcm").write_bytes(bytes(5000))
    (folder / "folder.wav").mkdir()
    os.mkfifo(folder / "pipe.wav")
    (folder / "loop.wav").symlink_to(folder / "loop.wav")
    (folder / "gone.wav").symlink_to(folder / "nowhere.wav")
    (folder / "device.wav").symlink_to("/dev/zero")
    return {path.name: path for path in folder.iterdir()}


def _write_no_numbers(folder: Path, tone: np.ndarray) -> None:
    for name, value in {"nan": np.nan, "inf": np.inf, "minus": -np.inf}.items():
        samples = tone.copy()
        samples[4000] = value
        soundfile.write(folder / f"{name}.wav", samples, RATE, subtype="FLOAT")
    soundfile.write(folder / "huge.wav", tone * 1e300, RATE, subtype="DOUBLE")


def _wrong_wavs() -> dict[str, bytes]:
    """Contents of WAV files that say what is not so."""
    sound = bytes(range(100)) * 32
    found = {
        f"rate_{rate}": header(rate) + sound
        for rate in (0, 1, 3, 2**31 - 1, 2**32 - 1)
    }
    found |= {
        f"channels_{channels}": header(channels=channels) + sound
        for channels in (0, 1024, 65535)
    }
    found |= {
        f"bits_{bits}": header(bits=bits) + sound for bits in (0, 1, 7, 255)
    }
    found |= {
        f"kind_{kind}": header(kind=kind) + sound
        for kind in (0, 0x55, 0xFFFE, 0xFFFF)
    }
    return found | {
        "floats_of_8_bits": header(bits=8, kind=FLOAT) + sound,
        "promise": header(size=2**30) + bytes(99),
        "no_samples": header(size=0),
        "no_data": header()[:36],
        "one": header(size=2) + bytes(2),
        "rifx": b"RIFX" + header()[4:] + sound,
        "trailing": header(size=3200) + sound + b"junk" * 99,
        "zeros": bytes(5000),
        "empty": b"",
        "text": b"path,emotion,speaker\n" * 99,
        "pickle": b"cos\nsystem\n(S'touch ran'\ntR.",
    }
