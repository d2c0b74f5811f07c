"""Audio files as the windows that are classified."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from joblib import Parallel, delayed
from speechbrain.dataio import audio_io
from tqdm import tqdm

from lam_sb.corpora.audio import UNREADABLE, check_audio
from lam_sb.corpora.folders import audio_files
from lam_sb.features.plan import Row

SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".aif", ".aiff")
LONGEST = 8.0  # seconds of a window
SHORTEST = 0.1  # of a file, as corpora are prepared
CUT = "is damaged, or ends before it should: the rest of it is left out"


def find_files(paths: Sequence[str]) -> list[str]:
    """Audio files among some paths and anywhere below those that are folders.

    Each once, in order; those of a folder by name.
    """
    found: list[str] = []
    for path in paths:
        if Path(path).is_dir():
            below = audio_files(Path(path), SUFFIXES)
            found += sorted(str(Path(path, name)) for name in below)
        else:
            found.append(str(Path(path)))
    return list(dict.fromkeys(found))


def windows_of(duration: float) -> list[tuple[float, float]]:
    """Cut a file into equal windows of at most 8 seconds.

    Example
    -------
    >>> windows_of(5.0), windows_of(12.0)
    ([(0.0, 5.0)], [(0.0, 6.0), (6.0, 12.0)])
    """
    count = max(1, math.ceil(duration / LONGEST - 1e-9))
    edges = [n * duration / count for n in range(count + 1)]
    return list(itertools.pairwise(edges))


def list_windows(files: Sequence[str]) -> tuple[list[Row], dict[str, str]]:
    """List the windows of all files, each of which is decoded once for it.

    Returns
    -------
    windows : list[Row]
        Path and, as of a manifest, ``wav``, ``audio_sha``, ``duration``, no
        phones, and ``window``, start and end in seconds.
    unusable : dict[str, str]
        Why, by path, a file has none, or not all that it should have.
    """
    windows: list[Row] = []
    unusable: dict[str, str] = {}
    threads = Parallel(n_jobs=-1, prefer="threads", return_as="generator")
    checked = threads(delayed(check_audio)(Path(path)) for path in files)
    bar = tqdm(checked, "checking", len(files), unit="file", disable=None)
    for path, facts in zip(files, bar, strict=True):
        problem = facts.get("problem")
        if problem not in (None, UNREADABLE):
            unusable[path] = f"cannot be classified: {problem}"
            continue
        try:
            duration = _duration(path)
        except (RuntimeError, OSError, ZeroDivisionError) as error:
            unusable[path] = f"cannot be read: {error}"
            continue
        if duration < SHORTEST:
            unusable[path] = f"is shorter than {SHORTEST} seconds"
            continue
        if problem:  # what can be decoded is used all the same
            unusable[path] = CUT
        windows += [
            (path, _row(path, start, end, facts.get("audio_sha", "")))
            for start, end in windows_of(duration)
        ]
    return windows, unusable


def _duration(path: str) -> float:
    if not Path(path).is_file():  # a pipe would be waited for
        raise OSError("it is no file")
    info = audio_io.info(path)
    return info.num_frames / info.sample_rate


def _row(path: str, start: float, end: float, sha: str) -> dict:
    row = {"wav": path, "audio_sha": sha, "duration": end - start}
    return row | {"window": (start, end), "phones": [], "phone_set": ""}


def batches_of(windows: Iterable[Row], seconds: float) -> Iterator[list[Row]]:
    """Batches in order that have at most so many seconds, padded.

    One window may have more.
    """
    batch: list[Row] = []
    longest = 0.0
    for window in windows:
        longest = max(longest, window[1]["duration"])
        if batch and longest * (len(batch) + 1) > seconds:
            yield batch
            batch, longest = [], window[1]["duration"]
        batch.append(window)
    if batch:
        yield batch
