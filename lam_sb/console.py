"""What a command prints: little, and a user's own mistakes in one sentence."""

from __future__ import annotations

import logging
import logging.config
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import distributions
from pathlib import Path
from types import FrameType
from typing import NoReturn, TypeVar

import yaml

from lam_sb.errors import UserError
from lam_sb.stopping import STATUS, Stopped, signals_stop

T = TypeVar("T")
WRONG = 2  # as argparse ends
LOG_CONFIG = Path(__file__).with_name("log-config.yaml")
OWN_LOGGERS = ("lam_sb", "train", "__main__")
# Warnings that tell a user nothing: optional packages, weights that are frozen.
MUTED = (
    "py.warnings",
    "speechbrain.integrations.huggingface",
    "speechbrain.utils.seed",
    "speechbrain.utils.train_logger",
)


class ConsoleFilter(logging.Filter):
    """Let through what lam_sb says, and warnings and errors of others."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a record is printed."""
        if record.name.split(".")[0] in OWN_LOGGERS:
            return True
        least = logging.ERROR if record.name.startswith(MUTED) else 30
        return record.levelno >= least


def log_to(folder: Path, verbose: bool, script: str) -> None:
    """Log into a run's folder, in SpeechBrain's format.

    Arguments
    ---------
    folder : Path
        Gets log.txt, env.log and a copy of the script; made if need be.
    verbose : bool
        Whether the console shows all that log.txt holds.
    script : str
        File of the program that runs.
    """
    import speechbrain as sb  # slow to import
    from speechbrain.core import DEFAULT_LOG_CONFIG
    from speechbrain.utils.distributed import if_main_process

    try:
        sb.create_experiment_directory(
            folder,
            log_config=DEFAULT_LOG_CONFIG if verbose else str(LOG_CONFIG),
            save_env_desc=False,  # by pip, which takes seconds
        )
    except ValueError as error:  # of logging, where log.txt cannot be opened
        raise error.__cause__ or error from None
    if if_main_process():
        # SpeechBrain copies the module that calls it, which is this one.
        (folder / Path(__file__).name).unlink(missing_ok=True)
        shutil.copy(script, folder)
        (folder / "env.log").write_text(_environment(), encoding="utf-8")


def _environment() -> str:
    """Say which packages and Python a run was made with."""
    packages = sorted(
        f"{package.name}=={package.version}" for package in distributions()
    )
    return "\n".join([f"Python {sys.version}", "", *packages, ""])


def begin(first: Callable[[Sequence[str]], T], argv: Sequence[str]) -> T:
    """Do what is quick before what is slow, the import of torch.

    Until `console` is entered, Ctrl-C ends the command with one line: modules
    of torch's kind may catch what is raised in them.

    Arguments
    ---------
    first : Callable[[Sequence[str]], T]
        Raises a `UserError` where the command line is wrong.
    argv : Sequence[str]
        What it is given.

    Raises
    ------
    SystemExit
        With code 2 and a message after a `UserError`.
    """
    signal.signal(signal.SIGINT, _stop)
    try:
        return first(argv)
    except UserError as error:
        _end(str(error))
    except OSError as error:
        _end(_say_disk(error))


def _end(message: str) -> NoReturn:
    """End with one sentence; without, where nobody reads it any more."""
    with suppress(OSError):
        sys.stdout.flush()
        print(f"error: {message}", file=sys.stderr, flush=True)
    sys.exit(WRONG)


def _say_disk(error: OSError) -> str:
    """Say which file or folder the system refused."""
    names = (error.filename, error.filename2)
    where = " and ".join(str(name) for name in names if name is not None)
    reason = error.strerror or str(error) or type(error).__name__
    return (
        f"{where or 'A file'} cannot be read or written: {reason}. What is "
        "done is kept; once that is mended, the same command goes on."
    )


def _stop(number: int, frame: FrameType | None) -> None:
    print("Stopped before anything was done.", file=sys.stderr, flush=True)
    os._exit(130)


def say(lines: Sequence[str]) -> None:
    """Print what a run ends with; log.txt holds it too."""
    for line in lines:
        print(line)
        logging.getLogger(__name__).debug(line)


@contextmanager
def console(verbose: bool) -> Iterator[None]:
    """Log to the console alone; end on an error or a signal with one sentence.

    Arguments
    ---------
    verbose : bool
        Whether to show everything, warnings of other packages too.

    Raises
    ------
    SystemExit
        With code 2 and a message after a `UserError`, or where a disk is full
        or a file out of reach; with 130 after Ctrl-C, with 75 after a signal
        of a cluster.
    """
    if signal.getsignal(signal.SIGINT) is _stop:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not verbose:
        config = yaml.safe_load(LOG_CONFIG.read_text(encoding="utf-8"))
        del config["handlers"]["file_handler"]
        config["root"]["handlers"] = ["console"]
        logging.config.dictConfig(config)
        logging.captureWarnings(True)
    logging.raiseExceptions = False  # a full disk lacks lines of a log, no more
    try:
        with signals_stop():
            yield
    except UserError as error:
        _end(str(error))
    except OSError as error:
        logging.getLogger(__name__).debug("", exc_info=True)
        _end(_say_disk(error))
    except KeyboardInterrupt as stop:
        print("Stopped; the same command goes on from here.", file=sys.stderr)
        sys.exit(STATUS if isinstance(stop, Stopped) else 130)
