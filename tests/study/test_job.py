"""One run of a study: its command, and whether it is done."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from lam_sb.command_line import parse_arguments
from lam_sb.files import write_checked
from lam_sb.run_folder import settings_hash
from lam_sb.study.job import Job, command_line


@pytest.fixture
def job(tmp_path) -> Job:
    names = ("encoder_source", "feature_folder", "source_train")
    names += ("source_valid", "target_train", "target_test")
    return Job(
        system="cc",
        encoder="enc",
        script=tmp_path / "train.py",
        file="a.yaml",
        keys={"experiment": "x/a b", "source": 1, "target": 2, "seed": 3},
        paths={"output_folder": str(tmp_path / "runs")} | {n: n for n in names},
        wants_analysis=False,
        is_analysed=False,
        settings={"lr": 0.001},
    )


@pytest.mark.parametrize(
    "value",
    ["inf", float("inf"), 1e-5, True, None, [1, 2], {"a b": []}, "x" * 99],
)
def test_values_pass_through_the_command_line(job, value):
    job.keys["dropout"] = value
    assert parse_arguments(job.arguments)[2]["dropout"] == value


def test_a_result_of_other_settings_is_not_done(job):
    job.folder.mkdir(parents=True)
    write_checked(job.results[0], {"settings_hash": "0123456789abcdef"})
    assert not job.is_done()
    job.results[0].write_text("{")
    assert not job.is_done()
    found = settings_hash({"lr": 0.001})
    write_checked(job.results[0], {"settings_hash": found})
    assert job.is_done()


@pytest.mark.parametrize(
    ("epochs", "now", "differing"),
    [
        (9, {}, []),
        (9, {"number_of_epochs": 7}, ["number_of_epochs: 9 there, 7 now"]),
        (9, {"number_of_epochs": 11}, ["number_of_epochs: 9 there, 11 now"]),
        (9, {"patience": 2}, ["patience: 5 there, 2 now"]),
        (4, {"patience": 30}, []),  # it never waited for so long
        (None, {"number_of_epochs": 7}, []),  # the ensemble
    ],
)
def test_a_result_of_another_length_is_not_done(job, epochs, now, differing):
    then = {"number_of_epochs": 9, "patience": 5}
    job = replace(job, values=then | now)
    found = {"epochs": epochs, "settings_hash": settings_hash({"lr": 0.001})}
    job.folder.mkdir(parents=True)
    write_checked(job.results[0], then | found)
    assert job.differing() == differing
    assert job.is_done() == (not differing)
    checkpoint = job.save_folder / "CKPT+1/CKPT.yaml"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    assert job.differing() == []  # the run goes on from there
    assert job.is_done() == (not differing)


def test_a_run_whose_layers_are_not_selected_yet_is_not_done(job):
    waiting = replace(job, wants_analysis=True, settings=None)
    waiting.folder.mkdir(parents=True)
    waiting.results[0].write_text('{"settings_hash": null}')
    assert not waiting.is_done()
    assert waiting.differing() == []
    assert waiting.needs_analysis
    assert not replace(waiting, is_analysed=True).needs_analysis
    assert not job.needs_analysis


def test_its_log_has_a_name_without_slashes(job):
    assert job.name == "x-a b-1-2-3"


def words_in_bash(line: str) -> list[str]:
    return subprocess.run(
        ["bash", "-c", f"set -- {line}; printf '%s\\n' \"$@\""],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()


def test_the_command_is_one_for_the_shell(job, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert words_in_bash(command_line(job, ["--device=cpu"])) == [
        *("python", "train.py", "a.yaml", "--experiment=x/a b"),
        *("--source=1", "--target=2", "--seed=3", "--device=cpu"),
    ]


def test_the_script_is_relative_below_the_working_folder_only(
    job, tmp_path, monkeypatch
):
    def script(path: Path) -> str:
        return words_in_bash(command_line(replace(job, script=path)))[1]

    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    assert script(tmp_path / "re cipe/train.py") == "re cipe/train.py"
    monkeypatch.chdir(tmp_path / "empty")
    assert script(tmp_path / "train.py") == str(tmp_path / "train.py")


def test_a_printed_command_names_whole_paths(job, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job.keys.update(output_root="out", data_folder="../data", gamma=0.5)
    found = job.from_anywhere()
    assert found.file == str(tmp_path / "a.yaml")
    assert found.keys["output_root"] == str(tmp_path / "out")
    assert found.keys["data_folder"] == str(tmp_path.parent / "data")
    assert (found.keys["gamma"], found.keys["experiment"]) == (0.5, "x/a b")
    assert found.results == job.results
