"""A run: its settings, and what it leaves in its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from speechbrain.utils.run_opts import RunOptions

from lam_sb.analysis.anchor_layers import ANALYSIS_RULES, check_selection
from lam_sb.config import key_blocks, load
from lam_sb.data import check_not_tested, describe_data
from lam_sb.evaluation.results import (
    check_same_length,
    finished_result,
    score,
    score_notes,
    write_predictions,
    write_results,
)
from lam_sb.inputs import prep_notes
from lam_sb.options import alignment_class, check_options
from lam_sb.run_folder import settings_hash
from lam_sb.training.checkpoints import drop_checkpoints, has_checkpoint
from lam_sb.training.history import read_finished
from lam_sb.training.rows import DomainRows, with_emotion
from lam_sb.training.weights import weights_hash
from lam_sb.yaml_text import plain_values

# SpeechBrain's options that decide a result, as the YAML's keys do.
DECIDING_OPTIONS = {
    *("precision", "eval_precision", "grad_accumulation_factor"),
    *("optimizer_step_limit", "skip_nonfinite_grads"),
}
# Keys whose values `check_options` and anchors' rules resolve.
RESOLVED = ("anchored_layers", "hold_out_shots")
# Keys that may differ when a run goes on: how far to train, where things lie,
# and what only a check reads.
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
    "features_on",
    "extract_workers",
    "anchors_chosen_on",
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
    if run_opts.debug:  # nothing of it lies among results
        folder = f"{hparams['output_folder']}_debug"
        hparams = load(path, {**overrides, "output_folder": folder})
    settings = _settings(key_blocks(path, overrides))
    given = DECIDING_OPTIONS & run_opts.overridden_args
    settings |= {option: run_opts[option] for option in given}
    unused = check_options(hparams, overrides, path)
    settings |= {key: hparams[key] for key in RESOLVED}
    settings = {k: v for k, v in settings.items() if k not in unused}
    return hparams, settings


def _settings(blocks: Mapping[str, str]) -> dict[str, object]:
    """Plain values, and the text of what has a tag, by key."""
    kept = {k: block for k, block in blocks.items() if k not in MAY_DIFFER}
    plain, tagged = plain_values(kept, "the YAML")
    return plain | tagged


def add_data(
    hparams: Mapping,
    settings: dict[str, object],
    manifests: Mapping[str, dict],
    store_name: str,
) -> None:
    """Add to the settings of a run, as ``data``, what it is made of.

    Raises
    ------
    UserError
        Source rows that are tested, anchors selected on other data, or a
        finished run that was trained for longer or shorter.
    """
    if hparams["bound"] != "within":
        check_not_tested(hparams, manifests)
    check_selection(hparams, manifests, store_name)
    settings["data"] = describe_data(hparams, manifests, store_name)
    if not has_checkpoint(hparams["save_folder"]):  # nothing to go on from
        path = Path(hparams["output_folder"], "results.json")
        there = finished_result(path, settings_hash(settings))
        kept = read_finished(hparams["save_folder"])
        check_same_length(there or kept, hparams)


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
        *("target_rows", "gamma", "segment", "layers", "layer_scores"),
        *("number_of_epochs", "patience"),
    )
    aligned = hparams["alignment"] if hparams["gamma"] else None
    rule, segment = hparams["anchor_layers"], hparams["segment"]
    shared = manifests["target_train"].keys() & manifests["target_test"].keys()
    shots = rows["shots"].ids if "shots" in rows else []
    source, target = rows["source_train"], rows["target_train"]
    return {key: hparams[key] for key in keys} | {
        "encoder": hparams["encoder_source"],
        "adapts_on": _adapts_on(hparams, bool(shared)),
        "hold_out_shots": bool(shared) and hparams["hold_out_shots"],
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
        "shots": hparams["target_shots"] if shots else 0,
        "shot_ids": shots,
    }


def _adapts_on(hparams: Mapping, tests_on_training_rows: bool) -> str:
    """Name the target's rows that decided something without their labels.

    They give statistics, are aligned, or choose the layers that are.
    """
    parts = []
    if (
        hparams["normalise"] in ("domain", "speaker")
        or (hparams["alignment"] is not None and hparams["gamma"])
        or _analysis_decides(hparams)
    ):
        parts.append("target_train")
        if tests_on_training_rows:
            parts.append("test_rows")
    if hparams["normalise"] == "speaker":
        parts.append("test_speakers")
    return " + ".join(parts) or "none"


def _analysis_decides(hparams: Mapping) -> bool:
    """Whether layers that an analysis selected are more than logged."""
    aligned = hparams["alignment"] is not None and hparams["gamma"]
    used = aligned or hparams["mix_layers"] == "not_anchored"
    return bool(used) and hparams["anchor_layers"] in ANALYSIS_RULES


def _target_labels_used(hparams: Mapping, manifests: Mapping[str, dict]) -> int:
    """Count the target's labels that decided anything."""
    parts = ["shots"] if "shots" in manifests else []
    if hparams["select_on"] == "target":
        parts.append("valid")
    if hparams["bound"] == "within":
        parts += ["source_train", "source_valid"]
    if hparams["bound"] == "oracle" or (
        _analysis_decides(hparams) and hparams["use_target_labels"]
    ):
        parts.append("target_train")
    return len(set().union(*(with_emotion(manifests[p]) for p in parts)))


def leave_results(
    hparams: Mapping,
    settings: Mapping[str, object],
    rows: Mapping[str, DomainRows],
    posteriors: Mapping[str, np.ndarray],
    content: Mapping[str, object],
    debug: bool,
) -> list[str]:
    """Write predictions.csv and results.json of a run, unless they are there.

    A result of the same settings and data stays as it is, and is what is
    printed; one that was trained further takes its place.

    Arguments
    ---------
    hparams : Mapping
        Values of the run.
    settings : Mapping[str, object]
        As from `load_run` and `add_data`.
    rows : Mapping[str, DomainRows]
        Of them ``target_test``, N rows.
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

    Raises
    ------
    UserError
        Posteriors that are not finite.
    """
    folder, chosen = Path(hparams["output_folder"]), hparams["select_on"]
    test = rows["target_test"]
    scores = {rule: score(test, p) for rule, p in posteriors.items()}
    other = {
        f"uar_{rule}": scores[rule]["uar"] if rule in scores else None
        for rule in ("last", "source")
    }
    results = {**content, **scores[chosen], **other} | {
        "notes": [
            *prep_notes(hparams),
            *_encoding_notes(content),
            *score_notes(scores[chosen]),
        ],
        "store": settings["data"]["store"],
        "settings_hash": settings_hash(settings),
    }
    path = folder / "results.json"
    where = "--debug leaves no result" if debug else str(path)
    there = {} if debug else finished_result(path, results["settings_hash"])
    same = all(there.get(k) == results.get(k) for k in ("weights_hash", "uar"))
    if not debug and (same or not _is_kept(there, results)):
        predictions = folder / "predictions.csv"
        target = hparams["target"]
        write_predictions(predictions, test, posteriors[chosen], target)
    if _is_kept(there, results):
        results = there
    elif not debug:
        write_results(path, results)
    return [*results["notes"], _result_line(results, where)]


def keep_only_tested(hparams: Mapping) -> None:
    """Remove what only resuming needs, once a run has left its results.

    Not where they are a result of other weights than those it keeps: one that
    an earlier version of lam_sb left, in float32.
    """
    path = Path(hparams["output_folder"], "results.json")
    results = json.loads(path.read_text(encoding="utf-8"))
    kept = weights_hash(hparams["save_folder"])
    if kept is not None and results.get("weights_hash") == kept:
        drop_checkpoints(hparams["save_folder"])


def _is_kept(there: Mapping, results: Mapping) -> bool:
    """Whether a result that is there is no less than a new one."""
    whole = bool(there) and there.get("finished", True)
    return whole and _steps(there) >= _steps(results)


def _steps(results: Mapping) -> int:
    """Count the steps of training; 0 where there are none."""
    return results.get("steps") or 0


def _encoding_notes(content: Mapping) -> list[str]:
    """Say how many utterances could not be encoded."""
    undecodable = content.get("undecodable_audio") or {}
    return [
        f"The audio of {len(ids)} utterance{'s' * (len(ids) > 1)} of {corpus} "
        "cannot be decoded: dropped; results.json names them."
        for corpus, ids in undecodable.items()
    ]


def _result_line(results: Mapping, where: str) -> str:
    """Give the UAR, its interval, and where the result lies."""
    if results["uar"] is None:
        return f"The test labels are unknown: no UAR. {where}"
    limits = results["uar_ci95"]
    interval = f" [{limits[0]:.4f}, {limits[1]:.4f}]" if limits else ""
    return f"Test UAR {results['uar']:.4f}{interval} {where}"
