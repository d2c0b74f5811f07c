"""Every command and snippet of README and docs runs, as it is printed.

What is changed is where things lie (/corpora, the encoders) and how long it
takes: a copy of hparams/ with a few steps and one seed, and studies that only
say what they would do.
"""

from __future__ import annotations

import json
import re
import runpy
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import ROOT, make_corpus
from doc_pages import PAGES, commands, files, snippets

from lam_sb.__main__ import main
from lam_sb.files import write_checked
from lam_sb.yaml_text import split_keys

# What cannot run here: other people's programs, and what would start the suite
# within itself. The tutorial's test runs the demo.
OTHERS = re.compile(
    r"#|export |\[ |meeting=|hf |conda |mfa |pip |python3 -m venv|\. \.venv|"
    r"python -m pytest|python train.py hparams/demo|ruff |python docs/|"
    r"python tests/"
)
LAUNCHER = re.compile(
    r"^(srun )?(torchrun (--nproc_per_node \d+ |\$meeting ))?"
)
PLACEHOLDER = re.compile(r"<|CORPUS|^python -m lam_sb \w+$")
SHORTER = {
    "lam_gl_wavlm.yaml": {
        "number_of_epochs: 70": "number_of_epochs: 1",
        "batch_size: 64": "batch_size: 4",
        "min_steps: 500": "min_steps: 0",
    },
    "small/settings.yaml": {
        "max_steps: 200": "max_steps: 2",
        "average_last_steps: 80": "average_last_steps: 1",
    },
}
FEW_SYSTEMS = "systems: {cc: {}, lam_gl: {}}\n"
ENCODERS = {
    "microsoft/wavlm-base-plus": "wavlm",
    "openai/whisper-small": "whisper",
    "openai/whisper-base": "whisper",
}
# Pages whose commands go on from those of others, in this order.
ORDER = ("README.md", "usage.md", "systems.md", "inference.md", "studies.md")
STUDIES = ("reproduce", "tune")


@pytest.fixture(scope="module")
def place(tmp_path_factory, encoders, demo) -> Path:
    """A clone to work in, beside corpora, recordings and encoders."""
    place = tmp_path_factory.mktemp("clone")
    shutil.copytree(ROOT / "hparams", place / "hparams")
    shutil.copytree(ROOT / "data_prep", place / "data_prep")
    shutil.copyfile(ROOT / "train.py", place / "train.py")
    for name, changes in SHORTER.items():
        path = place / "hparams" / name
        text = path.read_text(encoding="utf-8")
        for old, new in changes.items():
            assert f"\n{old}\n" in text, old
            text = text.replace(f"\n{old}\n", f"\n{new}\n")
        path.write_text(text, encoding="utf-8")
    for name in ("table2", "open"):
        path = place / f"hparams/study/{name}.yaml"
        keys = split_keys(path.read_text(encoding="utf-8"))
        keys["systems"] = FEW_SYSTEMS
        path.write_text("".join(keys.values()), encoding="utf-8")
    for path in (place / "hparams").rglob("*.yaml"):
        text = path.read_text(encoding="utf-8")
        for source, family in ENCODERS.items():
            text = text.replace(source, str(encoders[family]))
        path.write_text(text, encoding="utf-8")
    for seed, name in enumerate(("ravdess", "emodb", "emovo", "savee")):
        make_corpus(
            *(place / "corpora" / name, 4, 1, seed), text="ja", language="de"
        )
    for corpus in ("msp_podcast", "biic_podcast"):
        (place / "corpora" / corpus).symlink_to(demo / corpus)
    write_esd(place / "corpora/esd")
    write_savee(place / "corpora/savee_original")
    rng = np.random.default_rng(0)
    (place / "recordings").mkdir()
    for path in ("speech.wav", "recordings/a.wav"):
        noise = 0.1 * rng.standard_normal(16000)
        soundfile.write(place / path, noise, 16000)
    return place


def write_savee(folder: Path) -> None:
    """Write a corpus in SAVEE's names, which are its labels."""
    rng = np.random.default_rng(2)
    folder.mkdir()
    for speaker in ("DC", "JE", "JK", "KL"):
        for code in ("a", "h", "n", "sa", "su"):
            wav = 0.1 * rng.standard_normal(4800)
            soundfile.write(folder / f"{speaker}_{code}01.wav", wav, 16000)


def write_esd(folder: Path) -> None:
    """Write a corpus as ESD lies on disk: speakers of both languages."""
    rng = np.random.default_rng(1)
    for speaker in (1, 2, 3, 4, 11, 12, 13, 14):
        for n, emotion in enumerate(("Neutral", "Happy", "Angry", "Sad")):
            path = folder / f"{speaker:04d}/{emotion}"
            path.mkdir(parents=True)
            wav = 0.1 * rng.standard_normal(4800)
            name = f"{speaker:04d}_{350 * n + 1:06d}.wav"
            soundfile.write(path / name, wav, 16000)


@pytest.fixture(scope="module")
def already_run() -> set[str]:
    """Commands that an earlier page has too."""
    return set()


@pytest.fixture
def run_here(place, encoders, monkeypatch) -> Callable[[str], None]:
    """Run a command in the clone."""
    monkeypatch.chdir(place)

    def run(command: str) -> None:
        command = command.replace("/corpora", str(place / "corpora"))
        for source, family in ENCODERS.items():
            command = command.replace(source, str(encoders[family]))
        command = command.replace("$SLURM_ARRAY_TASK_ID", "1")
        command = command.replace("/scratch/$USER", str(place / "scratch"))
        words = shlex.split(LAUNCHER.sub("", command))
        words = words[1:] if words[0] == "python" else words
        name, rest = words[0], words[1:]
        if name == "-m":
            name, rest = rest[0], rest[1:]
        if name == "train.py":
            script = runpy.run_path(str(place / name), run_name="train")
            script["main"]([*rest, "--noprogressbar"])
        else:
            assert name == "lam_sb", command
            dry = ["--dry_run=True"] if rest[0] in STUDIES else []
            main([*rest, *dry])

    return run


def in_order(page: Path) -> tuple:
    return (ORDER.index(page.name) if page.name in ORDER else 9, page.name)


@pytest.mark.parametrize(
    "page", sorted(PAGES, key=in_order), ids=lambda page: page.name
)
def test_the_commands_of_a_page_run(page, run_here, already_run, place):
    for name, text in files(page):
        (place / name).write_text(text, encoding="utf-8")
    for command in commands(page):
        runs = not OTHERS.match(command) and not PLACEHOLDER.search(command)
        if runs and command not in already_run:
            run_here(command)
            already_run.add(command)
    for text in snippets(page):
        if "range(5)" in text:
            add_seeds(place / "results/small_lam_gl/ravdess-emodb")
        exec(compile(text, str(page), "exec"), {})


def add_seeds(folder: Path) -> None:
    """Let a run stand for those of four more seeds."""
    for seed in range(1, 5):
        shutil.copytree(folder / "0", folder / str(seed))
        path = folder / f"{seed}/results.json"
        write_checked(path, json.loads(path.read_text()) | {"seed": seed})
