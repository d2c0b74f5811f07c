"""Phones from TextGrids, read once."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from joblib import Parallel, delayed
from praatio import textgrid
from praatio.utilities.errors import PraatioException

from lam_sb.files import file_stamp, write_json

PHONE_TIER = re.compile(r"(^|- ?)phones?$", re.IGNORECASE)
SILENCES = {"", "sil", "sp", "spn", "<eps>", "[sil]", "<sil>"}
# What praatio raises on a file that is no TextGrid, or half of one.
BROKEN = (PraatioException, ValueError, LookupError, TypeError, OSError)
BATCH = 500


def read_phones(path: str | Path) -> list[list]:
    r"""Phones of the last tier that is named so, without silences.

    Arguments
    ---------
    path : str | Path
        A TextGrid, long or short, in UTF-8 or UTF-16. Its tier is ``phones``
        or, with several speakers, ``<speaker> - phones``, in any case.

    Returns
    -------
    list[list]
        ``[phone, start, end]`` in seconds; empty without such a tier.

    Example
    -------
    >>> path = getfixture("tmp_path") / "a.TextGrid"
    >>> interval = 'xmin = 0.1\nxmax = 0.3\ntext = "AH0"\n'
    >>> _ = path.write_text(
    ...     'File type = "ooTextFile"\nObject class = "TextGrid"\n\n'
    ...     "xmin = 0\nxmax = 1\ntiers? <exists>\nsize = 1\nitem []:\n"
    ...     'item [1]:\nclass = "IntervalTier"\nname = "phones"\n'
    ...     "xmin = 0\nxmax = 1\nintervals: size = 1\nintervals [1]:\n"
    ...     + interval
    ... )
    >>> read_phones(path)
    [['AH0', 0.1, 0.3]]
    """
    grid = textgrid.openTextgrid(
        str(path),
        includeEmptyIntervals=False,
        reportingMode="silence",
        duplicateNamesMode="rename",
    )
    tiers = [tier for tier in grid.tiers if PHONE_TIER.search(tier.name)]
    entries = tiers[-1].entries if tiers else ()
    return [
        [label.strip(), start, end]
        for start, end, label in entries
        if label.strip().lower() not in SILENCES
    ]


def read_alignments(
    folder: Path, paths: Iterable[str], cache_path: Path
) -> dict[str, dict]:
    """Phones of each TextGrid, or what is wrong with it.

    Files that were read before and have the same size and time are not read
    again. Phones are kept as text: as lists, those of a large corpus would
    take gigabytes.

    Arguments
    ---------
    folder : Path
        Corpus folder.
    paths : Iterable[str]
        TextGrids, relative to it.
    cache_path : Path
        JSON file that keeps what was read.

    Returns
    -------
    dict[str, dict]
        By path, ``phones`` (JSON text) or ``problem``.
    """
    cache = {}
    if cache_path.is_file():
        cache = json.loads(cache_path.read_text(encoding="utf-8"))
    paths = sorted(set(paths))
    table = {p: _cached(folder / p, cache.get(p)) for p in paths}
    new = [p for p, entry in table.items() if entry is None]
    files = [folder / p for p in new]
    parts = [files[n : n + BATCH] for n in range(0, len(files), BATCH)]
    # Parsing holds Python's lock; a few files are not worth a process.
    results = Parallel(n_jobs=-1 if len(parts) > 1 else 1)(
        delayed(_read_all)(part) for part in parts
    )
    read = itertools.chain.from_iterable(results)
    table |= dict(zip(new, read, strict=True))
    if table != cache:
        write_json(cache_path, table)
    return table


def _cached(path: Path, entry: Mapping | None) -> Mapping | None:
    stamp = file_stamp(path)
    if stamp is None:
        return {"problem": "missing alignment"}
    known = entry is not None and stamp.items() <= entry.items()
    return entry if known else None


def _read_all(paths: list[Path]) -> list[dict]:
    return [_read(path) for path in paths]


def _read(path: Path) -> dict:
    stamp = file_stamp(path) or {}
    try:
        phones = read_phones(path)
    except BROKEN:
        return stamp | {"problem": "unreadable alignment"}
    if not phones:
        return stamp | {"problem": "alignment without phones"}
    return stamp | {"phones": json.dumps(phones, ensure_ascii=False)}
