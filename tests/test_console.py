"""What a command prints, and how it ends."""

from __future__ import annotations

import errno
import logging
import os
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from speechbrain.core import DEFAULT_LOG_CONFIG

from lam_sb.console import (
    LOG_CONFIG,
    ConsoleFilter,
    console,
    log_to,
    say,
)
from lam_sb.errors import UserError

TALKATIVE = """
import logging, warnings
from lam_sb.console import console
from lam_sb.errors import UserError

with console(verbose={verbose}):
    logging.getLogger("lam_sb.training.brain").info("An epoch.")
    logging.getLogger("speechbrain.core").info("Saved a checkpoint.")
    logging.getLogger("speechbrain.core").warning("The loss is infinite.")
    logging.getLogger("speechbrain.utils.seed").warning("Setting seed.")
    warnings.warn("This will be gone in version 9.")
    {end}
"""


def talk(end: str, verbose: bool = False) -> subprocess.CompletedProcess:
    """Run a command of its own process that logs, warns, and ends so."""
    return subprocess.run(
        [sys.executable, "-c", TALKATIVE.format(verbose=verbose, end=end)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def test_a_command_says_what_is_ours_and_warnings_of_others():
    done = talk("print('The result.')")
    assert done.returncode == 0
    said = ["An epoch.", "The loss is infinite.", "The result."]
    assert done.stdout.splitlines() == said
    assert done.stderr == ""


def test_verbose_leaves_the_warnings_of_all():
    done = talk("print('The result.')", verbose=True)
    assert "Setting seed." in done.stderr
    assert "This will be gone" in done.stderr
    assert done.stdout == "The result.\n"


def test_a_users_mistake_is_one_message_and_exit_status_2():
    done = talk("raise UserError('There is no such thing.')")
    assert done.returncode == 2
    assert done.stderr == "error: There is no such thing.\n"


def test_ctrl_c_says_that_the_same_command_goes_on():
    done = talk("raise KeyboardInterrupt")
    assert done.returncode == 130
    said = "Stopped; the same command goes on from here.\n"
    assert done.stderr == said


def test_verbose_ends_in_the_same_way(capsys):
    with pytest.raises(SystemExit) as ended, console(verbose=True):
        raise UserError("no such thing")
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: no such thing\n"
    with pytest.raises(SystemExit) as ended, console(verbose=True):
        raise KeyboardInterrupt
    assert ended.value.code == 130
    assert "goes on from here" in capsys.readouterr().err


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.ESTALE])
def test_what_a_disk_refuses_is_one_sentence(number, capsys):
    with pytest.raises(SystemExit) as ended, console(verbose=False):
        raise OSError(number, os.strerror(number), "a/log.txt")
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: a/log.txt cannot be read or written: ")
    assert os.strerror(number) in said
    assert said.endswith("the same command goes on.\n")


def test_other_errors_keep_their_traceback():
    with pytest.raises(KeyError, match="bug"), console(verbose=True):
        raise KeyError("bug")


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("lam_sb.training.brain", logging.DEBUG),
        ("train", logging.DEBUG),
        ("__main__", logging.DEBUG),
        ("lam_sb_of_others", logging.WARNING),
        ("speechbrain.utils.checkpoints", logging.WARNING),
        ("transformers.modeling_utils", logging.WARNING),
        ("py.warnings", logging.ERROR),
        ("speechbrain.utils.seed", logging.ERROR),
        ("speechbrain.integrations.huggingface.wav2vec2", logging.ERROR),
    ],
)
def test_the_console_shows_a_logger_from_a_level_on(name, least):
    levels = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR)
    for level in levels:
        record = logging.LogRecord(name, level, "x.py", 1, "said", None, None)
        assert ConsoleFilter().filter(record) == (level >= least), level


@pytest.mark.parametrize("verbose", [False, True])
def test_a_run_logs_into_its_folder(verbose, tmp_path, monkeypatch):
    given = {}
    monkeypatch.setattr(
        "speechbrain.create_experiment_directory",
        lambda folder, **keys: given.update(keys, folder=folder),
    )
    (tmp_path / "console.py").write_text("copied by SpeechBrain")
    log_to(tmp_path, verbose, __file__)
    config = DEFAULT_LOG_CONFIG if verbose else str(LOG_CONFIG)
    assert given["folder"] == tmp_path
    assert given["log_config"] == config
    copied = tmp_path / Path(__file__).name
    assert copied.read_bytes() == Path(__file__).read_bytes()
    assert not (tmp_path / "console.py").exists()
    assert f"torch=={version('torch')}" in (tmp_path / "env.log").read_text()


def test_the_log_file_has_all_that_a_quiet_console_leaves_out():
    quiet = yaml.safe_load(LOG_CONFIG.read_text())
    assert quiet["handlers"]["console"]["filters"] == ["quiet"]
    assert "filters" not in quiet["handlers"]["file_handler"]
    assert quiet["handlers"]["file_handler"]["level"] == "DEBUG"


@pytest.mark.parametrize("command", [["train.py"], ["-m", "lam_sb", "extract"]])
def test_ctrl_c_while_modules_are_imported_is_one_line(command, tmp_path):
    slow = "print('importing', flush=True)\nimport time\ntime.sleep(60)\n"
    (tmp_path / "torch.py").write_text(slow)
    with subprocess.Popen(
        [sys.executable, *command, "hparams/demo.yaml"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    ) as process:
        assert process.stdout.readline() == "importing\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30)[1] == (
            "Stopped before anything was done.\n"
        )
    assert process.returncode == 130


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["train.py", "hparams/demo.yaml", "--gama=1"], "no key 'gama'"),
        (["train.py", "hparams/demo.yaml", "--lr=-1"], "lr is -1; it takes"),
        (
            [
                "-m",
                "lam_sb",
                "reproduce",
                "hparams/study/demo.yaml",
                "--jebs=2",
            ],
            "no key 'jebs'",
        ),
    ],
)
def test_a_mistake_is_answered_before_anything_slow_is_imported(
    command, said, tmp_path
):
    for name in ("torch", "transformers"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported')\n")
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.startswith("error: ")


def test_what_a_run_ends_with_is_printed_and_logged(capsys, caplog):
    caplog.set_level(logging.DEBUG)
    say(["The test set is small.", "Test UAR 0.5"])
    assert capsys.readouterr().out == "The test set is small.\nTest UAR 0.5\n"
    assert caplog.messages == ["The test set is small.", "Test UAR 0.5"]
