"""The paper's numbers, to stand beside those of the same corpora and encoders.

Upadhyay, Busso, Lee, "A Layer-Anchoring Strategy for Enhancing Cross-Lingual
Speech Emotion Recognition" (2024), arXiv 2407.04966.
"""

from __future__ import annotations

from lam_sb.corpora.manifests import EMOTIONS
from lam_sb.evaluation.comparisons import Column

FORTH = "msp_podcast", "biic_podcast"
BACK = "biic_podcast", "msp_podcast"
COLUMNS = tuple(
    Column(encoder, *direction)
    for direction in (FORTH, BACK)
    for encoder in ("wavlm", "whisper")
)
# Table 1, and the random layers of its ablations: the same both ways.
LAYERS = {
    "wavlm": {
        "lam_gl": (8, 9, 11),
        "lam_bl": (11,),
        "lam_wl": (5, 6, 7),
        "lam_gl_vowl": (8, 9, 11),
        "lam_gl_cons": (9, 10, 11),
    },
    "whisper": {
        "lam_gl": (1, 2, 3),
        "lam_bl": (2,),
        "lam_wl": (7, 10, 11),
        "lam_gl_vowl": (1, 3, 5),
        "lam_gl_cons": (3, 5, 6),
    },
}
OTHER_LAYERS = {
    "lam_al": tuple(range(1, 13)),
    "lam_rl1": (2, 6, 9),
    "lam_rl2": (1, 5, 12),
    "lam_rl3": (3, 7, 11),
}
# Table 2: UAR in %, in the order of `COLUMNS`.
TABLE_2 = {
    "cc": (52.01, 51.87, 48.39, 49.01),
    "ensemble": (52.18, 52.03, 51.75, 51.98),
    "few_shot": (53.62, 52.74, 50.59, 51.75),
    "pc": (58.14, 57.83, 55.35, 54.93),
    "pc_avg": (58.06, 58.01, 55.24, 54.32),
    "pc_atn": (58.83, 58.92, 55.64, 56.10),
    "lam_gl": (60.21, 59.65, 56.68, 56.37),
    "lam_al": (58.54, 57.97, 55.39, 54.91),
    "lam_bl": (59.16, 58.11, 55.75, 54.21),
    "lam_wl": (58.01, 57.72, 54.64, 53.77),
    "lam_rl1": (58.94, 56.24, 54.93, 54.29),
    "lam_rl2": (58.55, 57.39, 53.85, 53.38),
    "lam_rl3": (57.23, 57.84, 54.20, 54.43),
}
# Table 3: one-vs-rest UAR in %, neutral happy angry sad, from MSP to BIIC.
TABLE_3 = {
    ("lam_gl", "wavlm"): (75.13, 72.88, 74.33, 69.57),
    ("lam_gl", "whisper"): (75.70, 72.63, 73.80, 69.81),
    ("lam_gl_vowl", "wavlm"): (75.98, 74.21, 75.55, 69.92),
    ("lam_gl_vowl", "whisper"): (74.83, 75.02, 74.19, 70.46),
    ("lam_gl_cons", "wavlm"): (74.19, 73.73, 74.92, 68.63),
    ("lam_gl_cons", "whisper"): (73.34, 73.97, 73.30, 69.95),
}


def paper_uar(system: str, column: Column) -> float | None:
    """Look a UAR in % up in Table 2; None where the paper has no such cell.

    Example
    -------
    >>> paper_uar("lam_gl", Column("wavlm", "msp_podcast", "biic_podcast"))
    60.21
    """
    if system not in TABLE_2 or column not in COLUMNS:
        return None
    return TABLE_2[system][COLUMNS.index(column)]


def paper_emotion_uar(
    system: str, column: Column, emotion: str
) -> float | None:
    """Look a one-vs-rest UAR in % up in Table 3; None as `paper_uar`."""
    key = system, column.encoder
    if key not in TABLE_3 or (column.source, column.target) != FORTH:
        return None
    return TABLE_3[key][EMOTIONS.index(emotion)]


def paper_layers(system: str, column: Column) -> tuple[int, ...] | None:
    """Look up which layers, from 1, the paper anchors; None as `paper_uar`."""
    if column not in COLUMNS:
        return None
    return (LAYERS[column.encoder] | OTHER_LAYERS).get(system)
