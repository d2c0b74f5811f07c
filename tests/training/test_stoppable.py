"""A signal of a cluster ends a run after its step, and it goes on."""

from __future__ import annotations

import os
import signal

import pytest
from runs import folder_of, outcome, run, same_weights

import train
from lam_sb.console import console
from lam_sb.stopping import STATUS


@pytest.fixture
def unbroken_run(arguments, tmp_path_factory):
    """Folder of a run of two epochs of five steps; the same for all tests."""
    root = tmp_path_factory.getbasetemp() / "unbroken_run"
    given = arguments(output_root=root)
    done = (folder_of(given) / "results.json").is_file()
    return folder_of(given) if done else run(given)


def count_calls(monkeypatch, name: str, at: int = 0, number: int = 0) -> list:
    """Count a method's calls; in one, send this process a signal."""
    calls: list[int] = []
    method = getattr(train.LamBrain, name)

    def counted(self, *args, **kwargs):
        calls.append(len(calls) + 1)
        if calls[-1] == at:
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), number)  # as a job and its step get it
        return method(self, *args, **kwargs)

    monkeypatch.setattr(train.LamBrain, name, counted)
    return calls


@pytest.mark.parametrize(
    ("number", "name", "at", "left"),
    [
        (signal.SIGUSR1, "fit_batch", 2, 8),  # within the first epoch
        (signal.SIGTERM, "fit_batch", 10, 0),  # the very last step
        (signal.SIGUSR2, "on_stage_end", 2, 4),  # while it validates
        (signal.SIGUSR2, "on_stage_end", 4, 0),  # in the last epoch
        (signal.SIGTERM, "posteriors", 1, 0),  # while it tests
    ],
)
def test_a_signal_saves_and_the_run_goes_on_bit_for_bit(
    number, name, at, left, unbroken_run, arguments, monkeypatch, capsys
):
    with monkeypatch.context() as patch:
        count_calls(patch, name, at, number)
        with pytest.raises(SystemExit) as ended, console(verbose=False):
            train.main(arguments())
    assert ended.value.code == STATUS
    assert "goes on from here" in capsys.readouterr().err
    steps = count_calls(monkeypatch, "fit_batch")
    folder = run(arguments())
    assert len(steps) == left
    assert same_weights(unbroken_run, folder)
    assert outcome(unbroken_run) == outcome(folder)


@pytest.mark.parametrize(("select_on", "steps"), [("last", 5), ("source", 10)])
def test_stopped_behind_the_last_of_its_steps_a_run_is_still_validated(
    select_on, steps, arguments, tmp_path, monkeypatch
):
    given = {"select_on": select_on, "max_steps": steps}
    unbroken = run(arguments(output_root=tmp_path / "unbroken", **given))
    broken = arguments(output_root=tmp_path / "broken", **given)
    with monkeypatch.context() as patch:
        count_calls(patch, "fit_batch", steps, signal.SIGTERM)
        with pytest.raises(SystemExit), console(verbose=False):
            train.main(broken)
    calls = count_calls(monkeypatch, "fit_batch")
    folder = run(broken)
    assert not calls
    assert same_weights(unbroken, folder)
    assert outcome(unbroken) == outcome(folder)


def test_before_training_a_signal_stops_at_once(arguments, monkeypatch):
    def encode(*args):
        os.kill(os.getpid(), signal.SIGUSR1)
        raise AssertionError("it goes on")

    monkeypatch.setattr("lam_sb.inputs.encode", encode)
    with pytest.raises(SystemExit) as ended, console(verbose=False):
        train.main(arguments())
    assert ended.value.code == STATUS
