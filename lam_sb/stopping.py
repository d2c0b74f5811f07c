"""Signals with which a cluster ends a job, so that nothing is lost."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
STATUS = 75  # EX_TEMPFAIL of sysexits.h: the same command goes on


class Stopped(KeyboardInterrupt):
    """A signal asks the command to end."""


class _State:
    asked = False
    deferred = False


@contextmanager
def signals_stop() -> Iterator[None]:
    """Let SIGTERM, SIGUSR1 and SIGUSR2 raise `Stopped`.

    The first does; SLURM may send one to a job and to its processes.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        first, _State.asked = not _State.asked, True
        if first and not _State.deferred:
            raise Stopped

    before = {number: signal.signal(number, stop) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _State.asked = False


@contextmanager
def stop_deferred() -> Iterator[None]:
    """Leave it to `stop_asked` to find a place to stop; the end is one.

    Raises
    ------
    Stopped
        At the end, if it is asked for.
    """
    _State.deferred = True
    try:
        yield
    finally:
        _State.deferred = False
    if _State.asked:
        raise Stopped


def stop_asked() -> bool:
    """Whether a signal came that has not stopped the command yet."""
    return _State.asked
