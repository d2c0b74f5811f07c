"""What lies in a corpus's folder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from lam_sb.corpora.audio import UNSUPPORTED_SUFFIXES

AUDIO_SUFFIXES = (".wav", ".flac")


def listing(folder: Path) -> str:
    """First eight names in a folder, for messages."""
    names = sorted(p.name for p in folder.iterdir())
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")


def audio_files(
    folder: Path, suffixes: tuple[str, ...] = AUDIO_SUFFIXES
) -> Iterator[str]:
    """Audio anywhere in a folder, as paths relative to it.

    Links are followed, each folder once; hidden files (``._x.wav`` of macOS)
    are left out.
    """
    for parent, names in _walk(folder):
        for name in names:
            if name.lower().endswith(suffixes) and name[0] != ".":
                yield os.path.relpath(os.path.join(parent, name), folder)


def _walk(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Folders and the names of their files; by name, each folder once."""
    seen: set[str] = set()
    for parent, below, names in os.walk(folder, followlinks=True):
        below.sort()
        place = os.path.realpath(parent)
        if place in seen:  # a link to where it lies, or to what was seen
            below.clear()
        else:
            seen.add(place)
            yield parent, sorted(names)


def files_by_name(
    folder: Path, subfolders: Iterable[str]
) -> dict[str, list[str]]:
    """Paths of every file in some subfolders and one level below, by name.

    Rows come from the label table: this only says where each file lies, in one
    pass, as asking for each variant of each path is slow on network drives.
    Subfolders may lie elsewhere or be missing; hidden files are left out.
    """
    paths: dict[str, list[str]] = {}
    for subfolder in subfolders:
        if (folder / subfolder).is_dir():
            with os.scandir(folder / subfolder) as entries:
                below = sorted(e.name for e in entries if e.is_dir())
            for parent in (subfolder, *(f"{subfolder}/{b}" for b in below)):
                for name in os.listdir(folder / parent):
                    path = os.path.join(parent, name).removeprefix("./")
                    paths.setdefault(name, []).append(path)
    return {n: ps for n, ps in paths.items() if not n.startswith(".")}


def unsupported_audio(folder: Path) -> str:
    """Say how to convert audio that cannot be read, if a folder holds any.

    The sentence begins with a space; it is empty if there is none.
    """
    for parent, names in _walk(folder):
        for name in names:
            if name.lower().endswith(UNSUPPORTED_SUFFIXES) and name[0] != ".":
                return f" {how_to_convert(os.path.join(parent, name))}"
    return ""


def how_to_convert(path: str | Path) -> str:
    """Command that makes a WAV of audio in another format."""
    wav = Path(path).with_suffix(".wav")
    return (
        f"The format of {Path(path).name} is not supported; convert such files "
        f"to WAV, for example: ffmpeg -i '{path}' '{wav}'."
    )
