"""Which layers a run anchors: a list, or what an analysis selected."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from lam_sb.analysis.similarity import random_layers
from lam_sb.errors import UserError

SELECTED = ("group", "best", "worst")  # rules that an analysis answers


class NotAnalysedError(UserError):
    """A rule for anchors needs an analysis that is not there."""


def resolve_anchors(
    anchor_layers: str | list[int],
    num_layers: int,
    analysis_folder: str,
    basis: Mapping[str, object],
) -> list[int]:
    """Layers that a run anchors.

    Arguments
    ---------
    anchor_layers : str | list[int]
        Layer numbers; ``all``; ``group``, ``best`` or ``worst`` of the
        analysis of these corpora and this encoder; or ``random:<seed>``.
    num_layers : int
        Depth L of the encoder.
    analysis_folder : str
        Where ``python -m lam_sb analyse`` left selection.json.
    basis : Mapping[str, object]
        What the selection depends on, as it must have been then.

    Returns
    -------
    list[int]
        Layer numbers from 1.

    Raises
    ------
    UserError
        An unknown word.
    NotAnalysedError
        No analysis, or one on another basis.

    Example
    -------
    >>> resolve_anchors([8, 9, 11], 12, "nowhere", {})
    [8, 9, 11]
    >>> resolve_anchors("all", 3, "nowhere", {})
    [1, 2, 3]
    >>> len(resolve_anchors("random:7", 12, "nowhere", {}))
    3
    """
    if not isinstance(anchor_layers, str):
        return list(anchor_layers)
    if anchor_layers == "all":
        return list(range(1, num_layers + 1))
    drawn = re.fullmatch(r"random:(\d+)", anchor_layers)
    if drawn:
        return random_layers(int(drawn[1]), num_layers)
    if anchor_layers not in SELECTED:
        raise UserError(
            f"anchor_layers is '{anchor_layers}'; use a list, all, "
            f"{', '.join(SELECTED)} or random:<seed>."
        )
    return _selection(analysis_folder, basis)[anchor_layers]


def _selection(folder: str, basis: Mapping[str, object]) -> dict:
    """Read what an analysis on this basis selected."""
    path = Path(folder) / "selection.json"
    if not path.is_file():
        raise NotAnalysedError(
            f"anchor_layers: {', '.join(SELECTED)} need {path}; make it "
            "first, with the same options: python -m lam_sb analyse <YAML>"
        )
    selection = json.loads(path.read_text(encoding="utf-8"))
    differing = [
        f"{key}: {selection['basis'].get(key)!r} there, {value!r} now"
        for key, value in basis.items()
        if selection["basis"].get(key) != value
    ]
    if differing:
        raise NotAnalysedError(
            f"{path} was made otherwise ({'; '.join(differing)}); analyse "
            "again with these options: python -m lam_sb analyse <YAML>"
        )
    return selection


def is_analysed(folder: str, basis: Mapping[str, object]) -> bool:
    """Tell whether an analysis is there, made on the same basis.

    Arguments
    ---------
    folder : str
        Analysis folder.
    basis : Mapping[str, object]
        As for `resolve_anchors`.

    Returns
    -------
    bool
        Whether `resolve_anchors` would take it.
    """
    try:
        _selection(folder, basis)
    except NotAnalysedError:
        return False
    return True


def analysis_folder(
    output_root: str,
    encoder_name: str,
    source: str,
    target: str,
    folds: int = 0,
    fold: int = 0,
) -> str:
    """Folder of the analysis of two corpora with an encoder.

    Arguments
    ---------
    output_root, encoder_name, source, target, folds, fold
        As in the YAML.

    Returns
    -------
    str
        Its path; each fold has its own.
    """
    ending = f"_f{fold}" if folds else ""
    return f"{output_root}/analysis/{encoder_name}/{source}-{target}{ending}"
