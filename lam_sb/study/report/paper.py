"""The paper's numbers, to stand beside those of the same corpora and encoders.

``paper.yaml`` holds them. Each function gives None where the paper has none.
"""

from __future__ import annotations

from importlib.resources import files

import yaml

from lam_sb.corpora.manifests import EMOTIONS
from lam_sb.evaluation.comparisons import Column

PAPER = yaml.safe_load(files(__package__).joinpath("paper.yaml").read_text())
COLUMNS = [
    Column(encoder, *direction)
    for direction in (
        ("msp_podcast", "biic_podcast"),
        ("biic_podcast", "msp_podcast"),
    )
    for encoder in ("wavlm", "whisper")
]


def paper_uar(system: str, column: Column) -> float | None:
    """Look a UAR in % up in Table 2.

    Example
    -------
    >>> paper_uar("lam_gl", Column("wavlm", "msp_podcast", "biic_podcast"))
    60.21
    """
    if column not in COLUMNS or system not in PAPER["uar"]:
        return None
    return PAPER["uar"][system][COLUMNS.index(column)]


def paper_emotion_uar(
    system: str, column: Column, emotion: str
) -> float | None:
    """Look a one-vs-rest UAR in % up in Table 3."""
    if column not in COLUMNS[:2]:
        return None
    uars = PAPER["emotions"][column.encoder].get(system)
    return uars and uars[EMOTIONS.index(emotion)]


def paper_layers(system: str, column: Column) -> list[int] | None:
    """Look up which layers, from 1, the paper anchors."""
    if column not in COLUMNS:
        return None
    return PAPER["layers"][column.encoder].get(system)
