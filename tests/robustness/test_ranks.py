"""Training in two processes that is killed ends as if unbroken."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from conftest import HPARAMS, ROOT, SMALL
from forked import until
from runs import folder_of, outcome

LAUNCHER = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")


def start(words: list[str]) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, *LAUNCHER, str(ROOT / "train.py"), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def kill_all(name: str) -> None:
    """Kill all processes of a command; torchrun's have their own sessions."""
    found = True
    while found:
        paths = Path("/proc").glob("[0-9]*/cmdline")
        found = [p for p in paths if name in _text_of(p)]
        for path in found:
            with suppress(ProcessLookupError):
                os.kill(int(path.parent.name), signal.SIGKILL)
        time.sleep(0.1)


def _text_of(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="replace")
    except OSError:
        return ""  # it has ended


def holds_something(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


@pytest.mark.slow
def test_killed_at_any_moment(tmp_path, corpora, wavlm):
    def words(name: str) -> list[str]:
        keys = SMALL | {
            **{"data_folder": corpora, "encoder_source": wavlm},
            **{"feature_folder": tmp_path / name / "features"},
            **{"output_root": tmp_path / name / "out", "number_of_epochs": 30},
        }
        given = [f"--{key}={value}" for key, value in keys.items()]
        return [str(HPARAMS / "small/lam_gl.yaml"), "--noprogressbar", *given]

    def finish(name: str) -> tuple:
        process = start(words(name))
        said, _ = process.communicate(timeout=240)
        assert process.returncode == 0, said[-2000:]
        results, rows = outcome(folder_of(words(name)))
        results.pop("files")  # settings.yaml names the store's folder
        return results, rows

    begin = time.monotonic()
    expected = finish("whole")
    span = time.monotonic() - begin
    draw = random.Random(0)
    for n in range(10):
        process = start(words(str(n)))
        if n % 2:
            weights = folder_of(words(str(n))) / "save/weights"
            until(partial(holds_something, weights), 120)
        else:
            time.sleep(draw.uniform(0.35, 0.98) * span)
        kill_all(f"{tmp_path}/{n}/")
        process.communicate(timeout=60)
        assert finish(str(n)) == expected
