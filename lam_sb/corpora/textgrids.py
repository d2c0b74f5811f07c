"""Phones from TextGrids."""

from __future__ import annotations

import json
import re
from pathlib import Path

from praatio import textgrid
from praatio.utilities.errors import PraatioException

PHONE_TIER = re.compile(r"(^|- ?)phones?$", re.IGNORECASE)
SILENCES = {"", "sil", "sp", "spn", "<eps>", "[sil]", "<sil>"}
# What praatio raises on a file that is no TextGrid, or half of one.
BROKEN = (PraatioException, ValueError, LookupError, TypeError, OSError)


def read_phones(path: str | Path) -> list[list]:
    """Phones of the last tier that is named so, without silences.

    Arguments
    ---------
    path : str | Path
        A TextGrid, long or short, in UTF-8 or UTF-16. Its tier is ``phones``
        or, with several speakers, ``<speaker> - phones``, in any case.

    Returns
    -------
    list[list]
        ``[phone, start, end]`` in seconds; empty without such a tier.
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


def check_alignment(path: Path) -> dict[str, str]:
    """Give the ``phones`` of a TextGrid, or the ``problem`` with it.

    Phones as JSON text: as lists, those of a large corpus would take
    gigabytes.
    """
    try:
        phones = read_phones(path)
    except BROKEN:
        return {"problem": "unreadable alignment"}
    if not phones:
        return {"problem": "alignment without phones"}
    return {"phones": json.dumps(phones, ensure_ascii=False)}
