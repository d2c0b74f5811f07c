"""The part of ``reproduce`` that jobs of a cluster do."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from lam_sb.study.data import is_encoded
from lam_sb.study.grid import Study
from lam_sb.study.job import Job
from lam_sb.study.runner import Failure, make_failure
from lam_sb.study.slurm import Command, run_commands


def prepare_on_cluster(
    commands: Mapping[tuple[str, str], Job],
    options: Sequence[str],
    study: Study,
) -> dict[str, str]:
    """Encode in jobs what the stores lack, then analyse in others.

    Arguments
    ---------
    commands : Mapping[tuple[str, str], Job]
        By command of ``python -m lam_sb`` and what it makes, a run with its
        keys.
    options : Sequence[str]
        SpeechBrain's options for all.
    study : Study
        The study.

    Returns
    -------
    dict[str, str]
        What is wrong, by what was to be made.
    """
    errors = {}
    for turn in _turns(commands):
        names, to_do = {}, []
        for command, name, job in turn:
            if command == "extract" and is_encoded(job):
                continue
            log = str(_logs(study) / f"{command}-{job.name}.log")
            names[log] = name
            words = ["-m", "lam_sb", command, *job.arguments, *options]
            to_do.append(Command(words, log, study["requeue"]))
        for log, problem in _run(to_do, study):
            if problem is not None:
                errors[names[log]] = f"{problem} ({log})"
    return errors


def _turns(
    commands: Mapping[tuple[str, str], Job],
) -> list[list[tuple[str, str, Job]]]:
    """Part what can be done at once: encoding in turns, then all analyses.

    Jobs that fill one store at the same time would both encode what they share.
    """
    turns: dict[tuple[bool, int], list] = {}
    filling = Counter()
    for (command, name), job in commands.items():
        turn = True, 0
        if command == "extract":
            store = job.paths["encoder_source"], job.paths["feature_folder"]
            turn = False, filling[store]
            filling[store] += 1
        turns.setdefault(turn, []).append((command, name, job))
    return [turns[turn] for turn in sorted(turns)]


def run_on_cluster(
    jobs: Sequence[Job], options: Sequence[str], study: Study
) -> list[Failure]:
    """Run train.py for each job of a study in a job of the cluster.

    Arguments
    ---------
    jobs : Sequence[Job]
        In their order.
    options : Sequence[str]
        SpeechBrain's options for all.
    study : Study
        The study.

    Returns
    -------
    list[Failure]
        Runs that gave no result.
    """
    by_log = {str(_logs(study) / f"{job.name}.log"): job for job in jobs}
    commands = [
        Command(
            [str(job.script), *job.arguments, *options], log, study["requeue"]
        )
        for log, job in by_log.items()
    ]
    failures = []
    for log, problem in _run(commands, study):
        job = by_log[log]
        if not job.is_done():
            failure = make_failure(job, options, Path(log), problem or "")
            failures.append(failure)
        elif not study["keep_weights"]:
            shutil.rmtree(job.save_folder, ignore_errors=True)
    return failures


def _logs(study: Study) -> Path:
    return study.folder / "logs"


def _run(
    commands: Sequence[Command], study: Study
) -> Iterator[tuple[str, str | None]]:
    """Submit commands, show how many are done, and say which failed."""
    if not commands:
        return
    with tqdm(total=len(commands), unit="job") as bar:
        for log, problem in run_commands(
            commands, study, _logs(study) / "slurm"
        ):
            bar.update()
            if problem is not None:
                bar.write(f"failed: {problem} ({log})")
            yield log, problem
