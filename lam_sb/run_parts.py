"""Runs that a run is made of: models of other seeds, and left-out sources."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from speechbrain.utils.distributed import ddp_barrier, if_main_process
from torch.nn.functional import one_hot

from lam_sb.analysis.anchor_layers import ANALYSIS_RULES
from lam_sb.corpora.manifests import EMOTIONS
from lam_sb.corpora.names import joined, names_of, role_keys
from lam_sb.corpora.pair import manifest_paths, own_manifests
from lam_sb.errors import UserError
from lam_sb.evaluation.calibration import (
    calibration_scores,
    fit_temperature,
    with_temperature,
)
from lam_sb.evaluation.results import (
    read_posteriors,
    read_run,
    results_paths,
)
from lam_sb.files import write_json
from lam_sb.training.rows import DomainRows

Posteriors = dict[str, dict[str, np.ndarray]]  # by target and rule
# How the first run of ``residual`` is standardised: without the speakers, for
# one who has few of the emotions would mislead it.
FIRST = "domain"
LARGEST_SEED = 2**32 - 1  # that NumPy takes
MEANS = ("layer_weights", "layer_share", "valid_uar")  # over the seeds


def parts_of(hparams: Mapping, calibrate: str) -> list[dict[str, object]]:
    """List the runs that must be there before a run can leave its result.

    Arguments
    ---------
    hparams : Mapping
        Values of the run, checked.
    calibrate : str
        ``temperature`` or ``none``.

    Returns
    -------
    list[dict[str, object]]
        What each sets besides the keys of the run: under ``seeds_averaged``
        above 1 a run of each seed; under ``normalise: residual`` one under
        ``domain`` that tests the target's training rows too; with a
        temperature, one for each source, which is left out and taken as the
        unlabelled target.
    """
    parts = [_first(hparams)] if _has_first(hparams) else []
    parts += [
        {"seed": seed, "seeds_averaged": 1, "calibrate": "none", **places}
        for seed, places in _seeds(hparams).items()
    ]
    if calibrate == "temperature":
        parts += [_left_out(hparams, corpus) for corpus in hparams["sources"]]
    return parts


def _seeds(hparams: Mapping) -> dict[int, dict[str, str]]:
    """Seeds of the models that are averaged, which no other run shares."""
    count, seed = hparams["seeds_averaged"], hparams["seed"]
    if count == 1:
        return {}
    seeds = range(seed * count, (seed + 1) * count)
    return {n: _places(hparams, f"seed_{n}") for n in seeds}


def _has_first(hparams: Mapping) -> bool:
    return hparams["normalise"] == "residual" and hparams["seeds_averaged"] == 1


def _first(hparams: Mapping) -> dict[str, object]:
    """Run whose posteriors stand for the target's emotions."""
    places = _places(hparams, "first")
    tested = {
        target: f"{places['output_folder']}/{target}.json"
        for target in hparams["targets"]
    }
    part = {"normalise": FIRST, "calibrate": "none", "hold_out_shots": False}
    one = len(tested) == 1
    part["target_test"] = next(iter(tested.values())) if one else tested
    if hparams["fit"] == "episodes":  # every row is tested
        part["target_shots"] = 0
    return part | places


def write_manifests(hparams: Mapping) -> None:
    """Write the manifests of the rows that a first run tests, if there is one.

    They hold all rows of the target that the run reads, and the labels of
    those alone that the run itself tests.
    """
    if not _has_first(hparams) or not if_main_process():
        return
    folder = Path(_places(hparams, "first")["output_folder"])
    folder.mkdir(parents=True, exist_ok=True)
    parts = ["valid"] * (hparams["select_on"] == "target")
    parts += ["target_train", "target_test"]
    for target in hparams["targets"]:
        rows: dict = {}
        for part in parts:
            path = Path(hparams[part][target])
            own = json.loads(path.read_text(encoding="utf-8"))
            if part != "target_test":
                own = {i: row | {"emo": None} for i, row in own.items()}
            rows |= own
        write_json(folder / f"{target}.json", rows)


def set_emotions(
    hparams: Mapping,
    source: Sequence[Sequence[DomainRows]],
    target: Sequence[Sequence[DomainRows]],
) -> None:
    """Say of all rows what emotions they have: the target's by a first run.

    Arguments
    ---------
    hparams : Mapping
        Values of the run, under ``normalise: residual``.
    source, target : Sequence[Sequence[DomainRows]]
        Rows of each corpus of a role. Labels of the target are not read.
    """
    ddp_barrier()  # the main process has written them
    for part in chain(*source):
        part.emotions = one_hot(part.labels, len(EMOTIONS)).double()
    folder = _places(hparams, "first")["output_folder"]
    paths = results_paths(folder, hparams["targets"]).values()
    for path, parts in zip(paths, target, strict=True):
        for part in parts:
            posteriors = read_posteriors(path, part.ids)
            part.emotions = torch.from_numpy(posteriors)


def _left_out(hparams: Mapping, corpus: str) -> dict[str, object]:
    corpora = {
        name: {
            "folder": hparams["source_folder"][name],
            "options": hparams["source_options"][name] or {},
        }
        for name in hparams["sources"]
    }
    source = joined([name for name in corpora if name != corpus])
    part = {"source": source, "target": corpus, "calibrate": "none"}
    part |= role_keys(corpora, "source", source)
    part |= role_keys(corpora, "target", corpus)
    # Those of the target may have been named.
    part |= manifest_paths(hparams, source, corpus)
    if hparams["anchor_layers"] in ANALYSIS_RULES:
        part["anchor_layers"] = hparams["anchored_layers"]
    return part | _places(hparams, f"without_{corpus}")


def _places(hparams: Mapping, name: str) -> dict[str, str]:
    folder = f"{hparams['output_folder']}/{name}"
    return {
        "output_folder": folder,
        "save_folder": f"{hparams['save_folder']}/{name}",
        "train_log": f"{folder}/train_log.txt",
    }


def join_parts(
    hparams: Mapping,
    rows: Mapping[str, DomainRows],
    posteriors: Posteriors,
    learned: dict,
) -> tuple[Posteriors, dict]:
    """Make one result of a run and of those that `parts_of` lists.

    Arguments
    ---------
    hparams : Mapping
        Values of the run.
    rows : Mapping[str, DomainRows]
        N test rows of each target.
    posteriors : Posteriors
        (N, 4) by target and rule, of the run itself; none where seeds are
        averaged.
    learned : dict
        Part of results.json so far, with the run's own ``seconds``.

    Returns
    -------
    posteriors : Posteriors
        Averaged and calibrated, where the run says so.
    learned : dict
        With ``seconds`` of all, ``temperature``, None if there is none, and
        ``uncalibrated``, the scores before it by target.
    """
    if hparams["seeds_averaged"] > 1:
        posteriors, means = _average(hparams, rows)
        learned = learned | means
    for keys in parts_of(hparams, hparams["calibrate"]):
        targets = names_of(keys.get("target", hparams["target"]))
        paths = results_paths(keys["output_folder"], targets)
        results = read_run(paths[targets[0]]).results
        learned["seconds"] += results["seconds"]
        if not results.get("finished", True):
            learned["finished"] = False
    learned["temperature"], learned["uncalibrated"] = None, {}
    if hparams["calibrate"] == "temperature":
        rule = hparams["select_on"]
        learned["uncalibrated"] = {
            target: _scores(test, posteriors[target][rule])
            for target, test in rows.items()
        }
        posteriors, learned["temperature"] = _calibrate(hparams, posteriors)
    return posteriors, learned


def _scores(rows: DomainRows, posteriors: np.ndarray) -> dict | None:
    labels = rows.labels.numpy()
    known = labels >= 0
    if not known.any():
        return None
    return calibration_scores(labels[known], posteriors[known])


def _average(
    hparams: Mapping, rows: Mapping[str, DomainRows]
) -> tuple[Posteriors, dict]:
    """Average the posteriors of the seeds, and what they learned."""
    folders = [p["output_folder"] for p in _seeds(hparams).values()]
    posteriors, runs = {}, []
    for target, test in rows.items():
        paths = [
            results_paths(folder, hparams["targets"])[target]
            for folder in folders
        ]
        runs = [read_run(path).results for path in paths]
        mean = np.mean(
            [read_posteriors(path, test.ids) for path in paths], axis=0
        )
        posteriors[target] = {hparams["select_on"]: mean}
    hashes = "".join(str(run["weights_hash"]) for run in runs)
    return posteriors, {
        **{key: _mean([run[key] for run in runs]) for key in MEANS},
        "epochs": max(run["epochs"] for run in runs),
        "steps": max(run["steps"] for run in runs),
        "best_epoch": None,
        "tested_epochs": None,
        "finished": all(run["finished"] for run in runs),
        "weights_hash": hashlib.sha256(hashes.encode()).hexdigest()[:16],
        "device": runs[0]["device"],
    }


def _mean(values: Sequence) -> object:
    """Mean of numbers, or of what mappings hold by key."""
    if isinstance(values[0], Mapping):
        return {key: fmean(v[key] for v in values) for key in values[0]}
    return fmean(values)


def _calibrate(
    hparams: Mapping, posteriors: Posteriors
) -> tuple[Posteriors, float]:
    """Divide the logits by one temperature, chosen on the left-out sources."""
    runs = []
    for corpus in hparams["sources"]:
        folder = Path(_places(hparams, f"without_{corpus}")["output_folder"])
        runs.append(read_run(folder / "results.json"))
    temperature = fit_temperature([(r.labels, r.posteriors) for r in runs])
    calibrated = {
        target: {
            rule: with_temperature(values, temperature)
            for rule, values in by_rule.items()
        }
        for target, by_rule in posteriors.items()
    }
    return calibrated, temperature


def check_parts(hparams: Mapping) -> set[str]:
    """Refuse what cannot be averaged, calibrated or run first.

    Returns
    -------
    set[str]
        Keys that do not decide the result, as nothing is.

    Raises
    ------
    UserError
        Too few sources to leave one out, seeds that are too large, or a bound.
    """
    count, unused = hparams["seeds_averaged"], set()
    if count == 1:
        unused.add("seeds_averaged")
    elif (hparams["seed"] + 1) * count > LARGEST_SEED + 1:
        raise UserError(
            f"seed is {hparams['seed']}; with seeds_averaged {count} it takes "
            f"one from 0 to {(LARGEST_SEED + 1) // count - 1}."
        )
    elif hparams["fit"] == "episodes" and hparams["target_shots"]:
        raise UserError(
            "seeds_averaged: each seed draws other target labels; use "
            "--seeds_averaged 1, or --target_shots 0."
        )
    for key, value in (("normalise", "residual"), ("calibrate", "temperature")):
        if hparams[key] == value and hparams["bound"] != "none":
            raise UserError(
                f"{key}: {value} has no meaning for a bound, which needs no "
                "source; use another --" + key + "."
            )
    if hparams["calibrate"] == "none":
        return unused | {"calibrate"}
    if len(hparams["sources"]) < 2:
        raise UserError(
            "calibrate: temperature leaves each source corpus out in turn, so "
            'it takes two or more: --source "[one, other]", or --calibrate '
            "none."
        )
    named = own_manifests(hparams)
    if named:
        raise UserError(
            f"calibrate: {named[0]} names a manifest of your own, but a source "
            "that is left out needs those that preparation writes; use "
            "--calibrate none."
        )
    return unused
