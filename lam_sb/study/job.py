"""One run of a study: a command of train.py, done when its result is there."""

from __future__ import annotations

import math
import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

import yaml

from lam_sb.corpora.names import names_of
from lam_sb.evaluation.results import (
    finished_result,
    other_length,
    results_paths,
)
from lam_sb.inputs import PARTS
from lam_sb.run_folder import (
    changed_data,
    differing_settings,
    held_folder,
    read_settings,
    settings_hash,
)
from lam_sb.training.checkpoints import has_checkpoint

SET_ASIDE = re.compile(r"_old\d+$")  # ends the name of a folder of old data

PATH_KEYS = ("_folder", "output_root")  # end the names of keys that are paths


@dataclass(frozen=True, eq=False)
class Job:
    """One run of train.py.

    Arguments
    ---------
    system, encoder : str
        Its names in the study.
    script : Path
        train.py.
    file : str
        YAML file.
    keys : dict
        What the command line sets.
    paths : dict
        Values of the YAML's keys that say what the run reads and where it
        leaves its results.
    wants_analysis : bool
        Whether its anchors, or the report, are those of an analysis.
    is_analysed : bool
        Whether that analysis is there.
    settings : dict | None
        What decides the result; None before that analysis.
    values : dict
        Values of the YAML's keys that say which rows and features it reads,
        and how far to train.
    """

    system: str
    encoder: str
    script: Path
    file: str
    keys: dict
    paths: dict
    wants_analysis: bool
    is_analysed: bool
    settings: dict | None
    values: dict = field(default_factory=dict)

    @property
    def arguments(self) -> list[str]:
        """Command line of train.py, without SpeechBrain's options."""
        return [
            self.file,
            *(f"--{key}={_word(value)}" for key, value in self.keys.items()),
        ]

    def from_anywhere(self) -> Job:
        """Give the same run with whole paths, for any working folder."""
        keys = {
            key: os.path.abspath(value) if key.endswith(PATH_KEYS) else value
            for key, value in self.keys.items()
        }
        return replace(self, file=os.path.abspath(self.file), keys=keys)

    @property
    def folder(self) -> Path:
        """What it leaves its results in."""
        return Path(self.paths["output_folder"])

    @property
    def results(self) -> list[Path]:
        """Path of results.json, of each target one."""
        targets = names_of(self.keys["target"])
        return [*results_paths(self.folder, targets).values()]

    @property
    def save_folder(self) -> Path:
        """Folder of its weights and, until it is done, its checkpoint."""
        return self.folder / "save"

    @property
    def name(self) -> str:
        """Name of its log."""
        names = ("experiment", "source", "target", "seed")
        return "-".join(str(self.keys[n]) for n in names).replace("/", "-")

    @property
    def needs_analysis(self) -> bool:
        """Whether it is still without the analysis that it needs."""
        return self.wants_analysis and not self.is_analysed

    @property
    def inputs(self) -> str:
        """What it reads, in words; equal for runs on the same features."""
        names = ("encoder_source", "feature_folder", *PARTS)
        return " ".join(str(self.paths[name]) for name in names)

    def has_left_something(self) -> bool:
        """Whether an earlier run, or the analysis, left what may be old."""
        return self.is_analysed or self._settings_file.is_file()

    def is_done(self) -> bool:
        """Whether its results are there, of its settings, data and length.

        Data that are not known are taken to be those of the results.
        """
        return all(
            there and not other_length(there, self.values)
            for there in self._finished()
        )

    def _finished(self) -> list[dict]:
        """Read its results, empty if not made with its settings to the end."""
        if self.settings is None:
            return [{}]
        if not any(path.exists() for path in self.results):
            return [{} for _ in self.results]
        data = read_settings(self._settings_file).get("data")
        known = {"data": data} if data else {}
        now = settings_hash(known | self.settings)
        found = [finished_result(path, now) for path in self.results]
        # Not those that were only looked at.
        return [there if there.get("finished", True) else {} for there in found]

    @property
    def _settings_file(self) -> Path:
        return self.folder / "settings.yaml"

    def differing(self) -> list[str]:
        """Say in what its folder was made with other settings."""
        if self.settings is None:
            return []
        differing = differing_settings(self._settings_file, self.settings)
        if not has_checkpoint(self.save_folder):  # nothing to train on from
            length = other_length(self._finished()[0], self.values)
            differing += [
                f"{key}: {then} there, {self.values[key]} now"
                for key, then in length.items()
            ]
        return differing

    def changed(self) -> list[str]:
        """Say in what its folder was made on other data."""
        if self.settings is None:
            return []
        return changed_data(self._settings_file, self.settings)

    @property
    def kept_in(self) -> Path:
        """Where its folder is kept when it is run anew on other data."""
        folder = self.folder
        free = (folder.with_name(f"{folder.name}_old{n}") for n in count(1))
        return next(path for path in free if not path.exists())

    def set_aside(self) -> None:
        """Keep what it left beside its folder.

        Raises
        ------
        UserError
            A run is at work there.
        """
        with held_folder(self.folder):
            self.folder.rename(self.kept_in)


def _word(value: object) -> str:
    """Write a value as one word of the command line, which is YAML."""
    text = yaml.safe_dump(value, default_flow_style=True, width=math.inf)
    return text.removesuffix("\n").removesuffix("\n...")


def command_line(job: Job, options: Sequence[str] = ()) -> str:
    """Command that a user would give for a run, one line for the shell.

    Arguments
    ---------
    job : Job
        The run.
    options : Sequence[str]
        SpeechBrain's options.

    Returns
    -------
    str
        train.py relative to the working folder, where it lies below it.
    """
    script = os.path.relpath(job.script)
    script = str(job.script) if script.startswith("..") else script
    return shlex.join(["python", script, *job.arguments, *options])
