"""A run: its settings, its folder, and what it leaves there."""

from __future__ import annotations

import hashlib
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import yaml
from filelock import FileLock, Timeout
from speechbrain.utils.run_opts import RunOptions

from lam_sb.analysis.anchor_layers import ANALYSIS_RULES
from lam_sb.config import key_blocks, load, plain_values
from lam_sb.errors import UserError
from lam_sb.evaluation.results import score, write_predictions, write_results
from lam_sb.evaluation.statistics import FEW_CLUSTERS
from lam_sb.files import whole_file
from lam_sb.options import alignment_class, check_options
from lam_sb.training.rows import DomainRows, with_emotion

# SpeechBrain's options that decide a result, as the YAML's keys do.
DECIDING_OPTIONS = {
    *("precision", "eval_precision", "grad_accumulation_factor"),
    *("optimizer_step_limit", "skip_nonfinite_grads"),
}
# Keys that may differ when a run goes on: how far to train, and where things
# lie.
MAY_DIFFER = (
    "number_of_epochs",
    "patience",
    "data_folder",
    "source_folder",
    "target_folder",
    "manifest_folder",
    "feature_folder",
    "analysis_folder",
    "output_root",
    "output_folder",
    "save_folder",
    "train_log",
    "source_train",
    "source_valid",
    "target_train",
    "target_valid",
    "target_test",
    "valid",
    "skip_prep",
    "dry_run",
    "eval_batch_size",
    "extract_batch_seconds",
)


def load_run(
    path: str, run_opts: RunOptions, overrides: Mapping[str, object]
) -> tuple[dict, dict[str, object]]:
    """Load the YAML file of a run.

    Arguments
    ---------
    path : str
        The file.
    run_opts : RunOptions
        SpeechBrain's options.
    overrides : Mapping[str, object]
        Values by key.

    Returns
    -------
    hparams : dict
        Values and objects by key, checked.
    settings : dict[str, object]
        What decides the result, in words, by key.

    Raises
    ------
    UserError
        Whatever `load` and `check_options` find.
    """
    hparams = load(path, overrides)
    settings = _settings(key_blocks(path, overrides))
    given = DECIDING_OPTIONS & run_opts.overridden_args
    settings |= {option: run_opts[option] for option in given}
    for key in check_options(hparams, overrides, path):
        settings.pop(key, None)
    settings["anchored_layers"] = hparams["anchored_layers"]
    return hparams, settings


def _settings(blocks: Mapping[str, str]) -> dict[str, object]:
    """Plain values, and the text of what has a tag, by key."""
    kept = {k: block for k, block in blocks.items() if k not in MAY_DIFFER}
    plain, tagged = plain_values(kept, "the YAML")
    return plain | tagged


def settings_hash(settings: Mapping[str, object]) -> str:
    """Hash of what decides a result.

    Arguments
    ---------
    settings : Mapping[str, object]
        As from `load_run`.

    Returns
    -------
    str
        16 hexadecimal digits.
    """
    text = yaml.safe_dump(dict(settings), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@contextmanager
def experiment_folder(
    folder: str | Path, settings: Mapping[str, object]
) -> Iterator[None]:
    """Hold an output folder for one run under one setting.

    Arguments
    ---------
    folder : str | Path
        The output folder, made if need be.
    settings : Mapping[str, object]
        As from `load_run`; kept beside the results as settings.yaml. Until
        there is a checkpoint or a result, others may take their place.

    Raises
    ------
    UserError
        Another run is at work there, or the folder is that of other settings.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(
            f"Another run is at work in {folder}; wait for it, or use "
            "--experiment NAME for a folder of its own."
        ) from None
    try:
        _compare(folder / "settings.yaml", dict(settings))
        yield
    finally:
        lock.release()


def differing_settings(path: Path, settings: Mapping[str, object]) -> list[str]:
    """Say in what a folder was made otherwise.

    Arguments
    ---------
    path : Path
        Its settings.yaml.
    settings : Mapping[str, object]
        As from `load_run`.

    Returns
    -------
    list[str]
        A text for each key; none where the file is not there, or where the
        folder holds neither a checkpoint nor a result, so nothing is lost.
    """
    if not path.is_file() or not _holds_work(path.parent):
        return []
    before = yaml.safe_load(path.read_text(encoding="utf-8"))
    return [
        f"{k}: {_short(before.get(k))} there, {_short(settings.get(k))} now"
        for k in sorted(before.keys() | settings.keys())
        if before.get(k) != settings.get(k)
    ]


def _holds_work(folder: Path) -> bool:
    """Whether anything was trained or tested there."""
    results = (folder / "results.json", folder / "predictions.csv")
    saved = (folder / "save").rglob("*")
    return any(p.is_file() for p in (*results, *saved))


def _short(value: object) -> str:
    """Write a value in one short line; parts of objects may take many."""
    return textwrap.shorten(repr(value).replace("\\n", " "), 60)


def _compare(path: Path, settings: dict[str, object]) -> None:
    differing = differing_settings(path, settings)
    if differing:
        raise UserError(
            f"{path.parent} was made with other settings, or by another "
            "version of lam_sb. Use --experiment NAME for a folder of its own. "
            f"What differs: {'; '.join(differing)}."
        )
    with whole_file(path) as temporary:
        temporary.write_text(yaml.safe_dump(settings), encoding="utf-8")


def describe_run(
    hparams: Mapping,
    manifests: Mapping[str, dict],
    rows: Mapping[str, DomainRows],
) -> dict:
    """Say in words and numbers what was trained on what.

    Arguments
    ---------
    hparams : Mapping
        Values of the run.
    manifests : Mapping[str, dict]
        Rows of the manifests by what they are for, as from `read_rows`.
    rows : Mapping[str, DomainRows]
        The same with features.

    Returns
    -------
    dict
        Part of results.json.
    """
    keys = (
        *("experiment", "system", "source", "target", "seed", "split_seed"),
        *("protocol", "folds", "fold", "normalise", "select_on", "bound"),
        *("target_rows", "gamma", "segment", "layers"),
    )
    aligned = hparams["alignment"] if hparams["gamma"] else None
    rule, segment = hparams["anchor_layers"], hparams["segment"]
    by_speaker = hparams["normalise"] == "speaker"
    shots = rows["shots"].ids if "shots" in rows else []
    source, target = rows["source_train"], rows["target_train"]
    return {key: hparams[key] for key in keys} | {
        "encoder": hparams["encoder_source"],
        "adapts_on": "test_speakers" if by_speaker else "target_train",
        "target_row_filter": (
            "labels" if hparams["target_rows"] == "four" else "none"
        ),
        "alignment": (
            "none" if aligned is None else alignment_class(aligned).__name__
        ),
        "anchor_layers": hparams["anchored_layers"],
        "anchor_rule": rule if isinstance(rule, str) else "fixed",
        "n_train_source": len(source),
        "n_train_target": len(target),
        "n_segment_source": source.features.count(segment),
        "n_segment_target": target.features.count(segment),
        "target_labels_used": _target_labels_used(hparams, manifests),
        "shot_ids": shots,
    }


def _target_labels_used(hparams: Mapping, manifests: Mapping[str, dict]) -> int:
    """Count the target's labels that decided anything."""
    parts = ["shots"] if "shots" in manifests else []
    if hparams["select_on"] == "target":
        parts.append("valid")
    if hparams["bound"] == "within":
        parts += ["source_train", "source_valid"]
    selected = hparams["anchor_layers"] in ANALYSIS_RULES
    if hparams["bound"] == "oracle" or (
        selected and hparams["use_target_labels"]
    ):
        parts.append("target_train")
    return len(set().union(*(with_emotion(manifests[p]) for p in parts)))


def leave_results(
    hparams: Mapping,
    settings: Mapping[str, object],
    test: DomainRows,
    posteriors: Mapping[str, np.ndarray],
    content: Mapping[str, object],
    debug: bool,
) -> list[str]:
    """Write predictions.csv and results.json of a run.

    Arguments
    ---------
    hparams : Mapping
        Values of the run.
    settings : Mapping[str, object]
        As from `load_run`.
    test : DomainRows
        N test rows.
    posteriors : Mapping[str, np.ndarray]
        (N, 4) by the rule that chose the weights; those of the rule
        ``select_on`` are the result, of others only the UAR is kept.
    content : Mapping[str, object]
        What else results.json is to hold.
    debug : bool
        Whether nothing is to be written.

    Returns
    -------
    list[str]
        Lines to print: what limits the result, then the result.
    """
    folder, chosen = Path(hparams["output_folder"]), hparams["select_on"]
    scores = {rule: score(test, p) for rule, p in posteriors.items()}
    other = {
        f"uar_{rule}": scores[rule]["uar"] if rule in scores else None
        for rule in ("last", "source")
    }
    if not debug:
        write_predictions(
            folder / "predictions.csv",
            test,
            posteriors[chosen],
            hparams["target"],
        )
        write_results(
            folder / "results.json",
            {**content, **scores[chosen], **other}
            | {"settings_hash": settings_hash(settings)},
        )
    return _closing_lines(scores[chosen], folder / "results.json")


def _closing_lines(scores: Mapping, path: Path) -> list[str]:
    """Say what limits the scores, then the UAR and where it lies."""
    if scores["uar"] is None:
        return [f"The test labels are unknown; predictions: {path.parent}"]
    lines = []
    missing = [e for e, n in scores["recall"].items() if n is None]
    if missing:
        lines.append(
            f"The test set holds no {', '.join(missing)}: the UAR is the mean "
            "over the other emotions."
        )
    if scores["few_speakers"]:
        lines.append(
            f"The test set has {scores['n_speakers']} speakers, fewer than "
            f"{FEW_CLUSTERS}: the interval is rough."
        )
    limits = scores["uar_ci95"]
    interval = f" [{limits[0]:.4f}, {limits[1]:.4f}]" if limits else ""
    return [*lines, f"Test UAR {scores['uar']:.4f}{interval} {path}"]
