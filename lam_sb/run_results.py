"""What a run leaves: a result for each target."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lam_sb.analysis.anchor_layers import ANALYSIS_RULES
from lam_sb.evaluation.result_files import read_results
from lam_sb.evaluation.results import (
    finished_result,
    results_paths,
    score,
    score_notes,
    write_predictions,
    write_results,
)
from lam_sb.inputs import Rows, prep_notes
from lam_sb.options import alignment_class
from lam_sb.run_folder import settings_hash
from lam_sb.training.checkpoints import drop_checkpoints
from lam_sb.training.rows import DomainRows, Parts, with_emotion
from lam_sb.training.weights import weights_hash


def describe_run(
    hparams: Mapping,
    manifests: Rows,
    rows: Parts,
    learned: Mapping[str, object],
) -> dict[str, dict]:
    """Say in words and numbers what was trained on what.

    Arguments
    ---------
    hparams : Mapping
        Values of the run.
    manifests : Rows
        Rows of the manifests by what they are for, as from `read_rows`.
    rows : Parts
        The same with features.
    learned : Mapping[str, object]
        What else is to be said of the run.

    Returns
    -------
    dict[str, dict]
        Part of results.json by target.
    """
    keys = (
        *("experiment", "system", "source", "sources", "targets", "seed"),
        *("protocol", "folds", "fold", "normalise", "select_on", "bound"),
        *("target_rows", "gamma", "segment", "layers", "layer_scores"),
        *("split_seed", "number_of_epochs", "patience", "seeds_averaged"),
    )
    aligned = hparams["alignment"] if hparams["gamma"] else None
    rule = hparams["anchor_layers"]
    content = {key: hparams[key] for key in keys} | {
        "encoder": hparams["encoder_source"],
        "target_row_filter": (
            "labels" if hparams["target_rows"] == "four" else "none"
        ),
        "alignment": (
            "none" if aligned is None else alignment_class(aligned).__name__
        ),
        "anchor_layers": hparams["anchored_layers"],
        "anchor_rule": rule if isinstance(rule, str) else "fixed",
        **_counts(rows, "source", hparams["segment"]),
        **_counts(rows, "target", hparams["segment"]),
        "target_labels_used": _target_labels_used(hparams, manifests),
        "languages": _languages(manifests),
        **learned,
    }
    before = content.pop("uncalibrated")
    return {
        target: content
        | _describe_target(hparams, manifests, target)
        | {"uncalibrated": before.get(target)}
        for target in hparams["targets"]
    }


def _languages(manifests: Rows) -> dict[str, list[str]]:
    """Languages that the training rows of each corpus name."""
    return {
        corpus: sorted({row["language"] for row in part.values()})
        for role in ("source_train", "target_train")
        for corpus, part in manifests[role].items()
    }


def _counts(rows: Parts, role: str, segment: str) -> dict[str, int]:
    """Count training rows, and those that have what is aligned."""
    parts = rows[f"{role}_train"].values()
    return {
        f"n_train_{role}": sum(map(len, parts)),
        f"n_segment_{role}": sum(p.features.count(segment) for p in parts),
    }


def _describe_target(hparams: Mapping, manifests: Rows, target: str) -> dict:
    """Say what is one target's own, its name to begin with."""
    train, test = manifests["target_train"], manifests["target_test"]
    shared = train[target].keys() & test[target].keys()
    shots = list(manifests["shots"][target]) if "shots" in manifests else []
    return {
        "target": target,
        "adapts_on": _adapts_on(hparams, bool(shared)),
        "hold_out_shots": bool(shared) and hparams["hold_out_shots"],
        "shots": hparams["target_shots"] if shots else 0,
        "shot_ids": shots,
    }


def _adapts_on(hparams: Mapping, tests_on_training_rows: bool) -> str:
    """Name the target's rows that decided something without their labels.

    They give statistics, are aligned, or choose the layers that are.
    """
    parts = []
    if (
        hparams["normalise"] in ("domain", "speaker", "residual")
        or (hparams["alignment"] is not None and hparams["gamma"])
        or _analysis_decides(hparams)
    ):
        parts.append("target_train")
        if tests_on_training_rows:
            parts.append("test_rows")
    if hparams["normalise"] in ("speaker", "residual"):
        parts.append("test_speakers")
    return " + ".join(parts) or "none"


def _analysis_decides(hparams: Mapping) -> bool:
    """Whether layers that an analysis selected are more than logged."""
    aligned = hparams["alignment"] is not None and hparams["gamma"]
    used = aligned or hparams["mix_layers"] == "not_anchored"
    return bool(used) and hparams["anchor_layers"] in ANALYSIS_RULES


def _target_labels_used(hparams: Mapping, manifests: Rows) -> int:
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
    return sum(
        len(set().union(*(with_emotion(manifests[p][t]) for p in parts)))
        for t in hparams["targets"]
    )


def leave_results(
    hparams: Mapping,
    settings: Mapping[str, object],
    rows: Mapping[str, DomainRows],
    posteriors: Mapping[str, Mapping[str, np.ndarray]],
    content: Mapping[str, Mapping[str, object]],
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
        N test rows of each target.
    posteriors : Mapping[str, Mapping[str, np.ndarray]]
        (N, 4) by target and the rule that chose the weights; those of the rule
        ``select_on`` are the result, of others only the UAR is kept.
    content : Mapping[str, Mapping[str, object]]
        What else each target's results.json is to hold.
    debug : bool
        Whether nothing is to be written.

    Returns
    -------
    list[str]
        Lines to print: what limits each result, then the result.

    Raises
    ------
    UserError
        Posteriors that are not finite.
    """
    lines = []
    for target, path in results_paths(
        hparams["output_folder"], hparams["targets"]
    ).items():
        results = _results(
            *(hparams, settings, rows[target], posteriors[target]),
            content[target],
        )
        where, there = "--debug leaves no result", {}
        if not debug:
            where = str(path)
            there = finished_result(path, results["settings_hash"])
            path.parent.mkdir(exist_ok=True)
            given = posteriors[target][hparams["select_on"]]
            if _is_same(there, results) or not _is_kept(there, results):
                predictions = path.with_name("predictions.csv")
                write_predictions(predictions, rows[target], given, target)
        if _is_kept(there, results):
            results = there
        elif not debug:
            write_results(path, results)
        lines += [*results["notes"], _result_line(results, where)]
    return lines


def _results(
    hparams: Mapping,
    settings: Mapping[str, object],
    test: DomainRows,
    posteriors: Mapping[str, np.ndarray],
    content: Mapping[str, object],
) -> dict:
    """Give the content of results.json, without versions."""
    chosen = hparams["select_on"]
    scores = {rule: score(test, p) for rule, p in posteriors.items()}
    other = {
        f"uar_{rule}": scores[rule]["uar"] if rule in scores else None
        for rule in ("last", "source")
    }
    return {**content, **scores[chosen], **other} | {
        "notes": [
            *prep_notes(hparams),
            *_encoding_notes(content),
            *score_notes(scores[chosen]),
        ],
        "store": settings["data"]["store"],
        "settings_hash": settings_hash(settings),
    }


def keep_only_tested(hparams: Mapping) -> None:
    """Remove what only resuming needs, once a run has left its results.

    Not where they are a result of other weights than those it keeps: one that
    an earlier version of lam_sb left, in float32.
    """
    kept = weights_hash(hparams["save_folder"])
    there = {
        read_results(path).get("weights_hash")
        for path in results_paths(
            hparams["output_folder"], hparams["targets"]
        ).values()
    }
    if kept is not None and there == {kept}:
        drop_checkpoints(hparams["save_folder"])


def _is_same(there: Mapping, results: Mapping) -> bool:
    """Whether a result that is there is of the same weights."""
    keys = ("weights_hash", "uar", "temperature")
    return all(there.get(key) == results.get(key) for key in keys)


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
