"""A study: the grid of runs behind the tables.

Its file in ``hparams/study/`` names systems, encoders, corpora and seeds. A run
is one command of train.py, and is done when its folder holds a result of the
same settings.
"""

from __future__ import annotations

import itertools
import json
import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from statistics import mean
from types import ModuleType

import yaml
from speechbrain.utils.run_opts import RunOptions

from lam_sb.analysis.anchors import SELECTED, NotAnalysedError, is_analysed
from lam_sb.config import (
    differing_settings,
    load,
    load_study,
    settings_hash,
)
from lam_sb.errors import UserError
from lam_sb.evaluation.catalogue import REFERENCE

# Keys that a study sets for each run, and what to use instead.
OWN_KEYS = {
    **{"seed": "seeds", "fold": "folds", "output_folder": "output_root"},
    **{"source": "corpora", "source_folder": "corpora"},
    **{"target": "corpora", "target_folder": "corpora"},
    **{"source_options": "corpora", "target_options": "corpora"},
    **{"encoder_source": "encoders", "system": "systems", "bound": "systems"},
}
# What a study's keys must be, and how to say them.
KINDS = {
    "corpora": (dict, "name two or more, [one, other]"),
    "encoders": (dict, "name some, {whisper: openai/whisper-base}"),
    "systems": (dict, "name some, {lam_gl: {}}"),
    "seeds": (list, "give their number or a list"),
    "include": (list, "give a list of folders"),
    "keys": (dict, "give keys of train.py, {normalise: domain}"),
    "jobs": (int, "give a number"),
    "keep_weights": (bool, "use True or False"),
}
MAY_BE_EMPTY = ("include", "keys", "keep_weights")
# Manifests that a run reads.
MANIFESTS = ("source_train", "source_valid", "target_train", "target_test")
STARTING = 6.0  # seconds that a run takes before it starts to count


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
        """Pairs of source and target."""
        if self["directions"] is None:
            return [*itertools.permutations(self["corpora"], 2)]
        return [tuple(pair) for pair in self["directions"]]


@dataclass(frozen=True, eq=False)
class Job:
    """One run of train.py.

    Arguments
    ---------
    system, encoder : str
        Its names in the study.
    file : str
        YAML file.
    keys : dict
        What the command line sets.
    places : dict
        Where the run finds and leaves what the study has to know of.
    anchored : bool
        Whether it needs an analysis, for its anchors or the report.
    settings : dict | None
        What decides the result; None before that analysis.
    """

    system: str
    encoder: str
    file: str
    keys: dict
    places: dict
    anchored: bool
    settings: dict | None

    @property
    def arguments(self) -> list[str]:
        """Command line of train.py, without SpeechBrain's options."""
        return [
            self.file,
            *(f"--{key}={_word(value)}" for key, value in self.keys.items()),
        ]

    @property
    def results(self) -> Path:
        """Path of its results.json."""
        return Path(self.places["output_folder"]) / "results.json"

    @property
    def save_folder(self) -> Path:
        """Folder of its weights and its checkpoint."""
        return self.results.with_name("save")

    @property
    def name(self) -> str:
        """Name of its log."""
        names = ("experiment", "source", "target", "seed")
        return "-".join(str(self.keys[n]) for n in names).replace("/", "-")

    @property
    def needs_analysis(self) -> bool:
        """Whether it is still without the analysis that it needs."""
        return self.anchored and not self.places["analysed"]

    @property
    def inputs(self) -> str:
        """What it reads, in words; equal for runs on the same features."""
        names = ("encoder_source", "feature_folder", *MANIFESTS)
        return " ".join(str(self.places[name]) for name in names)

    @cached_property
    def settings_hash(self) -> str | None:
        """What its results.json will bear; None before the analysis."""
        return self.settings and settings_hash(self.settings)

    def is_done(self) -> bool:
        """Whether its result is there, made with its settings."""
        if self.settings_hash is None:
            return False
        try:
            found = json.loads(self.results.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return found.get("settings_hash") == self.settings_hash

    def differing(self) -> list[str]:
        """Say in what its folder was made with other settings."""
        path = self.results.with_name("settings.yaml")
        return differing_settings(path, self.settings) if self.settings else []


def _word(value: object) -> str:
    """Write a value as one word of the command line, which is YAML."""
    text = yaml.safe_dump(value, default_flow_style=True, width=math.inf)
    return text.removesuffix("\n").removesuffix("\n...")


def read_study(path: str, overrides: Mapping[str, object]) -> Study:
    """Read a study's file.

    Arguments
    ---------
    path : str
        The file.
    overrides : Mapping[str, object]
        Keys of the study; all others join its ``keys``.

    Returns
    -------
    Study
        Corpora and seeds in their long form.

    Raises
    ------
    UserError
        A key that the study sets for each run, or a value without sense.
    """
    values, rest = load_study(path, overrides)
    if isinstance(values["seeds"], int):
        values["seeds"] = [*range(values["seeds"])]
    if isinstance(values["corpora"], list):
        values["corpora"] = dict.fromkeys(values["corpora"])
    for key, (kind, hint) in KINDS.items():
        value, needed = values[key], key not in MAY_BE_EMPTY
        if not isinstance(value, kind) or (needed and not value):
            raise UserError(f"{path}: {key} is {value!r}; {hint}.")
    if values["jobs"] < 1:
        raise UserError(f"{path}: jobs is {values['jobs']}; use 1 or more.")
    values["keys"] = values["keys"] | rest
    for key in sorted(OWN_KEYS.keys() & values["keys"].keys()):
        raise UserError(
            f"{path}: {key} is set for each run by the study; use "
            f"{OWN_KEYS[key]}."
        )
    study = Study(Path(path), values)
    for pair in study.directions:
        if len(pair) != 2 or not {*pair} <= values["corpora"].keys():
            raise UserError(
                f"{path}: the direction {list(pair)} is no pair of the corpora "
                f"{', '.join(values['corpora'])}."
            )
    if not study.directions:
        raise UserError(f"{path}: corpora: {KINDS['corpora'][1]}.")
    return study


def make_jobs(
    study: Study, train: ModuleType, run_opts: RunOptions
) -> list[Job]:
    """List all runs of a study, those of the first seed first.

    Arguments
    ---------
    study : Study
        What is to be run.
    train : ModuleType
        train.py.
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
    jobs: dict[str, Job] = {}
    for pair, encoder, system in itertools.product(
        study.directions, study["encoders"], study["systems"]
    ):
        for file, keys in _command_lines(study, encoder, pair, system):
            # The same bound serves all sources of a target.
            name = json.dumps([file, keys])
            if name not in jobs:
                jobs[name] = _job(
                    study, train, run_opts, system, encoder, file, keys
                )
    return [
        _with_seed(job, seed)
        for seed in study["seeds"]
        for job in jobs.values()
    ]


def _command_lines(
    study: Study, encoder: str, pair: tuple[str, ...], system: str
) -> Iterator[tuple[str, dict]]:
    """Give the file and keys of a system in a column, for each fold."""
    own = dict(study["systems"][system] or {})
    names = {"study": study["study"], "encoder": encoder, "system": system}
    names["file"] = own.pop("file", system)
    file = study.path.parent / study["hparams"].format(**names)
    source, target = pair
    if own.get("bound") == "within":
        source = target
    keys = {"source": source, "target": target, "seed": 0}
    for role in ("source", "target"):
        corpus = study["corpora"][keys[role]] or {}
        keys |= {f"{role}_{end}": value for end, value in corpus.items()}
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
    train: ModuleType,
    run_opts: RunOptions,
    system: str,
    encoder: str,
    file: str,
    keys: Mapping[str, object],
) -> Job:
    """Drop shared keys that the system has no use for; see what is decided."""
    own = study["systems"][system] or {}
    values = {key: value for key, value in keys.items() if key != "system"}
    plain, _ = load(file, values | {"anchor_layers": []})
    idle = train.idle_keys(plain) & study["keys"].keys() - own.keys()
    values = {key: value for key, value in values.items() if key not in idle}
    if plain.get("system") != system:
        values["system"] = system
    settings, anchored = None, system == REFERENCE
    analysed = is_analysed(plain["analysis_folder"], plain["selection_basis"])
    try:
        hparams, settings = train.load_run(file, run_opts, values)
        anchored |= hparams["anchor_layers"] in SELECTED
    except NotAnalysedError:
        anchored = True
    names = ("output_folder", "analysis_folder", "encoder_source")
    names += ("feature_folder", *MANIFESTS)
    places = {name: plain[name] for name in names}
    places["analysed"] = analysed
    return Job(system, encoder, file, values, places, anchored, settings)


def _with_seed(job: Job, seed: int) -> Job:
    """Give the run of another seed, whose folder bears its name."""
    folder = Path(job.places["output_folder"]).with_name(str(seed))
    settings = job.settings and job.settings | {"seed": seed}
    return replace(
        job,
        keys=job.keys | {"seed": seed},
        places=job.places | {"output_folder": str(folder)},
        settings=settings,
    )


def describe_plan(study: Study, jobs: Sequence[Job]) -> str:
    """Say what is done and what is to be done, and how long that takes.

    Arguments
    ---------
    study : Study
        The study.
    jobs : Sequence[Job]
        All its runs.

    Returns
    -------
    str
        Some lines.
    """
    done, to_do = [], []
    for job in jobs:
        (done if job.is_done() else to_do).append(job)
    by_system = Counter(job.system for job in to_do)
    totals = Counter(job.system for job in jobs)
    lines = [f"{study['title']}: {study.folder}", "", "system: done, to do"]
    lines += [
        f"  {system}: {total - by_system[system]}, {by_system[system]}"
        for system, total in totals.items()
    ]
    lines.append(f"{len(jobs)} runs: {len(done)} done, {len(to_do)} to do.")
    seconds = expected_seconds(to_do, done, study["jobs"])
    if to_do and seconds is not None:
        lines.append(
            f"They take about {timedelta(seconds=round(seconds))} with "
            f"{study['jobs']} at a time, going by those that are done."
        )
    elif to_do:
        lines.append("How long they take is known once the first is done.")
    size = expected_bytes(to_do, done)
    if study["keep_weights"] and size:
        lines.append(
            f"They leave about {size / 1e9:.1f} GB of weights and checkpoints; "
            "--keep_weights=False removes those of each run that is done."
        )
    return "\n".join(lines)


def expected_bytes(to_do: Sequence[Job], done: Sequence[Job]) -> float:
    """Estimate from a run of each system what the others leave in ``save``.

    Arguments
    ---------
    to_do, done : Sequence[Job]
        Runs.

    Returns
    -------
    float
        Bytes; 0 where nothing is known.
    """
    folders = {job.system: job.save_folder for job in done}
    sizes = {
        system: sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
        for system, folder in folders.items()
    }
    if not sizes:
        return 0.0
    typical = mean(sizes.values())
    return sum(sizes.get(job.system, typical) for job in to_do)


def expected_seconds(
    to_do: Sequence[Job], done: Sequence[Job], at_once: int
) -> float | None:
    """Estimate from the runs that are done how long the others take.

    Arguments
    ---------
    to_do, done : Sequence[Job]
        Runs.
    at_once : int
        How many run at the same time.

    Returns
    -------
    float | None
        Seconds; None where nothing is done yet.
    """
    seconds: dict[str, list[float]] = {}
    for job in done:
        found = json.loads(job.results.read_text(encoding="utf-8"))
        seconds.setdefault(job.system, []).append(found["seconds"] + STARTING)
    if not seconds:
        return None
    typical = mean(itertools.chain.from_iterable(seconds.values()))
    total = sum(mean(seconds.get(job.system, [typical])) for job in to_do)
    return total / at_once
