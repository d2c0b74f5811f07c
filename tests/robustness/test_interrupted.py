"""A run that is killed, stopped, or finds its disk full ends as unbroken."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import HPARAMS, SMALL
from forked import Ended, call, command, fork, run, until
from runs import folder_of, outcome
from small_studies import outcomes, study_words, tables

import train
from lam_sb.features.encoders import FrozenEncoder

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.copyfile")


def at_change(folder: Path, number: int, act: Callable, log: Path) -> Callable:
    """Give what does something before a process changes its folder again.

    Before the change of this number, and each after it; log counts them all.
    """

    def install() -> None:
        seen = [0]

        def hook(event: str, given: tuple) -> None:
            opened = event == "open" and isinstance(given[2], int)
            is_change = event in CHANGES or (opened and given[2] & WRITES)
            if not is_change or str(folder) not in str(given[:2]):
                return
            seen[0] += 1
            if str(log) not in str(given[:2]):
                os.write(counted, b".")
            if seen[0] >= number:
                act(given[0])

        counted = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        sys.addaudithook(hook)

    return install


def kill(_path: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fill(path: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def lock_up(path: object) -> None:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory, corpora, wavlm):
    """Command in a folder, its outcome, its changes of the folder, seconds."""
    root = tmp_path_factory.mktemp("unbroken")
    log = tmp_path_factory.mktemp("log") / "count"

    def words(root: Path) -> list[str]:
        folders = {
            **{"data_folder": corpora, "encoder_source": wavlm},
            **{
                "feature_folder": root / "features",
                "output_root": root / "out",
            },
        }
        given = [f"--{k}={v}" for k, v in (SMALL | folders).items()]
        return [str(HPARAMS / "small/lam_gl.yaml"), "--noprogressbar", *given]

    before = at_change(root, 10**9, kill, log)
    ended = run(words(root), before=before)
    assert ended.code == 0
    found = outcome(folder_of(words(root)))
    return words, found, log.stat().st_size, ended.seconds


def check_goes_on(words: Callable, root: Path, expected: tuple) -> None:
    """The same command ends as unbroken, and leaves nothing half-written."""
    ended = run(words(root))
    assert ended.code == 0, ended.said
    results, rows = outcome(folder_of(words(root)))
    assert rows == expected[1]
    for key in ("files", "checksum"):
        results.pop(key, None)
    assert results == {k: v for k, v in expected[0].items() if k in results}
    left = [p for p in root.rglob("*.tmp") if "features" not in str(p)]
    assert not left
    saved = {p.name for p in (folder_of(words(root)) / "save").iterdir()}
    assert saved == {
        "finished.json",
        "inference.safetensors",
        "tested.safetensors",
    }


@pytest.mark.parametrize(
    "tries", [5, pytest.param(131, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("act", [kill, fill, lock_up])
def test_at_any_change_of_a_file(tries, act, unbroken, tmp_path):
    words, expected, changes, _ = unbroken
    draw = random.Random(tries)
    numbers = [*range(1, changes + 1)]
    for number in draw.sample(numbers, min(tries, len(numbers))):
        root = tmp_path / str(number)
        root.mkdir()
        before = at_change(root, number, act, tmp_path / "count")
        ended = run(words(root), before=before)
        if act is kill:
            assert ended.code == -signal.SIGKILL
        else:
            assert ended.is_clean, (number, ended.said)
        check_goes_on(words, root, expected)
        shutil.rmtree(root)


@pytest.mark.parametrize("tries", [2, pytest.param(25, marks=pytest.mark.slow)])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_at_any_moment(tries, number, unbroken, tmp_path):
    words, expected, _, seconds = unbroken
    draw, codes = random.Random(tries), set()
    for n in range(tries):
        root = tmp_path / str(n)
        wait = fork(train.main, words(root))
        until(root.exists)  # its handlers stand
        time.sleep((n + draw.random()) / tries * seconds * 0.6)
        sent = time.monotonic()
        os.kill(wait.number, number)
        ended = wait()
        assert time.monotonic() - sent < 10
        assert "Traceback" not in ended.said, ended.said
        expected_code = 75 if number == signal.SIGTERM else 130
        assert ended.code in (0, expected_code), ended.said
        codes.add(ended.code)
        check_goes_on(words, root, expected)
        shutil.rmtree(root)
    assert codes - {0}  # some came in time


def test_an_encoder_that_takes_long_is_not_waited_for(unbroken, tmp_path):
    words, expected, *_ = unbroken
    mark = tmp_path / "mark"

    def slow_down() -> None:
        def sleep(*_given):
            mark.touch()
            time.sleep(60)

        FrozenEncoder.forward = sleep  # of this process alone

    wait = fork(train.main, words(tmp_path), before=slow_down)
    until(mark.exists)
    os.kill(wait.number, signal.SIGTERM)
    ended = wait(patience=50)
    assert ended.code == 75, ended.said
    check_goes_on(words, tmp_path, expected)


def test_a_long_training_ends_after_a_step(unbroken, tmp_path):
    words, *_ = unbroken
    endless = ["--number_of_epochs=1000000", "--max_steps=1000000"]
    wait = fork(train.main, [*words(tmp_path), *endless])
    until(lambda: [*tmp_path.rglob("train_log.txt")])
    os.kill(wait.number, signal.SIGTERM)
    ended = wait(patience=60)
    assert ended.code == 75, ended.said
    assert list(tmp_path.rglob("CKPT*/model.ckpt"))


@pytest.mark.slow
def test_a_study_killed_at_any_moment(tmp_path, corpora, wavlm):
    """With all its runs, or alone, so that they go on as orphans."""
    keys = {"systems": "[layer_atn, lam_gl]"}
    whole = tmp_path / "whole"
    whole.mkdir()
    ended = call(*study_words(whole, corpora, wavlm, **keys))
    assert ended.code == 0, ended.said
    expected = tables(whole), outcomes(whole)
    draw = random.Random(0)
    for n in range(12):
        root = tmp_path / str(n)
        root.mkdir()
        given = study_words(root, corpora, wavlm, **keys)
        wait = fork(command, given, before=os.setsid)
        time.sleep(draw.uniform(0.1, 0.95 * ended.seconds))
        stop = os.kill if n % 2 else os.killpg
        with suppress(ProcessLookupError):  # it was done
            stop(wait.number, signal.SIGKILL)
        wait()
        again = call(*given)
        assert again.code == 0, again.said
        assert (tables(root), outcomes(root)) == expected
        assert not list((root / "out").rglob("*.tmp"))
        shutil.rmtree(root)


@pytest.mark.slow
@pytest.mark.parametrize("act", [kill, fill])
def test_an_export_at_any_change_of_a_file(act, unbroken, tmp_path):
    words, *_ = unbroken
    root = tmp_path / "run"
    root.mkdir()
    assert run(words(root)).code == 0
    given = ["export", str(folder_of(words(root)))]

    def export(folder: Path, number: int) -> Ended:
        before = at_change(folder.parent, number, act, tmp_path / "count")
        return fork(command, [*given, str(folder)], before=before)()

    assert export(tmp_path / "0/model", 10**9).code == 0
    changes = (tmp_path / "count").stat().st_size
    expected = _bytes_of(tmp_path / "0/model")
    for number in range(1, changes + 1):
        folder = tmp_path / f"{number}/model"
        ended = export(folder, number)
        assert ended.code == -signal.SIGKILL if act is kill else ended.is_clean
        assert call(*given, folder).code == 0
        assert _bytes_of(folder) == expected
        left = {path.name for path in folder.parent.iterdir()}
        assert left == {"model"}


def _bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}
