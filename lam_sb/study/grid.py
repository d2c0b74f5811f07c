"""A study: the grid of runs behind the tables.

Its file in ``hparams/study/`` names systems, encoders, corpora and seeds.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from speechbrain.utils.run_opts import RunOptions

from lam_sb.analysis.anchor_layers import (
    ANALYSIS_RULES,
    NotAnalysedError,
    is_analysed,
)
from lam_sb.config import load, load_study, recipe_folder
from lam_sb.corpora.names import ROLES, joined, names_of, role_keys
from lam_sb.errors import UserError, check_choice
from lam_sb.evaluation.catalogue import REFERENCE
from lam_sb.evaluation.results import TRAINING_LENGTH
from lam_sb.inputs import PARTS
from lam_sb.options import draws_tested_shots, unused_keys
from lam_sb.run import load_run
from lam_sb.study.data import DATA_KEYS
from lam_sb.study.job import Job
from lam_sb.values import STUDY_KINDS, check_values

# Keys that a study sets for each run, and what to use instead.
SET_BY_STUDY = {
    **{"seed": "seeds", "fold": "folds", "output_folder": "output_root"},
    **{"source": "corpora", "source_folder": "corpora"},
    **{"target": "corpora", "target_folder": "corpora"},
    **{"source_options": "corpora", "target_options": "corpora"},
    **{"encoder_source": "encoders", "system": "systems", "bound": "systems"},
}
# What of a run's YAML a study has to know.
PATHS = (
    *("output_folder", "analysis_folder", "encoder_source", "feature_folder"),
    *PARTS,
)
# Once its anchors are known.
VALUES = (*DATA_KEYS, *TRAINING_LENGTH)
# And before.
PLAIN_KEYS = (
    *("system", "selection_settings", "protocol", "fit", "target_shots"),
    "hold_out_shots",
)


@dataclass(frozen=True)
class Study:
    """What a study file says; the comments in table2.yaml explain its keys.

    Arguments
    ---------
    path : Path
        The file.
    values : dict
        Its keys, the command line on top.
    """

    path: Path
    values: dict

    def __getitem__(self, key: str) -> object:
        """Value of a key."""
        return self.values[key]

    @property
    def folder(self) -> Path:
        """Folder of the report and the logs."""
        return Path(self["output_root"]) / "study" / self["study"]

    @property
    def directions(self) -> list[tuple[str, ...]]:
        """Pairs of source and target, each as `joined` gives its corpora."""
        corpora, pairs = [*self["corpora"]], self["directions"]
        if pairs is None:
            pairs = [*itertools.permutations(corpora, 2)]
        if self["leave_one_out"]:
            pairs = pairs + [
                ([other for other in corpora if other != corpus], corpus)
                for corpus in corpora
            ]
        pairs = [tuple(str(joined(side)) for side in pair) for pair in pairs]
        return [*dict.fromkeys(pairs)]


def read_study(path: str, overrides: Mapping[str, object]) -> Study:
    """Read a study's file.

    Arguments
    ---------
    path : str
        The file.
    overrides : Mapping[str, object]
        Keys of the study; all others join its ``keys``. A list of ``systems``
        selects among those of the file, a mapping takes their place.

    Returns
    -------
    Study
        Corpora and seeds in their long form.

    Raises
    ------
    UserError
        A key that the study sets for each run, or a value without sense.
    """
    check_values(overrides, STUDY_KINDS)
    given = dict(overrides)
    selected = given.get("systems")
    if isinstance(selected, list):
        del given["systems"]
    values, rest = load_study(path, given)
    check_values(values, STUDY_KINDS)
    if isinstance(selected, list):
        values["systems"] = _select(path, values["systems"], selected)
    if isinstance(values["seeds"], int):
        values["seeds"] = [*range(values["seeds"])]
    for key in ("corpora", "systems"):
        if isinstance(values[key], list):
            values[key] = dict.fromkeys(values[key])
    values["keys"] = values["keys"] | rest
    for key in sorted(SET_BY_STUDY.keys() & values["keys"].keys()):
        raise UserError(
            f"{path}: {key} is set for each run by the study; use "
            f"{SET_BY_STUDY[key]}."
        )
    study = Study(Path(path), values)
    _check_sense(study)
    return study


def _check_sense(study: Study) -> None:
    """Refuse directions and folders to include that are none."""
    bounds = {(own or {}).get("bound") for own in study["systems"].values()}
    for pair in study.directions:
        named = {name for side in pair for name in names_of(side)}
        if not named <= study["corpora"].keys():
            raise UserError(
                f"{study.path}: the direction {list(pair)} is no pair of the "
                f"corpora {', '.join(study['corpora'])}."
            )
        if pair[0] == pair[1] and bounds != {"within"}:
            raise UserError(
                f"{study.path}: the direction {list(pair)} is from a corpus to "
                "itself; the bound within stands for that."
            )
    if not study.directions:
        raise UserError(
            f"{study.path}: corpora and directions give no pair; name two "
            "corpora or more, [one, other], and pairs of them, or null for all."
        )
    for folder in study["include"]:
        if next(Path(folder).rglob("results.json"), None) is None:
            raise UserError(
                f"{study.path}: include: {folder} holds no results.json."
            )


def _select(path: str, systems: Mapping, names: list) -> dict:
    """Give the systems of these names, in their order in the file."""
    for name in names:
        check_choice(f"{path}: one of systems", name, systems)
    return {name: keys for name, keys in systems.items() if name in names}


def make_jobs(study: Study, run_opts: RunOptions) -> list[Job]:
    """List all runs of a study, those of the first seed first.

    Arguments
    ---------
    study : Study
        What is to be run.
    run_opts : RunOptions
        SpeechBrain's options for all runs.

    Returns
    -------
    list[Job]
        In the order in which they are to be run.

    Raises
    ------
    UserError
        A file that does not load with its keys.
    """
    planned: dict[str, tuple[str, str, str, dict, dict]] = {}
    for pair, encoder, system in itertools.product(
        study.directions, study["encoders"], study["systems"]
    ):
        for file, keys in _command_lines(study, encoder, pair, system):
            # The same bound serves all sources of a target.
            name = json.dumps([file, keys])
            if name not in planned:
                plain = _plain_values(file, keys)
                planned[name] = system, encoder, file, keys, plain
    held_out = any(draws_tested_shots(plain) for *_, plain in planned.values())
    jobs = [_job(study, run_opts, held_out, *one) for one in planned.values()]
    return [_with_seed(job, seed) for seed in study["seeds"] for job in jobs]


def _plain_values(file: str, keys: Mapping[str, object]) -> dict:
    """Values of a run that do not depend on its anchors, and unused keys."""
    values = {key: value for key, value in keys.items() if key != "system"}
    hparams = load(file, values | {"anchor_layers": []})
    return {key: hparams.get(key) for key in (*PATHS, *PLAIN_KEYS)} | {
        "unused": unused_keys(hparams) | _not_calibrated(hparams)
    }


def _not_calibrated(hparams: Mapping) -> set[str]:
    """Name ``calibrate`` for a run that has no source to leave out."""
    alone = len(names_of(hparams["source"])) == 1
    return {"calibrate"} if alone or hparams["bound"] != "none" else set()


def _command_lines(
    study: Study, encoder: str, pair: tuple[str, ...], system: str
) -> Iterator[tuple[str, dict]]:
    """Give the file and keys of a system in a column, for each fold."""
    own = dict(study["systems"][system] or {})
    names = {"study": study["study"], "encoder": encoder, "system": system}
    names["file"] = own.pop("file", system)
    file = study["hparams"].format(**names)
    source, target = pair
    if own.get("bound") == "within":
        source = target
    keys = {"source": source, "target": target, "seed": 0}
    for role in ROLES:
        keys |= role_keys(study["corpora"], role, keys[role])
    if study["encoders"][encoder] is not None:
        keys["encoder_source"] = study["encoders"][encoder]
    keys["output_root"] = study["output_root"]
    keys |= {"system": system, **study["keys"], **own}
    folds = keys.get("folds", 0)
    experiment = study["experiment"].format(**names)
    for fold in range(folds or 1):
        keys["experiment"] = experiment + (f"_f{fold}" if folds else "")
        if folds:
            keys["fold"] = fold
        yield os.path.normpath(file), dict(keys)


def _job(
    study: Study,
    run_opts: RunOptions,
    held_out: bool,
    system: str,
    encoder: str,
    file: str,
    keys: Mapping[str, object],
    plain: Mapping[str, object],
) -> Job:
    """Drop shared keys that the system has no use for; see what is decided.

    All systems test the same rows: a part is held out if one has shots.
    """
    own = study["systems"][system] or {}
    unused = plain["unused"] & study["keys"].keys() - own.keys() | {"system"}
    values = {key: value for key, value in keys.items() if key not in unused}
    if plain["system"] != system:
        values["system"] = system
    shared = (
        plain["protocol"] == "transductive" and "hold_out_shots" not in keys
    )
    holds_out = plain["hold_out_shots"]
    if holds_out is None:
        holds_out = draws_tested_shots(plain)
    if shared and holds_out != held_out:
        values["hold_out_shots"] = held_out
    settings, wants_analysis = None, system == REFERENCE
    hparams: dict = {}
    try:
        hparams, settings = load_run(file, run_opts, values)
        wants_analysis |= hparams["anchor_layers"] in ANALYSIS_RULES
    except NotAnalysedError:
        wants_analysis = True
    return Job(
        system=system,
        encoder=encoder,
        script=recipe_folder(file) / "train.py",
        file=file,
        keys=values,
        paths={key: plain[key] for key in PATHS},
        wants_analysis=wants_analysis,
        is_analysed=is_analysed(
            plain["analysis_folder"], plain["selection_settings"]
        ),
        settings=settings,
        values={k: hparams[k] for k in VALUES if hparams},
    )


def _with_seed(job: Job, seed: int) -> Job:
    """Give the run of another seed, whose folder bears its name."""
    folder = Path(job.paths["output_folder"]).with_name(str(seed))
    settings = job.settings and job.settings | {"seed": seed}
    return replace(
        job,
        keys=job.keys | {"seed": seed},
        paths=job.paths | {"output_folder": str(folder)},
        settings=settings,
    )
