"""Prepare EmoDB (German, Burkhardt et al. 2005) in its original names.

``03a01Fa.wav``: speaker 03, text a01, emotion F, version a; usually in ``wav``.

Authors
 * The lam_sb authors 2026
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from lam_sb.corpora.options import PrepOptions
from lam_sb.corpora.readers import prepare_by_file_name

FILE_NAME = r"(\d\d)[ab]\d\d([WFTNLEA])[a-z]"
EMOTIONS = {
    **{"W": "anger", "F": "happiness", "T": "sadness", "N": "neutral"},
    **{"L": "boredom", "E": "disgust", "A": "anxiety"},
}
MEN = ("03", "10", "11", "12", "15")


def prepare(
    corpus: str,
    folder: Path,
    save_folder: Path,
    options: PrepOptions,
    label_map: Mapping[str, str | None] | None = None,
) -> None:
    """Write the manifests of EmoDB; label_map goes by the names above."""
    prepare_by_file_name(
        corpus, folder, save_folder, options, FILE_NAME, _describe, label_map
    )


def _describe(match: re.Match, path: str) -> dict[str, str]:
    speaker, code = match.groups()
    return {
        "emotion": EMOTIONS[code],
        "speaker": f"emodb_{speaker}",
        "gender": "male" if speaker in MEN else "female",
        "language": "de",
    }
