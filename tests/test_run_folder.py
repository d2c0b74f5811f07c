"""Whose a run's folder is."""

from __future__ import annotations

import subprocess
import sys

import pytest
from filelock import FileLock

from lam_sb.errors import UserError
from lam_sb.run_folder import claim_folder, experiment_folder


def make_result(folder, settings, text=""):
    claim_folder(folder, settings, text)
    (folder / "results.json").write_text("{}")


def test_the_same_settings_enter_a_folder_again(tmp_path):
    settings = {"gamma": 0.5, "lr": 1e-5, "clip": float("inf"), "x": None}
    for _ in range(2):
        with experiment_folder(tmp_path / "a/b", settings):
            make_result(tmp_path / "a/b", settings)


def test_other_settings_are_refused_with_both_values(tmp_path):
    make_result(tmp_path, {"gamma": 0.5, "lr": 1, "seed": 0}, "")
    with (
        pytest.raises(UserError) as error,
        experiment_folder(tmp_path, {"gamma": 50, "lr": 1, "new": "x"}),
    ):
        raise AssertionError("entered")
    message = str(error.value)
    assert "gamma: 0.5 there, 50 now" in message
    assert "seed: 0 there, None now" in message
    assert "new: None there, 'x' now" in message
    assert "lr" not in message.split(str(tmp_path))[-1]
    assert "--experiment NAME" in message


def test_results_of_several_targets_hold_a_folder_too(tmp_path):
    claim_folder(tmp_path, {"gamma": 1}, "")
    (tmp_path / "first").mkdir()  # of a run that it is made of
    (tmp_path / "first/results.json").write_text("{}")
    with experiment_folder(tmp_path, {"gamma": 2}):
        pass
    (tmp_path / "emodb").mkdir()
    (tmp_path / "emodb/results.json").write_text("{}")
    with (
        pytest.raises(UserError, match="gamma: 1 there, 2 now"),
        experiment_folder(tmp_path, {"gamma": 2}),
    ):
        raise AssertionError("entered")


def test_refused_settings_leave_the_first_ones(tmp_path):
    make_result(tmp_path, {"gamma": 1}, "first")
    with pytest.raises(UserError), experiment_folder(tmp_path, {"gamma": 2}):
        pass
    with pytest.raises(UserError):
        claim_folder(tmp_path, {"gamma": 2}, "second")
    assert (tmp_path / "hyperparams.yaml").read_text() == "first"
    with experiment_folder(tmp_path, {"gamma": 1}):
        pass


def test_a_folder_of_a_run_at_work_is_refused(tmp_path):
    with (
        experiment_folder(tmp_path, {}),
        pytest.raises(UserError, match=r"Another run.*--experiment NAME"),
        experiment_folder(tmp_path, {}),
    ):
        raise AssertionError("entered")


def test_a_folder_held_by_another_process_is_refused(tmp_path):
    held = (
        "import sys, filelock\n"
        "with filelock.FileLock(sys.argv[1]):\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", held, str(tmp_path / ".lock")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        with (
            pytest.raises(UserError, match="Another run is at work"),
            experiment_folder(tmp_path, {}),
        ):
            raise AssertionError("entered")
        process.communicate()
    with experiment_folder(tmp_path, {}):
        pass


def test_the_lock_is_released_after_an_error(tmp_path, monkeypatch):
    locks = []  # kept, or the garbage collector would release them

    def keep(*args, **options) -> FileLock:
        locks.append(FileLock(*args, **options))
        return locks[-1]

    monkeypatch.setattr("lam_sb.run_folder.FileLock", keep)
    make_result(tmp_path, {"gamma": 1}, "")
    with (
        pytest.raises(KeyError, match="broken"),
        experiment_folder(tmp_path, {"gamma": 1}),
    ):
        raise KeyError("broken")
    with pytest.raises(UserError), experiment_folder(tmp_path, {"gamma": 2}):
        pass
    assert [lock.is_locked for lock in locks] == [False, False]
    with FileLock(tmp_path / ".lock", timeout=0):
        pass


def test_a_folder_is_claimed_only_once_all_is_checked(tmp_path):
    with experiment_folder(tmp_path, {"gamma": 1}):  # a mistake is found here
        pass
    with experiment_folder(tmp_path, {"gamma": 2}):
        claim_folder(tmp_path, {"gamma": 2}, "")


@pytest.mark.parametrize("work", ["predictions.csv", "save/CKPT+1/model.ckpt"])
def test_a_folder_is_its_settings_once_something_was_trained(work, tmp_path):
    claim_folder(tmp_path, {"batch_size": 64}, "")
    (tmp_path / "save/weights").mkdir(parents=True)
    claim_folder(tmp_path, {"batch_size": 16}, "")  # corrected
    path = tmp_path / work
    path.parent.mkdir(exist_ok=True)
    path.write_text("")
    with pytest.raises(UserError, match="batch_size: 16 there, 64 now"):
        claim_folder(tmp_path, {"batch_size": 64}, "")


def data(**hashes) -> dict:
    part = {"rows": 3, "ids": "i", "labels": "l", "audio": "a"} | hashes
    return {"gamma": 1, "data": {"store": "w-0", "source_train": part}}


def test_other_data_are_refused_in_words_and_change_nothing(tmp_path):
    make_result(tmp_path, data(), "first")
    before = (tmp_path / "settings.yaml").read_bytes()
    with pytest.raises(UserError) as error:
        claim_folder(tmp_path, data(labels="m"), "second")
    assert str(error.value) == (
        f"{tmp_path} was made on other data, and is left as it is. Use "
        "--experiment NAME for a folder of its own. What has changed: the "
        "labels of source_train."
    )
    assert (tmp_path / "settings.yaml").read_bytes() == before
    assert (tmp_path / "hyperparams.yaml").read_text() == "first"
    with experiment_folder(tmp_path, {"gamma": 1}):  # data not known yet
        claim_folder(tmp_path, data(), "moved")


def test_a_folder_of_an_earlier_version_says_so(tmp_path):
    make_result(tmp_path, {"gamma": 1}, "")
    with pytest.raises(UserError, match=r"source_train \(none there, 3 rows"):
        claim_folder(tmp_path, data(), "")
