"""Reading many files once: what was read is kept by size and times."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from joblib import Parallel, delayed

from lam_sb.corpora.audio import UNREADABLE
from lam_sb.files import DamagedError, read_checked, write_checked

# Raised by hand when readers give something else of the same file.
FORMAT = 4
FEW = 500  # files that are not worth starting processes for
Stamps = Mapping[str, "Mapping[str, int] | None"]


def file_stamps(folder: Path, paths: Iterable[str]) -> Stamps:
    """Size and times of each file, None where it is missing, by sorted path.

    Among them when it was put there or changed: archives and images give other
    files the same size and time of writing. Asked for in threads, as network
    drives are slow to answer.
    """
    paths = sorted(set(paths))
    stamps = Parallel(n_jobs=16, prefer="threads", batch_size=FEW)(
        delayed(_stamp)(folder / path) for path in paths
    )
    return dict(zip(paths, stamps, strict=True))


def _stamp(path: Path) -> dict[str, int] | None:
    try:
        stat = os.stat(path)
    except OSError:
        return None
    names = ("st_size", "st_mtime_ns", "st_ctime_ns")
    return {name: getattr(stat, name) for name in names}


def read_files(
    folder: Path,
    stamps: Stamps,
    read: Callable[[Path], dict],
    cache_path: Path,
    what: str,
    prefer: str,
) -> dict[str, dict]:
    """Read each file, unless it was read before and has its size and times.

    What could not be read is tried again: it may have been the drive's fault.

    Arguments
    ---------
    folder : Path
        Corpus folder.
    stamps : Stamps
        As from `file_stamps`, taken before: a file that changes while it is
        read is then read again the next time.
    read : Callable
        From a file's path what JSON can hold.
    cache_path : Path
        JSON file that keeps what was read, by path.
    what : str
        Of a missing file, ``problem`` is ``missing <what>``.
    prefer : str
        ``threads`` or ``processes``.
    """
    place = os.path.realpath(folder)  # times of an image's files may agree
    cache = _kept(cache_path, place)
    contents = {p: _cached(s, cache.get(p), what) for p, s in stamps.items()}
    new = [path for path, content in contents.items() if content is None]
    new_contents = Parallel(n_jobs=-1 if len(new) > FEW else 1, prefer=prefer)(
        delayed(read)(folder / path) for path in new
    )
    for path, content in zip(new, new_contents, strict=True):
        contents[path] = {**stamps[path], **content}
    if contents != cache:
        kept = {"format": FORMAT, "folder": place, "files": contents}
        write_checked(cache_path, kept)
    return contents


def _kept(cache_path: Path, place: str) -> dict[str, dict]:
    """Read what was kept of a folder; empty without it, or if it is damaged."""
    try:
        kept = read_checked(cache_path)
    except (FileNotFoundError, DamagedError):
        return {}
    is_same = (kept.get("format"), kept.get("folder")) == (FORMAT, place)
    return kept["files"] if is_same else {}


def _cached(
    stamp: Mapping | None, entry: Mapping | None, what: str
) -> Mapping | None:
    if stamp is None:
        return {"problem": f"missing {what}"}
    if entry is None or entry.get("problem") == UNREADABLE:
        return None
    return entry if stamp.items() <= entry.items() else None
