"""``python -m lam_sb``: which commands there are, and their help."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from conftest import HPARAMS, ROOT, over

from lam_sb.__main__ import COMMANDS, USAGE, main
from lam_sb.errors import UserError

KEYS_OF_FILES = {  # a file whose keys the command takes
    "extract": HPARAMS / "lam_gl_wavlm.yaml",
    "analyse": HPARAMS / "lam_gl_wavlm.yaml",
    "reproduce": HPARAMS / "study/table2.yaml",
    "tune": HPARAMS / "study/table2.yaml",
}


def call(*argv: str, cwd) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "lam_sb", *argv],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def test_help_lists_the_commands_from_any_folder(tmp_path):
    done = call("--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == USAGE + "\n"
    for command in COMMANDS:
        assert re.search(rf"(?m)^  {command} +\w", done.stdout)


def test_a_wrong_command_is_one_message(tmp_path):
    done = call("analyze", "a.yaml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: The command is analyze; use python -m lam_sb align | extract | "
        "analyse | reproduce | tune | check | compare | contribute | "
        "export | predict, or --help\n"
    )


def test_without_a_command_they_are_listed(capsys):
    main([])
    assert capsys.readouterr().out == USAGE + "\n"


@pytest.mark.parametrize("command", KEYS_OF_FILES)
@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_of_a_command_explains_its_own_keys(command, word, capsys):
    main([command, word])
    said = capsys.readouterr().out
    assert said.startswith(f"usage: python -m lam_sb {command} ")
    assert "Keys of hparams" not in said
    own = re.findall(r"(?m)^  (--.*?)(?:  |$)", said)
    keys = set(re.findall(r"--(\w+)", " ".join(own)))
    text = KEYS_OF_FILES[command].read_text()
    assert len(keys) >= 3
    known = set(re.findall(r"(?m)^(\w+):", text)) | {"data_folder", "grid"}
    assert keys <= known


def test_help_of_a_command_with_a_file_shows_its_keys(toy, capsys):
    path = over(toy, "# Ours.\nlr: 2\n")
    main(["extract", str(path), "--gamma=1", "--help"])
    said = capsys.readouterr().out
    assert said.startswith("usage: python -m lam_sb extract ")
    assert f"\n\nKeys of {path}:\n\n# Where the corpora lie.\n" in said
    assert "# Ours.\nlr: 2\n" in said


@pytest.mark.parametrize("command", KEYS_OF_FILES)
def test_a_command_needs_a_file(command):
    with pytest.raises(UserError, match="Give one YAML file"):
        main([command, "--gamma=1"])


def test_the_file_of_a_system_is_no_study():
    with pytest.raises(UserError, match="is no study"):
        main(["reproduce", str(HPARAMS / "small/cc.yaml")])
