"""Processes of a study as jobs of a SLURM cluster."""

from __future__ import annotations

import getpass
import logging
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import submitit

from lam_sb.errors import UserError
from lam_sb.study.command import Command
from lam_sb.study.grid import Study
from lam_sb.study.runner import last_line

POLL = 2.0  # seconds between looks at what the jobs left
LOOK = 20.0  # seconds between looks at the queue
SAVE_SECONDS = 120  # that a job has to save before its time is over
UNLIMITED = 10**6  # times that a job is queued again after its time


def run_commands(
    commands: Sequence[Command], study: Study, folder: Path
) -> Iterator[tuple[str, str | None]]:
    """Submit commands as an array of jobs, and wait for them.

    Those that wait or run already, of a study that was stopped, are not
    submitted again. The jobs outlive this process.

    Arguments
    ---------
    commands : Sequence[Command]
        Each with a log of its own.
    study : Study
        Says what the jobs need, and how many run at the same time.
    folder : Path
        For what SLURM and submitit write; all nodes see it.

    Yields
    ------
    log : str
        That of a command whose job is over.
    problem : str | None
        Why it failed, if it did.

    Raises
    ------
    UserError
        SLURM is not there or refuses the jobs.
    """
    # It warns of each look at clusters without accounting.
    logging.getLogger("submitit").setLevel(logging.ERROR)
    found = _find_queued(folder)
    jobs = {c.log: found[c.log] for c in commands if c.log in found}
    new = [c for c in commands if c.log not in jobs]
    if jobs:
        print(f"{len(jobs)} jobs are in SLURM's queue already.", flush=True)
    if new:
        jobs |= _submit(new, study, folder)
        numbers = _numbers(jobs[c.log] for c in new)
        print(f"{len(new)} jobs submitted to SLURM: {numbers}", flush=True)
    try:
        yield from _wait(jobs)
    finally:
        if jobs:
            print(
                f"{len(jobs)} jobs stay in SLURM's queue; the same command "
                f"waits for them, scancel {_numbers(jobs.values())} ends them.",
                file=sys.stderr,
            )


def _numbers(jobs: Iterable[submitit.Job]) -> str:
    """Numbers of jobs, of arrays as a whole."""
    return " ".join(dict.fromkeys(j.job_id.partition("_")[0] for j in jobs))


def _queued() -> set[str]:
    """Ids of the user's jobs that wait or run.

    Raises
    ------
    UserError
        SLURM does not answer.
    """
    words = ["squeue", "--array", "--noheader", "--format=%i"]
    try:
        done = subprocess.run(
            [*words, f"--user={getpass.getuser()}"],
            capture_output=True,
            check=True,
            text=True,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", None) or error
        raise UserError(
            f"cluster: slurm: squeue does not answer ({str(said).strip()}); "
            "start this where SLURM's commands work, or use --cluster local."
        ) from error
    return set(done.stdout.split())


def _find_queued(folder: Path) -> dict[str, submitit.Job]:
    """Jobs of this folder that wait or run, by their command's log."""
    jobs = {}
    for number in _queued():
        job = submitit.SlurmJob(folder, number)
        if job.paths.submitted_pickle.is_file():
            jobs[job.submission().function.log] = job
    return jobs


def _submit(
    commands: Sequence[Command], study: Study, folder: Path
) -> dict[str, submitit.Job]:
    """Submit commands as one array."""
    for command in commands:
        Path(command.log).parent.mkdir(parents=True, exist_ok=True)
        Path(command.log).unlink(missing_ok=True)
    again = "requeue" if study["requeue"] else "no-requeue"
    try:
        executor = submitit.AutoExecutor(
            folder,
            cluster=study["cluster"],
            slurm_max_num_timeout=UNLIMITED,
        )
        executor.update_parameters(
            name=study["study"],
            timeout_min=study["minutes"],
            gpus_per_node=study["gpus"] or None,
            cpus_per_task=study["cpus"],
            slurm_partition=study["partition"],
            slurm_array_parallelism=study["jobs"],
            slurm_signal_delay_s=min(SAVE_SECONDS, 30 * study["minutes"]),
            slurm_additional_parameters={again: True} | study["sbatch"],
        )
        with executor.batch():
            jobs = [executor.submit(command) for command in commands]
    except RuntimeError as error:
        raise UserError(
            f"cluster: slurm: the jobs cannot be submitted "
            f"({' '.join(str(error).split())}); mend partition, gpus, cpus, "
            "minutes or sbatch, or use --cluster local."
        ) from error
    return {c.log: job for c, job in zip(commands, jobs, strict=True)}


def _wait(jobs: dict[str, submitit.Job]) -> Iterator[tuple[str, str | None]]:
    """Take out each job that is over.

    It left a status, or is twice not in the queue: files of nodes come late.
    """
    looked, gone, lost = time.monotonic(), set(), set()
    while jobs:
        time.sleep(POLL)
        if time.monotonic() - looked > LOOK:
            looked = time.monotonic()
            try:
                there = _queued()
            except UserError:  # too busy to answer
                there = {job.job_id for job in jobs.values()}
            missing = {job.job_id for job in jobs.values()} - there
            gone, lost = missing, gone & missing
        for log, job in list(jobs.items()):
            if job.paths.result_pickle.exists() or job.job_id in lost:
                del jobs[log]
                yield log, _problem(log, job)


def _problem(log: str, job: submitit.Job) -> str | None:
    """Say why a job that is over failed, if it did."""
    if not job.paths.result_pickle.exists():
        said = last_line(job.paths.stderr)
        return f"SLURM ended job {job.job_id}: {said}"
    if job.exception() is None and job.result() == 0:
        return None
    return last_line(Path(log))
