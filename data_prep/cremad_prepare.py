"""Prepare CREMA-D (English, Cao et al. 2014) in its original names.

``AudioWAV/1001_DFA_ANG_XX.wav``: actor, sentence, emotion, intensity. The
actors' gender is read from ``VideoDemographics.csv`` where that is there.

Authors
 * The lam_sb authors 2026
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from lam_sb.corpora.manifests import UNKNOWN
from lam_sb.corpora.options import PrepOptions
from lam_sb.corpora.readers import prepare_by_file_name
from lam_sb.corpora.tables import find_column, read_table
from lam_sb.errors import UserError

FILE_NAME = r"(\d{4})_[A-Z]{3}_(ANG|HAP|NEU|SAD|DIS|FEA)_[A-Z]{2}"
EMOTIONS = {
    **{"ANG": "anger", "HAP": "happy", "NEU": "neutral", "SAD": "sad"},
    **{"DIS": "disgust", "FEA": "fear"},
}


def prepare(
    corpus: str,
    folder: Path,
    save_folder: Path,
    options: PrepOptions,
    label_map: Mapping[str, str | None] | None = None,
) -> None:
    """Write the manifests of CREMA-D; label_map goes by the names above."""
    genders = _genders(folder / "VideoDemographics.csv")

    def describe(match: re.Match, path: str) -> dict[str, str]:
        actor, code = match.groups()
        return {
            "emotion": EMOTIONS[code],
            "speaker": f"cremad_{actor}",
            "gender": genders.get(actor, UNKNOWN),
            "language": "en",
        }

    prepare_by_file_name(
        corpus, folder, save_folder, options, FILE_NAME, describe, label_map
    )


def _genders(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    table = read_table(path)
    names = [find_column(table, c, [c]) for c in ("actorid", "sex")]
    if None in names:
        raise UserError(
            f"{path} has no columns ActorID and Sex; remove it, and the gender "
            "of the actors is unknown."
        )
    return {row[names[0]]: row[names[1]].lower() for row in table.rows}
