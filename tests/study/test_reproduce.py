"""A whole study, run, stopped, gone on with and reported."""

from __future__ import annotations

import csv
import html
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import HPARAMS, ROOT

import train
from lam_sb import __main__ as commands
from lam_sb.errors import UserError
from lam_sb.stopping import STATUS

SYSTEMS = "{lam_gl: {anchor_layers: group}, ensemble: {}}"
RUNS = 2 * 2  # systems in both directions


@pytest.fixture(scope="module")
def arguments(tmp_path_factory, corpora, wavlm) -> list[str]:
    """Command line of a small study, all in one folder."""
    folder = tmp_path_factory.mktemp("study")
    keys = {
        "corpora": "[left, right]",
        "encoders": f"{{tiny: {wavlm}}}",
        "seeds": 1,
        "systems": SYSTEMS,
        "keys": "{anchor_layers: [1, 2]}",
        "output_root": folder / "results",
        "data_folder": corpora,
        "feature_folder": folder / "features",
        "max_steps": 2,
        "number_of_epochs": 1,
        "batch_size": 16,
        "projection_dim": 16,
        "num_heads": 2,
        "jobs": 2,
    }
    return [
        "reproduce",
        "hparams/study/open.yaml",
        "--noprogressbar",
        *(f"--{key}={value}" for key, value in keys.items()),
    ]


@pytest.fixture(scope="module")
def root(arguments) -> Path:
    return Path(
        next(a for a in arguments if "output_root" in a).partition("=")[2]
    )


@pytest.fixture(autouse=True)
def in_the_recipe(monkeypatch):
    monkeypatch.chdir(ROOT)


def results(root: Path) -> dict[Path, int]:
    """Time of each result, by path."""
    found = root.glob("open/**/results.json")
    return {path: path.stat().st_mtime_ns for path in found}


def scores(root: Path) -> dict[tuple, str]:
    """UAR by system and source in table2.csv."""
    with open(root / "study/open/table2.csv", encoding="utf-8") as file:
        return {
            (row["system"], row["source"]): row["uar"]
            for row in csv.DictReader(file)
        }


def test_stopped_it_goes_on_where_it_was(arguments, root, capsys):
    process = subprocess.Popen(
        [sys.executable, "-m", "lam_sb", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    deadline = time.monotonic() + 300
    while not results(root) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    said, errors = process.communicate(timeout=60)
    assert process.returncode == STATUS
    assert f"{RUNS} runs: 0 done, {RUNS} to do." in said
    assert errors.endswith("Stopped; the same command goes on from here.\n")
    assert "Traceback" not in errors
    first = results(root)
    assert 0 < len(first) < RUNS
    assert not (root / "study/open/report.html").exists()

    commands.main(arguments)
    every = results(root)
    assert len(every) == RUNS
    assert first.items() <= every.items()
    said = capsys.readouterr().out
    done = len(first)
    assert f"{RUNS} runs: {done} done, {RUNS - done} to do." in said
    assert "They take about" in said
    assert said.endswith(f"{root}/study/open/report.html\n")
    assert len(scores(root)) == RUNS


def test_done_it_runs_nothing_again(arguments, root, capsys):
    before = results(root)
    commands.main(arguments)
    assert results(root) == before
    said = capsys.readouterr().out
    assert f"{RUNS} runs: {RUNS} done, 0 to do." in said


def test_done_for_fewer_epochs_is_not_done(arguments, root, capsys):
    before = results(root)
    with pytest.raises(UserError, match="2 runs gave no result"):
        commands.main([*arguments, "--number_of_epochs=2"])
    said = capsys.readouterr().out
    assert f"{RUNS} runs: {RUNS - 2} done, 2 to do." in said
    assert results(root) == before
    assert {system for system, _ in scores(root)} == {"ensemble"}
    page = (root / "study/open/report.html").read_text(encoding="utf-8")
    assert "number_of_epochs: 1 there, 2 now" in page
    commands.main(arguments)
    assert len(scores(root)) == RUNS


def test_a_new_system_joins_the_old_table(arguments, root, monkeypatch):
    before, old = results(root), scores(root)
    systems = SYSTEMS[:-1] + ", lam_al: {file: lam_gl, anchor_layers: all}}"
    one = "--directions=[[left, right]]"
    commands.main([*arguments, f"--systems={systems}", one])
    after = results(root)
    assert before.items() <= after.items()
    assert len(after) == RUNS + 1
    old = {key: uar for key, uar in old.items() if key[1] == "left"}
    assert old
    assert old.items() <= scores(root).items()
    assert ("lam_al", "left") in scores(root)


def test_a_result_made_by_hand_joins_too(arguments, root, capsys):
    (line,) = (
        [a for a in shlex.split(command) if not a.startswith("--experiment")]
        for command in printed(
            [*arguments, "--systems={cc: {}}", "--directions=[[left, right]]"],
            capsys,
        )
    )
    train.main([*line[2:], "--experiment=by_hand", "--system=mine"])
    commands.main([*arguments, f"--include=[{root}/by_hand]"])
    found = json.loads((root / "by_hand/left-right/0/results.json").read_text())
    assert scores(root)["mine", "left"] == f"{found['uar']:.6f}"


def printed(arguments: list[str], capsys) -> list[str]:
    capsys.readouterr()
    commands.main([*arguments, "--print_commands=True"])
    return capsys.readouterr().out.splitlines()


def test_commands_are_printed_for_what_is_to_be_done(arguments, root, capsys):
    assert printed(arguments, capsys) == []
    lines = printed([*arguments, "--seeds=2"], capsys)
    assert len(lines) == RUNS
    for line in lines:
        assert line.startswith(f"python train.py {HPARAMS}/small/")
        assert f"--output_root={root}" in line
        assert "--seed=1" in line
        assert "--noprogressbar" in line


def test_commands_printed_elsewhere_name_train_by_its_whole_path(
    arguments, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    study = [arguments[0], str(HPARAMS / "study/open.yaml"), *arguments[2:]]
    lines = printed([*study, "--seeds=2"], capsys)
    assert len(lines) == RUNS
    for line in lines:
        words = shlex.split(line)
        assert words[:2] == ["python", str(ROOT / "train.py")]
        assert Path(words[2]).parent == HPARAMS / "small"


def test_a_run_that_fails_is_listed_with_its_log(arguments, root, capsys):
    folder = root / "open/tiny/cc/left-right/0"
    (folder / "log.txt").mkdir(parents=True)  # which cannot be written
    with pytest.raises(UserError) as error:
        commands.main([*arguments, "--systems={cc: {}, lam_gl: {}}"])
    assert "runs gave no result" in str(error.value)
    # lam_gl was made with layers that an analysis selected
    page = (root / "study/open/report.html").read_text(encoding="utf-8")
    assert "log.txt cannot be read or written: Is a directory" in page
    assert "was made with other settings" in page
    assert "open-tiny-cc-left-right-0.log" in page
    assert ("cc", "right") in scores(root)


def test_what_cannot_be_prepared_is_listed_and_the_rest_is_run(
    arguments, root, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)  # where there is no recipe
    study = [arguments[0], str(HPARAMS / "study/open.yaml"), *arguments[2:]]
    corpora = f"{{left: null, right: null, gone: {{folder: {tmp_path}/no}}}}"
    directions = "[[left, gone], [left, right]]"
    keys = (f"--corpora={corpora}", f"--directions={directions}")
    with pytest.raises(UserError, match="1 runs gave no result"):
        commands.main([*study, *keys, "--systems={cc: {}}", "--study=two"])
    page = (root / "study/two/report.html").read_text(encoding="utf-8")
    assert f"{tmp_path}/no" in page
    assert (root / "two/tiny/cc/left-right/0/results.json").is_file()


def test_a_report_is_written_of_what_is_there(arguments, root):
    before = results(root)
    page = root / "study/open/report.html"
    page.unlink()
    commands.main([*arguments, "--report_only=True", "--seeds=3"])
    assert results(root) == before
    said = html.unescape(page.read_text(encoding="utf-8"))
    assert f"{2 * RUNS} of the study's {3 * RUNS} runs" in said
