"""Phones from TextGrids."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from praatio import textgrid
from praatio.utilities.constants import Interval
from praatio.utilities.errors import PraatioException
from praatio.utilities.textgrid_io import parseTextgridStr

TEXTGRIDS = "TextGrids"  # folder of a corpus with a labels.csv
# The tier of phones whose times are no exact ones.
APPROXIMATE_TIER = "approximate, by eSpeak NG - phones"
PHONE_TIER = re.compile(r"(^|- ?)phones?$", re.IGNORECASE)
SILENCES = {"", "sil", "sp", "spn", "<eps>", "[sil]", "<sil>"}
ROUNDING = 1e-3  # seconds that phones may overlap by
# What praatio raises on a file that is no TextGrid, or half of one.
BROKEN = (
    *(PraatioException, ValueError, LookupError, TypeError, AttributeError),
    *(OSError, RecursionError, MemoryError),
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
    return _in_order(_phone_tier(path)[1])


def _phone_tier(path: str | Path) -> tuple[str, Sequence]:
    """Name and entries of the last tier of phones; both empty without one."""
    try:
        text = Path(path).read_text(encoding="utf-16")
    except UnicodeError:
        text = Path(path).read_text(encoding="utf-8-sig")
    tiers = [
        (tier["name"], tier["entries"])
        for tier in parseTextgridStr(text)["tiers"]
        if PHONE_TIER.search(tier["name"])
    ]
    return tiers[-1] if tiers else ("", ())


def _in_order(tier: Sequence) -> list[list]:
    """Phones of a tier's entries, without silences and overlaps."""
    entries = sorted(
        (float(start), float(end), label.strip())
        for start, end, label in tier
        if label.strip().lower() not in SILENCES
    )
    phones: list[list] = []
    for start, end, label in entries:
        last = phones[-1][2] if phones else start
        if not (start + ROUNDING >= 0 and end < math.inf):  # or no numbers
            raise ValueError(f"{label} at {start} is at no time")
        if start >= end or last - start > ROUNDING + 1e-9:
            raise ValueError(f"{label} at {start} overlaps another phone")
        if end > last or start >= last:
            phones.append([label, max(start, last), end])
    return phones


def check_alignment(path: Path) -> dict:
    """Give the ``phones`` of a TextGrid, or the ``problem`` with it.

    Phones as JSON text: as lists, those of a large corpus would take
    gigabytes. ``approximate`` is True where the command align made it.
    """
    try:
        name, entries = _phone_tier(path)
        phones = _in_order(entries)
    except BROKEN:
        return {"problem": "unreadable alignment"}
    if not phones:
        return {"problem": "alignment without phones"}
    content: dict = {"phones": json.dumps(phones, ensure_ascii=False)}
    return content | ({"approximate": True} if name == APPROXIMATE_TIER else {})


def is_approximate(path: Path) -> bool:
    """Whether the command align made a TextGrid."""
    text = path.read_text(encoding="utf-8", errors="replace")
    return f'"{APPROXIMATE_TIER}"' in text


def alignment_path(folder: str, audio: str) -> str:
    """Where the TextGrid of an audio file lies in a folder of TextGrids.

    In the same folders as the audio in the corpus, as MFA writes them.

    Example
    -------
    >>> alignment_path("TextGrids", "audio/a.flac")
    'TextGrids/audio/a.TextGrid'
    """
    path = Path(audio).with_suffix(".TextGrid")
    parts = [part for part in path.parts if part not in (path.anchor, "..")]
    return str(Path(folder, *parts))


def write_textgrid(
    path: str | Path,
    tiers: Mapping[str, Sequence[tuple[float, float, str]]],
    seconds: float,
) -> None:
    """Write start, end and label of each interval of each tier, in seconds.

    What lies between intervals is empty; the last is cut at ``seconds``.
    """
    grid = textgrid.Textgrid(0, seconds)
    for name, intervals in tiers.items():
        entries = [Interval(a, min(b, seconds), x) for a, b, x in intervals]
        grid.addTier(textgrid.IntervalTier(name, entries, 0, seconds))
    grid.save(str(path), format="long_textgrid", includeBlankSpaces=True)
