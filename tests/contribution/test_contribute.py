"""The recipe in a tree that is laid out as SpeechBrain's, by its own rules."""

from __future__ import annotations

import csv
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import HPARAMS
from hyperpyyaml import load_hyperpyyaml
from packaging.requirements import Requirement
from speechbrain.utils.run_opts import RunOptions

import lam_sb
from lam_sb.config import key_blocks
from lam_sb.contribution.contribute import COLUMNS, contribute, systems
from lam_sb.errors import UserError
from lam_sb.yaml_text import plain_values, split_keys, without_comments

RECIPE = "recipes/MSP-BIIC-Podcast/cross_lingual_ser"
ROWS = "tests/recipes/MSP-BIIC-Podcast.csv"
# How SpeechBrain's pyproject.toml has its tree checked.
RULES = """
target-version = "py38"
line-length = 80
[lint]
select = ["E", "W", "F", "I", "B", "C4", "UP"]
ignore = ["B006", "B008", "B904", "B007", "B028", "E203", "E501", "E721"]
[lint.isort]
combine-as-imports = true
force-wrap-aliases = true
known-first-party = ["speechbrain"]
split-on-trailing-comma = false
"""
KINDS = (
    *("lam_gl_wavlm", "pc_atn_wavlm", "few_shot_wavlm", "ensemble_whisper"),
    *("small/lam_plus", "small/few_shot"),
)


def make_tree(folder: Path) -> Path:
    """Lay a folder out as a clone of SpeechBrain, its samples noise."""
    for name in ("speechbrain", "recipes", "tests/recipes"):
        (folder / name).mkdir(parents=True)
    speech = folder / "tests/samples/ASR"
    speech.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for speaker in (1, 2):
        for sentence in range(1, 7):
            wav = 0.1 * rng.standard_normal(9600 + 800 * sentence)
            path = speech / f"spk{speaker}_snt{sentence}.wav"
            soundfile.write(path, wav, 16000)
    return folder


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    folder = make_tree(tmp_path_factory.mktemp("clone") / "speechbrain")
    contribute([str(folder)])
    return folder


@pytest.fixture(scope="module")
def rows(tree) -> dict[str, dict[str, str]]:
    """Rows of SpeechBrain's list of recipes, by the system's file."""
    with open(tree / ROWS, newline="", encoding="utf-8") as file:
        listed = list(csv.DictReader(file, skipinitialspace=True))
    assert all(tuple(row) == COLUMNS for row in listed)
    return {row["Hparam_file"]: row for row in listed}


def flags_of(row: dict[str, str]) -> dict[str, str]:
    words = row["test_debug_flags"].split(" ")
    return dict(word.removeprefix("--").split("=") for word in words)


def test_each_file_is_listed_and_each_listed_file_is_there(tree, rows):
    files = (tree / RECIPE).rglob("*.yaml")
    assert {str(f.relative_to(tree)) for f in files} == rows.keys()
    names = [str(f.relative_to(HPARAMS)) for f in HPARAMS.rglob("*.yaml")]
    left_out = ("study/", "demo.yaml", "small/settings.yaml")
    assert [*systems(HPARAMS)] == sorted(
        name for name in names if not name.startswith(left_out)
    )
    for row in rows.values():
        kinds = "Script_file", "Hparam_file", "Data_prep_file", "Readme_file"
        for kind in kinds:
            assert row[kind]
            for name in row[kind].split(" "):
                assert (tree / name).is_file(), name
        assert row["test_debug_flags"].startswith("--")
        left = "env.log,hyperparams.yaml,log.txt,train.py"
        left += "" if "ensemble" in row["Hparam_file"] else ",train_log.txt"
        assert row["test_debug_checks"] == f"file_exists=[{left}]"
        assert row["performance"]
    readers = {p.name for p in (tree / RECIPE / "data_prep").iterdir()}
    assert "msp_podcast_prepare.py" in readers
    assert not {name for name in readers if name.startswith("demo")}


def test_each_file_loads_alone_to_the_values_of_ours(tree, rows, monkeypatch):
    monkeypatch.chdir(tree)
    for name, row in rows.items():
        text = (tree / name).read_text(encoding="utf-8")
        hparams = load_hyperpyyaml(text, flags_of(row))
        ours = HPARAMS / Path(name).relative_to(f"{RECIPE}/hparams")
        plain, tagged = plain_values(key_blocks(ours, {}), name)
        there = plain_values(split_keys(text), name)
        assert there[1] == tagged
        assert there[0].items() <= plain.items()
        assert hparams["experiment"] == plain["experiment"]
        assert text.startswith("# ")
        assert "The lam_sb authors" in text.split("\nexperiment:")[0]


@pytest.mark.parametrize(
    ("name", "key", "is_there"),
    [
        ("lam_gl_wavlm", "margin", False),
        ("pc_wavlm", "margin", True),
        ("lam_gl_wavlm", "reduce", True),
        ("cc_whisper", "reduce", False),
        ("cc_whisper", "scale", True),
        ("cc_whisper", "vowels", False),
        ("cc_whisper", "gamma", True),
        ("few_shot_whisper", "target_shots", True),
    ],
)
def test_keys_that_idle_in_a_file_are_left_out(tree, name, key, is_there):
    text = (tree / RECIPE / f"hparams/{name}.yaml").read_text(encoding="utf-8")
    assert (key in split_keys(text)) == is_there


def unread_keys(text: str, script: str) -> set[str]:
    """Keys that neither a later key refers to nor the script reads."""
    blocks = split_keys(text)
    options = RunOptions().as_dict()
    unread = set()
    for key, block in blocks.items():
        after = text.partition(block)[2]
        if (
            f"<{key}" not in after
            and f'["{key}"]' not in script
            and f"hparams.{key}" not in script
            and "!apply" not in without_comments(block).splitlines()[0]
            and key not in options
        ):
            unread.add(key)
    return unread


def test_the_script_reads_each_key_of_each_file(tree, rows):
    script = (tree / RECIPE / "train.py").read_text(encoding="utf-8")
    for name in rows:
        text = (tree / name).read_text(encoding="utf-8")
        assert unread_keys(text, script) == set(), name
        assert unread_keys(text + "idle: 1\n", script) == {"idle"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_runs_there_as_it_says(kind, tree, rows, monkeypatch, capsys):
    row = rows[f"{RECIPE}/hparams/{kind}.yaml"]
    monkeypatch.chdir(tree)
    folder = tree / f"tests/tmp/{kind.replace('/', '_')}"
    main = runpy.run_path(row["Script_file"], run_name="contributed")["main"]
    flags = row["test_debug_flags"].split(" ")
    options = ["--device=cpu", f"--output_folder={folder}"]
    debug = ["--debug", "--debug_persistently", "--noprogressbar"]
    main([row["Hparam_file"], *flags, *options, *debug])
    expected = row["test_debug_checks"].removeprefix("file_exists=[")[:-1]
    for name in expected.split(","):
        assert (folder / name).stat().st_size > 0, name
    assert not (folder / "results.json").exists()
    assert "--debug leaves no result" in capsys.readouterr().out


def test_scripts_are_sorted_and_formatted_as_the_tree_asks(tree, tmp_path):
    rules = tmp_path / "ruff.toml"
    rules.write_text(RULES)
    scripts = [str(p) for p in (tree / RECIPE).rglob("*.py")]
    ruff = [sys.executable, "-m", "ruff"]
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [*ruff, *command, "--no-cache", "--config", str(rules), *scripts],
            cwd=tree,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout
    for script in scripts:
        assert "Authors\n * " in Path(script).read_text(encoding="utf-8")


def test_the_readme_and_requirements_say_what_the_tree_asks_for(tree):
    readme = (tree / RECIPE / "README.md").read_text(encoding="utf-8")
    for heading in (
        *("## Data preparation", "## Results", "# **About SpeechBrain**"),
        "# **Citing SpeechBrain**",
    ):
        assert f"\n{heading}\n" in readme
    assert "| hardware |" in readme
    assert readme.count("```bibtex") == 2
    lines = (tree / RECIPE / "extra_requirements.txt").read_text().splitlines()
    assert [Requirement(line).name for line in lines] == ["lam_sb"]
    assert Requirement(lines[0]).url == "git+https://github.com/OWNER/lam_sb"
    assert "OWNER" in readme


def test_a_second_time_nothing_is_written_over(tree):
    with pytest.raises(UserError, match=r"has the recipe already") as error:
        contribute([str(tree)])
    asked = shlex.split(str(error.value).partition("anew: ")[2])
    assert asked[:2] == ["rm", "-r"]
    assert all(str(tree / "x")[:-1] in path for path in asked[2:])
    assert len(asked) == 5


def test_a_tree_that_cannot_be_written_stays_as_it_was(tmp_path, monkeypatch):
    def full(*_):
        raise OSError("No space left on device")

    tree = make_tree(tmp_path / "speech brain")
    before = sorted(tree.rglob("*"))
    with monkeypatch.context() as patch:
        patch.setattr("lam_sb.contribution.contribute.write_samples", full)
        with pytest.raises(UserError, match=r"No space left.*nothing was left"):
            contribute([str(tree)])
    assert sorted(tree.rglob("*")) == before
    (tree / "tests/samples/ASR/spk2_snt3.wav").unlink()
    with pytest.raises(UserError, match=r"ASR lacks spk2_snt3\.wav, on which"):
        contribute([str(tree)])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("foo: 1\n", "mine.yaml is no system: move"),
        ("base: {}/lam_gl_wavlm.yaml\nlr: 0.2\n", "beside lam_gl_wavlm.yaml"),
        (
            "base: {}/lam_gl_wavlm.yaml\nexperiment: mine\n"
            "alignment: !new:my_losses.L\n",
            "has the loss my_losses.L, which is none",
        ),
        ("foo: [1\n", "mine.yaml is no valid YAML"),
    ],
)
def test_what_is_no_system_is_named(text, message, tmp_path, monkeypatch):
    clone = tmp_path / "clone"
    for name in ("hparams", "data_prep", RECIPE):
        shutil.copytree(HPARAMS.parent / name, clone / name, symlinks=True)
    shutil.copyfile(HPARAMS.parent / "train.py", clone / "train.py")
    mine = clone / "hparams/mine.yaml"
    mine.write_text(text.format(clone / "hparams"))
    monkeypatch.setattr(lam_sb, "__file__", str(clone / "lam_sb/__init__.py"))
    tree = make_tree(tmp_path / "tree")
    with pytest.raises(UserError, match=message):
        contribute([str(tree)])
    assert not (tree / RECIPE).exists()


def test_another_folder_is_no_tree(tmp_path):
    (tmp_path / "recipes").mkdir()
    with pytest.raises(UserError, match="no folder speechbrain, so it is no"):
        contribute([str(tmp_path)])
    assert [p.name for p in tmp_path.iterdir()] == ["recipes"]
    with pytest.raises(UserError, match="there is no such folder"):
        contribute([str(tmp_path / "nowhere")])


def test_a_package_without_the_recipe_says_so(tmp_path, monkeypatch):
    tree = make_tree(tmp_path / "speechbrain")
    monkeypatch.setattr(lam_sb, "__file__", str(tmp_path / "x/__init__.py"))
    with pytest.raises(UserError, match="from a clone of lam_sb"):
        contribute([str(tree)])
