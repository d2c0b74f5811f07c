"""Phones from TextGrids."""

from __future__ import annotations

import json
import re
from pathlib import Path

from praatio.utilities.errors import PraatioException
from praatio.utilities.textgrid_io import parseTextgridStr

PHONE_TIER = re.compile(r"(^|- ?)phones?$", re.IGNORECASE)
SILENCES = {"", "sil", "sp", "spn", "<eps>", "[sil]", "<sil>"}
ROUNDING = 1e-3  # seconds that phones may overlap by
# What praatio raises on a file that is no TextGrid, or half of one.
BROKEN = (
    *(PraatioException, ValueError, LookupError, TypeError, AttributeError),
    OSError,
)


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
        ``[phone, start, end]`` in seconds, in their order; empty without such
        a tier. Where one begins up to 1 ms before the end of another, it is
        cut to begin there.

    Raises
    ------
    ValueError
        Phones that overlap by more, or one that ends before it begins (among
        the other errors of `BROKEN`).
    """
    try:
        text = Path(path).read_text(encoding="utf-16")
    except UnicodeError:
        text = Path(path).read_text(encoding="utf-8-sig")
    tiers = [
        tier["entries"]
        for tier in parseTextgridStr(text)["tiers"]
        if PHONE_TIER.search(tier["name"])
    ]
    entries = sorted(
        (float(start), float(end), label.strip())
        for start, end, label in (tiers[-1] if tiers else ())
        if label.strip().lower() not in SILENCES
    )
    phones: list[list] = []
    for start, end, label in entries:
        last = phones[-1][2] if phones else start
        if start >= end or last - start > ROUNDING + 1e-9:
            raise ValueError(f"{label} at {start} overlaps another phone")
        if end > last or start >= last:
            phones.append([label, max(start, last), end])
    return phones


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
