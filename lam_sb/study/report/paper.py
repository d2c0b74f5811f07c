"""The paper's numbers, to stand beside those of the same corpora and encoders.

``paper.yaml`` holds them. Each function gives None where the paper has none.
"""

from __future__ import annotations

from importlib.resources import files

import yaml

from lam_sb.corpora.manifests import EMOTIONS
from lam_sb.evaluation.comparisons import Column

TEXT = files(__package__).joinpath("paper.yaml").read_text(encoding="utf-8")
TABLES = yaml.safe_load(TEXT)


def paper_uar(system: str, column: Column) -> float | None:
    """Look a UAR in % up in Table 2."""
    return TABLES["uar"].get(column.label, {}).get(system)


def paper_emotion_uar(
    system: str, column: Column, emotion: str
) -> float | None:
    """Look a one-vs-rest UAR in % up in Table 3."""
    uars = TABLES["emotions"].get(column.label, {}).get(system)
    return uars and uars[EMOTIONS.index(emotion)]


def paper_layers(system: str, column: Column) -> list[int] | None:
    """Look up which layers, from 1, the paper anchors."""
    return TABLES["layers"].get(column.label, {}).get(system)
