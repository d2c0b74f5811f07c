"""What lies in a corpus's folder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

AUDIO_SUFFIXES = (".wav", ".flac")


def listing(folder: Path) -> str:
    """First eight names in a folder, for messages."""
    names = sorted(p.name for p in folder.iterdir())
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")


def audio_files(folder: Path) -> Iterator[str]:
    """Audio anywhere in a folder, as paths relative to it.

    Links are followed; hidden files (``._x.wav`` of macOS) are left out.
    """
    for parent, _, names in os.walk(folder, followlinks=True):
        for name in names:
            if name.lower().endswith(AUDIO_SUFFIXES) and name[0] != ".":
                yield os.path.relpath(os.path.join(parent, name), folder)


def files_by_name(folder: Path, subfolders: Iterable[str]) -> dict[str, str]:
    """Path of every file in some subfolders and one level below them.

    Rows come from the label table: this only says where each file lies, in one
    pass, as asking for each variant of each path is slow on network drives.
    Subfolders may lie elsewhere or be missing; of two files of one name the
    first counts; hidden files are left out.
    """
    paths: dict[str, str] = {}
    for subfolder in subfolders:
        if (folder / subfolder).is_dir():
            with os.scandir(folder / subfolder) as entries:
                below = sorted(e.name for e in entries if e.is_dir())
            for parent in (subfolder, *(f"{subfolder}/{b}" for b in below)):
                for name in os.listdir(folder / parent):
                    path = os.path.join(parent, name).removeprefix("./")
                    paths.setdefault(name, path)
    return {n: p for n, p in paths.items() if not n.startswith(".")}
