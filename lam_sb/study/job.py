"""One run of a study: a command of train.py, done when its result is there."""

from __future__ import annotations

import json
import math
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import yaml

from lam_sb.inputs import PARTS
from lam_sb.run_folder import (
    differing_settings,
    settings_hash,
)


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
        return Path(self.paths["output_folder"]) / "results.json"

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
        return self.wants_analysis and not self.is_analysed

    @property
    def inputs(self) -> str:
        """What it reads, in words; equal for runs on the same features."""
        names = ("encoder_source", "feature_folder", *PARTS)
        return " ".join(str(self.paths[name]) for name in names)

    @cached_property
    def settings_hash(self) -> str | None:
        """What its results.json will bear; None before the analysis."""
        return self.settings and settings_hash(self.settings)

    def is_done(self) -> bool:
        """Whether its result is there, made with its settings."""
        if self.settings_hash is None:
            return False
        try:
            results = json.loads(self.results.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return results.get("settings_hash") == self.settings_hash

    def differing(self) -> list[str]:
        """Say in what its folder was made with other settings."""
        path = self.results.with_name("settings.yaml")
        return differing_settings(path, self.settings) if self.settings else []


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
