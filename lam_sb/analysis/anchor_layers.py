"""What the key ``anchor_layers`` means: the layers that a run anchors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lam_sb.data import FIELDS, describe_part, differing_data
from lam_sb.errors import UserError
from lam_sb.files import DamagedError, file_checksum, read_checked

ANALYSIS_RULES = ("group", "best", "worst")  # answered by selection.json
TABLE = "similarity.csv"  # beside it


class NotAnalysedError(UserError):
    """The rule of ``anchor_layers`` needs an analysis that is not there."""


def resolve_anchor_layers(
    anchor_layers: str | list[int],
    num_layers: int,
    analysis_folder: str,
    selection_settings: Mapping[str, object],
    segment: str = "utterance",
    used: bool = True,
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
    selection_settings : Mapping[str, object]
        What the selection depends on, as it must have been then.
    segment : str
        What is aligned, on which ``group``, ``best`` and ``worst`` are most
        or least similar.
    used : bool
        Whether the system has a use for them, `lam_sb.options.uses_anchors`.

    Returns
    -------
    list[int]
        Layer numbers from 1; none where they are of no use.

    Raises
    ------
    UserError
        An unknown word; as `NotAnalysedError`, no analysis of these settings.

    Example
    -------
    >>> resolve_anchor_layers([8, 9, 11], 12, "nowhere", {})
    [8, 9, 11]
    >>> resolve_anchor_layers("all", 3, "nowhere", {})
    [1, 2, 3]
    """
    if not used:
        return []
    if not isinstance(anchor_layers, str):
        return list(anchor_layers)
    if anchor_layers == "all":
        return list(range(1, num_layers + 1))
    drawn = re.fullmatch(r"random:(\d+)", anchor_layers)
    if drawn:
        return random_layers(int(drawn[1]), num_layers)
    if anchor_layers not in ANALYSIS_RULES:
        raise UserError(
            f"anchor_layers is '{anchor_layers}'; use a list, all, "
            f"{', '.join(ANALYSIS_RULES)} or random:<seed>."
        )
    selection = _selection(analysis_folder, selection_settings)
    if segment != "utterance":
        selection = selection.get(segment)
    if selection is None:
        raise UserError(
            f"anchor_layers: {anchor_layers} on {segment} is not in "
            f"{analysis_folder}/selection.json: both corpora need alignments, "
            "and similarity must be a measure other than covariance."
        )
    return selection[anchor_layers]


def random_layers(seed: int, num_layers: int, count: int = 3) -> list[int]:
    """Draw different layers from 1 to L, in order.

    Raises
    ------
    UserError
        The encoder has fewer.

    Example
    -------
    >>> random_layers(0, num_layers=3)
    [1, 2, 3]
    """
    if count > num_layers:
        raise UserError(
            f"anchor_layers: random:{seed} draws {count} layers, but the "
            f"encoder has only {num_layers}; use all, or a list."
        )
    drawn = np.random.default_rng(seed).choice(num_layers, count, replace=False)
    return sorted((drawn + 1).tolist())


def is_analysed(folder: str, selection_settings: Mapping[str, object]) -> bool:
    """Tell whether an analysis is there, made with the same settings."""
    try:
        _selection(folder, selection_settings)
    except NotAnalysedError:
        return False
    return True


def check_selection(
    hparams: Mapping, rows: Mapping[str, dict], store_name: str
) -> None:
    """Refuse anchors that an analysis selected on other rows or features.

    Arguments
    ---------
    hparams : Mapping
        Values of the run.
    rows : Mapping[str, dict]
        Its manifest rows by part.
    store_name : str
        Name of its feature store.

    Raises
    ------
    NotAnalysedError
        They are other ones, for example by another ``whisper_context``,
        ``label_map`` or ``min_duration``.
    """
    if hparams["anchor_layers"] not in ANALYSIS_RULES:
        return
    folder, settings = hparams["analysis_folder"], hparams["selection_settings"]
    now = analysed_data(rows, store_name, settings["use_target_labels"])
    changed = changed_selection(folder, hparams["bound"], now)
    if changed:
        raise NotAnalysedError(
            f"{folder}/selection.json was made on other data "
            f"({'; '.join(changed)}); analyse again with the options of "
            "this run: python -m lam_sb analyse <YAML>"
        )


def changed_selection(
    folder: str, bound: str, now: Mapping[str, object]
) -> list[str]:
    """Say in what an analysis rests on other data than `analysed_data` gives.

    Under ``bound: within`` the source is not that of the analysis, and plays
    no part.
    """
    there = read_selection(folder).get("data") or {}
    if bound == "within":
        now = {k: x for k, x in now.items() if not k.startswith("source_train")}
        there = {part: there[part] for part in now if part in there}
    return differing_data(there, now)


def analysed_data(
    rows: Mapping[str, dict], store_name: str, use_target_labels: bool
) -> dict[str, object]:
    """Say what an analysis rests on, as `lam_sb.data.describe_data` does.

    Labels count where the emotions are looked at, in both corpora.
    """
    fields = FIELDS.keys() - (set() if use_target_labels else {"labels"})
    described = {
        **describe_part("source_train", rows["source_train"], fields),
        **describe_part("target_train", rows["target_train"], fields),
    }
    return {"store": store_name} | described


def analysis_folder(
    output_root: str,
    encoder_name: str,
    source: str,
    target: str,
    folds: int = 0,
    fold: int = 0,
) -> str:
    """Folder of the analysis of corpora with an encoder, one a fold."""
    ending = f"_f{fold}" if folds else ""
    return f"{output_root}/analysis/{encoder_name}/{source}-{target}{ending}"


def read_selection(folder: str | Path) -> dict:
    """Read the selection.json that an analysis left.

    Raises
    ------
    NotAnalysedError
        It is not there, or it or the similarity.csv beside it is damaged.
    """
    path = Path(folder) / "selection.json"
    again = "with the same options: python -m lam_sb analyse <YAML>"
    try:
        selection = read_checked(path)
        for name, checksum in selection.get("files", {}).items():
            if file_checksum(path.with_name(name)) != checksum:
                raise DamagedError(f"{path.with_name(name)} is damaged")
    except OSError:
        raise NotAnalysedError(
            f"anchor_layers: {', '.join(ANALYSIS_RULES)} need {path}, and "
            f"{TABLE} beside it; make them first, {again}"
        ) from None
    except DamagedError as error:
        raise NotAnalysedError(f"{error}; analyse again, {again}") from None
    return selection


def _selection(folder: str, settings: Mapping[str, object]) -> dict:
    """Read what an analysis of these settings selected."""
    path = Path(folder) / "selection.json"
    selection = read_selection(folder)
    there = selection.get("settings", {})
    differing = [
        f"{key}: {there.get(key)!r} there, {value!r} now"
        for key, value in settings.items()
        if there.get(key) != value
    ]
    if differing:
        raise NotAnalysedError(
            f"{path} was made otherwise ({'; '.join(differing)}); analyse "
            "again with these options: python -m lam_sb analyse <YAML>"
        )
    return selection
