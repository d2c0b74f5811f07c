"""A process that a job of a cluster starts; quick to import on its node."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field

from submitit.helpers import DelayedSubmission

from lam_sb.stopping import SIGNALS, STATUS


@dataclass(eq=False)
class Command:
    """A process that a job starts; submitit calls it on its node.

    Arguments
    ---------
    words : list[str]
        The command line, without python.
    log : str
        Path of what it says.
    requeue : bool
        Whether it goes on in a new job where its time is over.
    """

    words: list[str]
    log: str
    requeue: bool
    process: subprocess.Popen | None = field(default=None, init=False)

    def __call__(self) -> int:
        """Run it to its end, and give its exit status."""
        with open(self.log, "a", encoding="utf-8") as file:
            self.process = subprocess.Popen(
                [sys.executable, *self.words],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        status = self.process.wait()
        while status == STATUS or -status in SIGNALS:
            signal.pause()  # who stopped it ends the job, or queues it again
        return status

    def checkpoint(self) -> DelayedSubmission | None:
        """Let it save before its time is over; give what is to go on."""
        if self.process is not None:
            self.process.send_signal(signal.SIGUSR1)
            # The signal may have come in the midst of the other `wait`, whose
            # lock this one's would wait for.
            with contextlib.suppress(ChildProcessError):
                pid = self.process.pid
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        if not self.requeue:
            return None
        again = Command(self.words, self.log, self.requeue)
        return DelayedSubmission(again)
