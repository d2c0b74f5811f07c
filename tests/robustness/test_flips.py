"""One byte is flipped somewhere: the same numbers, or one sentence."""

from __future__ import annotations

import json
import random
import re
import shutil
from pathlib import Path

import pytest
from conftest import HPARAMS, SMALL
from forked import call, run
from runs import folder_of, outcome
from small_studies import study_words, tables

import train
from lam_sb.files import DamagedError, read_checked

SOME = [2, pytest.param(40, marks=pytest.mark.slow)]
HEADER = 200  # bytes


def flip(path: Path, draw: random.Random, where: str = "anywhere") -> str:
    """Change one byte of a file; say which."""
    content = bytearray(path.read_bytes())
    ranges = {"header": (0, HEADER), "body": (HEADER, len(content))}
    at = draw.randrange(*ranges.get(where, (0, len(content))))
    before = content[at]
    content[at] ^= draw.randrange(1, 256)
    path.write_bytes(content)
    return f"{path.name}, byte {at}: {before} -> {content[at]}"


def words(root: Path, corpora: Path, wavlm: Path, **keys) -> list[str]:
    folders = {
        **{"data_folder": corpora, "encoder_source": wavlm},
        **{"feature_folder": root / "features", "output_root": root / "out"},
    }
    pairs = SMALL | folders | keys
    given = [f"--{key}={value}" for key, value in pairs.items()]
    return [str(HPARAMS / "small/lam_gl.yaml"), "--noprogressbar", *given]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, corpora, wavlm) -> Path:
    """Root of a finished run, ``out``, and of one that stopped, ``half``."""
    root = tmp_path_factory.mktemp("whole")
    assert run(words(root, corpora, wavlm)).code == 0

    def interrupted():
        def stop(*_):
            raise KeyboardInterrupt

        train.LamBrain.posteriors = stop  # of this process alone

    half = words(root, corpora, wavlm, output_root=root / "half")
    half.append("--number_of_epochs=1")
    assert run(half, before=interrupted).code == 130
    return root


@pytest.fixture
def attacked(whole, tmp_path) -> Path:
    return shutil.copytree(whole, tmp_path / "attacked")


def restore(whole: Path, attacked: Path) -> None:
    shutil.rmtree(attacked)
    shutil.copytree(whole, attacked)


def check(whole, attacked, given, what) -> None:
    """Run, and see that the outcome is that of the unbroken run, or none."""
    ended = run(given)
    assert ended.is_clean, (what, ended.said)
    if ended.code == 0:
        given_whole = [w.replace(str(attacked), str(whole)) for w in given]
        results, rows = outcome(folder_of(given))
        expected, expected_rows = outcome(folder_of(given_whole))
        for key in ("files", "encoder", "settings_hash"):
            results.pop(key), expected.pop(key)
        assert rows == expected_rows, what
        assert results == expected, what


@pytest.mark.parametrize("tries", SOME)
@pytest.mark.parametrize(
    ("pattern", "where"),
    [
        ("features/*/????????????????.safetensors", "body"),
        ("features/*/????????????????.safetensors", "header"),
        ("features/*/plan.json", "anywhere"),
        ("features/*/store.json", "anywhere"),
        ("features/*/statistics/*.safetensors", "anywhere"),
    ],
)
def test_features_are_made_again(
    tries, pattern, where, whole, attacked, corpora, wavlm
):
    draw = random.Random(tries)
    for _ in range(tries):
        what = flip(draw.choice(sorted(attacked.glob(pattern))), draw, where)
        shutil.rmtree(attacked / "out/small_lam_gl")
        check(whole, attacked, words(attacked, corpora, wavlm), what)
        restore(whole, attacked)


@pytest.mark.parametrize("tries", SOME)
@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("tested.safetensors", "body"),
        ("tested.safetensors", "header"),
        ("finished.json", "anywhere"),
        ("inference.safetensors", "anywhere"),
    ],
)
def test_weights_are_refused(
    tries, name, where, whole, attacked, corpora, wavlm
):
    draw = random.Random(tries)
    for _ in range(tries):
        (path,) = attacked.glob(f"out/**/save/{name}")
        what = flip(path, draw, where)
        for left in ("results.json", "predictions.csv"):
            (path.parent.with_name(left)).unlink()
        check(whole, attacked, words(attacked, corpora, wavlm), what)
        restore(whole, attacked)


@pytest.mark.parametrize("tries", [4, pytest.param(96, marks=pytest.mark.slow)])
def test_checkpoints_are_refused(tries, whole, attacked, corpora, wavlm):
    draw = random.Random(tries)
    for _ in range(tries):
        files = sorted(attacked.glob("half/**/save/CKPT*/*"))
        files += sorted(attacked.glob("half/**/save/weights/*"))
        what = flip(draw.choice(files), draw)
        shutil.rmtree(attacked / "out/small_lam_gl")
        shutil.move(attacked / "half/small_lam_gl", attacked / "out")
        check(whole, attacked, words(attacked, corpora, wavlm), what)
        restore(whole, attacked)


@pytest.mark.parametrize(
    "pattern",
    [
        *("out/**/results.json", "out/**/save/finished.json"),
        *("features/*/plan.json", "features/*/store.json"),
        *("out/**/selection.json",),
    ],
)
def test_another_digit_in_json_is_noticed(pattern, studied):
    root, _ = studied
    path = next(iter(sorted(root.glob(pattern))))
    text = path.read_text()
    place = re.search(r"[0-9](?=[\",\n])", text).start()
    other = str((int(text[place]) + 1) % 10)
    try:
        path.write_text(text[:place] + other + text[place + 1 :])
        json.loads(path.read_text())  # nothing else is wrong with it
        with pytest.raises(DamagedError, match="its checksum differs"):
            read_checked(path)
    finally:
        path.write_text(text)


@pytest.fixture(scope="module")
def studied(tmp_path_factory, corpora, wavlm) -> tuple[Path, list[str]]:
    """Root of a finished study, and the command that made it."""
    root = tmp_path_factory.mktemp("studied")
    systems = "[layer_atn, lam_gl]"
    command = study_words(root, corpora, wavlm, systems=systems)
    ended = call(*command)
    assert ended.code == 0, ended.said
    return root, command


FILES = (
    *("results.json", "predictions.csv", "settings.yaml", "history.csv"),
    *("layer_weights.csv", "selection.json", "similarity.csv"),
)


@pytest.mark.parametrize(
    "tries", [7, pytest.param(119, marks=pytest.mark.slow)]
)
def test_what_a_study_reads_is_left_out_and_named(tries, studied, tmp_path):
    root, command = studied
    draw = random.Random(tries)
    kept, before = tmp_path / "kept", tables(root)
    shutil.copytree(root / "out", kept)
    for n in range(tries):
        name = FILES[n % len(FILES)]
        path = draw.choice(sorted((root / "out").rglob(name)))
        what = flip(path, draw)
        ended = call(*command, "--report_only=True")
        assert ended.is_clean, (what, ended.said)
        if tables(root) != before:
            page = (root / "out/study/mine/report.html").read_text()
            listed = ("damaged", "is not the one that", "are not done yet")
            assert any(text in page for text in listed), what
        shutil.rmtree(root / "out")
        shutil.copytree(kept, root / "out")
