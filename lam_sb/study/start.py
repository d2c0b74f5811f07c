"""Processes of runs, which share their imports where that is possible."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from lam_sb.errors import UserError


def start(script: Path, words: Sequence[str], log: Path) -> BaseProcess:
    """Start a script as ``python script words`` would, in its own session.

    Importing torch and SpeechBrain takes longer than many a run, so runs are
    forked from a process that has done it; not where there is a GPU, which a
    fork could not use.

    Arguments
    ---------
    script : Path
        A Python file.
    words : Sequence[str]
        Its arguments.
    log : Path
        Gets what it says.

    Returns
    -------
    BaseProcess
        It runs; a Ctrl-C does not reach it.

    Raises
    ------
    UserError
        The log cannot be written, or there is room for no process.
    """
    forks = not torch.cuda.is_available()
    context = multiprocessing.get_context("forkserver" if forks else "spawn")
    if forks:
        context.set_forkserver_preload(["lam_sb.study.imports"])
    process = context.Process(
        target=_run,
        args=(str(script), list(words), str(log), os.getcwd(), {**os.environ}),
    )
    try:
        log.write_text("", encoding="utf-8")
        process.start()
    except OSError as error:
        raise UserError(
            f"No run can be started with the log {log} ({error}); what is "
            "done is kept."
        ) from error
    return process


def _run(
    script: str,
    words: list[str],
    log: str,
    folder: str,
    environment: Mapping[str, str],
) -> None:
    """Be that script, with nothing of the process that this is forked from."""
    os.setsid()
    said = os.open(log, os.O_WRONLY | os.O_APPEND)
    for stream, file in ((0, os.open(os.devnull, os.O_RDONLY)), (1, said)):
        os.dup2(file, stream)
    os.dup2(said, 2)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [script, *words]
    sys.path.insert(0, str(Path(script).parent))
    runpy.run_path(script, run_name="__main__")
