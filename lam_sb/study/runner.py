"""Runs of a study as processes, some at a time."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from speechbrain.utils.logger import get_logger
from tqdm import tqdm

from lam_sb.errors import UserError
from lam_sb.run_folder import is_held
from lam_sb.study.job import Job, command_line

logger = get_logger(__name__)
POLL = 0.2  # seconds between looks at the processes
GRACE = 20.0  # seconds that a stopped process has to end by itself


@dataclass(frozen=True)
class Failure:
    """A run that gave no result.

    Arguments
    ---------
    command : str
        What runs it again.
    reason : str
        Last line of its log, or why it was not started.
    log : Path | None
        Its log, if it was started.
    """

    command: str
    reason: str
    log: Path | None = None


def run_jobs(
    jobs: Sequence[Job],
    at_once: int,
    options: Sequence[str],
    folder: Path,
    keep_weights: bool = True,
) -> list[Failure]:
    """Run train.py for each job; a failure stops no other.

    Stopped by Ctrl-C or a signal, it stops the runs at work, which save and
    resume when they are started again.

    Arguments
    ---------
    jobs : Sequence[Job]
        In their order.
    at_once : int
        How many run at the same time.
    options : Sequence[str]
        SpeechBrain's options for all.
    folder : Path
        Gets a log for each run.
    keep_weights : bool
        False removes the weights of a run that is done.

    Returns
    -------
    list[Failure]
        Runs that gave no result.

    Raises
    ------
    KeyboardInterrupt
        Ctrl-C or, within `lam_sb.console.console`, SIGTERM.
    UserError
        No process or log, on a full disk for example.
    """
    folder.mkdir(parents=True, exist_ok=True)
    waiting, failures = list(jobs), []
    running: dict[subprocess.Popen, tuple[Job, Path]] = {}
    with tqdm(total=len(jobs), unit="run", disable=not jobs) as bar:
        try:
            while waiting or running:
                for job in _free(waiting):
                    if len(running) == at_once:
                        break
                    waiting.remove(job)
                    if job.is_done():  # by another process, meanwhile
                        bar.update()
                        continue
                    log = folder / f"{job.name}.log"
                    running[_start(job, options, log)] = job, log
                time.sleep(POLL)
                for process in [p for p in running if p.poll() is not None]:
                    job, log = running.pop(process)
                    if process.returncode and (
                        is_held(job.folder) or job.is_done()
                    ):
                        waiting.append(job)  # another was first
                        continue
                    bar.update()
                    if process.returncode or not job.is_done():
                        failures.append(make_failure(job, options, log))
                        said = f"failed: {failures[-1].reason} ({log})"
                        bar.write(said, file=sys.stderr)
                    elif not keep_weights:
                        shutil.rmtree(job.save_folder, ignore_errors=True)
        finally:
            _stop(running)
    return failures


def _free(jobs: Sequence[Job]) -> Iterator[Job]:
    """Those that no other process is at work on, a study's or an orphan's."""
    for job in [*jobs]:
        if not is_held(job.folder):
            yield job
            continue
        logger.warning_once(
            "Another process is at work on runs of this study: they are waited "
            "for, and done here only if they are left unfinished."
        )


def _start(job: Job, options: Sequence[str], log: Path) -> subprocess.Popen:
    """Start a run in a session of its own, so that Ctrl-C is ours to handle."""
    try:
        log.write_text("")
        with open(log, "a") as file:  # an orphan may still write to it
            return subprocess.Popen(
                [sys.executable, job.script, *job.arguments, *options],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
    except OSError as error:
        raise UserError(
            f"No run can be started with the log {log} ({error}); what is "
            "done is kept."
        ) from error


def make_failure(
    job: Job, options: Sequence[str], log: Path, reason: str = ""
) -> Failure:
    """Say what runs a job again, and why; by its log if no reason is given."""
    return Failure(command_line(job, options), reason or last_line(log), log)


def last_line(log: Path) -> str:
    """Last line of a log, which says how it ended."""
    text = ""
    if log.is_file():
        text = log.read_text(encoding="utf-8", errors="replace")
    said = [line.strip() for line in text.split("\n") if line.strip()]
    return said[-1] if said else "it said nothing"


def _stop(running: dict[subprocess.Popen, tuple[Job, Path]]) -> None:
    """End what still runs; it saves a checkpoint to go on from."""
    for process in running:
        process.terminate()
    for process in running:
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
