"""Commands in processes of their own, forked from one that has imported all."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import train
from lam_sb.__main__ import main as command
from lam_sb.console import console


@dataclass
class Ended:
    """How a process ended, and what it printed."""

    code: int
    said: str
    seconds: float

    @property
    def error(self) -> str:
        """Its one sentence, empty after success."""
        lines = [x for x in self.said.splitlines() if x.startswith("error: ")]
        return lines[-1] if lines else ""

    @property
    def is_clean(self) -> bool:
        """Whether it succeeded, or ended with one sentence and no traceback."""
        if "Traceback" in self.said:
            return False
        return self.code == 0 or (self.code == 2 and bool(self.error))


def fork(
    function: Callable, *given, before: Callable[[], None] = lambda: None
) -> Callable[[float], Ended]:
    """Start a command; what is returned waits for it, and kills it if late.

    Its patience begins when it is called.
    """
    # The file is read, and closed, with what is returned.
    start, output = time.monotonic(), tempfile.TemporaryFile()  # noqa: SIM115
    sys.stdout.flush()
    sys.stderr.flush()
    number = os.fork()
    if not number:
        _be_the_command(function, given, before, output.fileno())

    def wait(patience: float = 120.0) -> Ended:
        code, end = None, time.monotonic() + patience
        while code is None:
            done, status = os.waitpid(number, os.WNOHANG)
            if done:
                code = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > end:
                os.kill(number, signal.SIGKILL)
                os.waitpid(number, 0)
                code = 999  # it hung
            else:
                time.sleep(0.005)
        output.seek(0)
        said = output.read().decode(errors="replace")
        return Ended(code, said, time.monotonic() - start)

    wait.number = number
    return wait


def _be_the_command(
    function: Callable, given: Sequence, before: Callable, output: int
) -> None:
    code = 1
    try:
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout, sys.stderr = (  # not pytest's
            os.fdopen(number, "w", closefd=False) for number in (1, 2)
        )
        signal.signal(signal.SIGINT, signal.default_int_handler)
        before()
        with console(verbose=False):
            function(*given)
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):
                stream.flush()
        os._exit(code)


def until(happens: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


def run(arguments: Sequence[str], **options) -> Ended:
    """Give train.py these arguments, and wait."""
    return fork(train.main, [*arguments], **options)()


def call(*words: str, **options) -> Ended:
    """Give ``python -m lam_sb`` these words, and wait."""
    return fork(command, [*map(str, words)], **options)()
