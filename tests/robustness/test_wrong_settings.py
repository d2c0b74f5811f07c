"""Wrong values of keys, and YAML files of every wrong shape."""

from __future__ import annotations

import random
import resource
import shutil
from pathlib import Path

import pytest
from conftest import HPARAMS, SMALL
from forked import Ended, call, run

from lam_sb.config import key_blocks
from lam_sb.values import STUDY_KINDS

MEMORY = 16 << 30  # bytes of addresses, most of them of PyTorch's own
FILE = HPARAMS / "small/lam_gl.yaml"
VALUES = (
    *("null", "''", "[]", "{}", "0", "-1", "1.5", "1e9", "nan", ".inf"),
    *("maybe", "../x", "[1, 1]", "[a, a]", "{a: {b: c}}", "&a [*a]", "'{'"),
    *("!new:no.such.Thing", "2026-11-26", "a\x07b"),
)
STUDY_VALUES = (
    *("[[left, left]]", "[[left]]", "[[left, right, left]]", "[null]"),
    *("{cc: {nokey: 1}}", "{cc: {file: ../../etc}}", "{nosystem: }"),
    *("'{x}'", "[cc, cc]", "1000000"),
)


def bounded() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def check(ended: Ended, folder: Path, given: object) -> None:
    """See that it ended by itself, with one sentence, in its own folder."""
    assert ended.is_clean, (given, ended.said)
    left = folder.parent / "x"  # where a path may lead, a name may not
    if given in [("manifest_folder", "../x"), ("output_root", "../x")]:
        shutil.rmtree(left, ignore_errors=True)  # a dry run makes some
    found = {path.name for path in folder.parent.iterdir()}
    assert found == {folder.name}, given


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "inside"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def words(folder, corpora, wavlm) -> dict[str, object]:
    return {
        **{"data_folder": corpora, "encoder_source": wavlm},
        **{"feature_folder": "features", "output_root": "out"},
        "dry_run": True,
    }


def written(pairs: dict[str, object]) -> list[str]:
    return [f"--{key}={value}" for key, value in pairs.items()]


@pytest.mark.parametrize(
    "tries", [12, pytest.param(1000, marks=pytest.mark.slow)]
)
def test_keys_of_a_run(tries, words, folder):
    keys = sorted(key_blocks(FILE, {}))
    draw = random.Random(tries)
    both = [(key, value) for key in keys for value in VALUES]
    assert run([str(FILE), *written(SMALL | words)], before=bounded).code == 0
    for key, value in draw.sample(both, min(tries, len(both))):
        given = written(SMALL | words | {key: value})
        ended = run([str(FILE), "--noprogressbar", *given], before=bounded)
        check(ended, folder, (key, value))


@pytest.mark.parametrize(
    "tries", [6, pytest.param(500, marks=pytest.mark.slow)]
)
def test_keys_of_a_study(tries, words, folder, wavlm):
    path = folder / "mine.yaml"
    path.write_text(f"base: {HPARAMS / 'study/open.yaml'}\nstudy: mine\n")
    del words["encoder_source"]
    words |= {
        **{"hparams": f"{HPARAMS}/small/{{file}}.yaml", "seeds": 1},
        **{"systems": "[layer_atn]", "directions": "[[left, right]]"},
        **{"corpora": "[left, right]", "encoders": f"{{tiny: {wavlm}}}"},
    }
    draw = random.Random(tries)
    values = VALUES + STUDY_VALUES
    both = [(key, value) for key in sorted(STUDY_KINDS) for value in values]
    ended = call("reproduce", path, *written(words), before=bounded)
    assert ended.code == 0, ended.said
    for key, value in draw.sample(both, min(tries, len(both))):
        given = written(words | {key: value})
        ended = call("reproduce", path, *given, before=bounded)
        check(ended, folder, (key, value))


TWICE = ", ".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40))
SHAPES = {
    "aliases": f"label_map: {{a0: &a0 [x, x], {TWICE}}}",
    "itself": "gamma: &a [*a]",
    "each_other": "gamma: !ref <lr>\nlr: !ref <gamma>",
    "its_own": "gamma: !ref <gamma>",
    "copy": "gamma: !copy <gamma>",
    "deep": "label_map: " + "[" * 5000 + "]" * 5000,
    "nothing": "lr: !ref <nothing>",
    "twice": "lr: 1\nlr: 2",
    "tab": "lr:\t1\n\tx: 2",
    "no_class": "lr: !new:no.such.Thing",
    "python": "lr: !python/object/apply:os.system ['touch ../ran']",
    "code": "lr: !new:os.system ['touch ../ran']",
    "many": "label_map: [" + "x," * 300_000 + "x]",
    "large": "label_map: {" + ", ".join(f"k{n}: v" for n in range(300_000)),
    "include": "lr: !include:mine.yaml",
    "control": 'experiment: "a\\0b"',
}


@pytest.mark.parametrize("shape", SHAPES)
def test_files_over_ours(shape, words, folder):
    path = folder / "mine.yaml"
    path.write_text(f"base: {FILE}\n{SHAPES[shape]}\n")
    ended = run([str(path), *written(SMALL | words)], before=bounded)
    check(ended, folder, shape)
    assert ended.code == 2, ended.said


@pytest.mark.parametrize(
    "content",
    [
        *("base: mine.yaml", "base: .", "base: {}", "base: [[a]]", "- a"),
        *("hello", "", "a0: &a0 [x]\n" + TWICE.replace(", a", "\na")),
        *("\x00\x01", "\ufeff", "%YAML 9.9\n---\n", "{", "? [a]\n: b"),
    ],
)
@pytest.mark.parametrize("command", ["train", "reproduce"])
def test_files_of_another_shape(content, command, words, folder):
    path = folder / "mine.yaml"
    path.write_text(content)
    given = written(words)
    if command == "train":
        ended = run([str(path), *given], before=bounded)
    else:
        ended = call("reproduce", path, *given, before=bounded)
    check(ended, folder, content)
    assert ended.code == 2, ended.said


def test_bases_that_double(words, folder):
    (folder / "b0.yaml").write_text(f"base: {FILE}\n")
    for n in range(24):
        text = f"base: [b{n}.yaml, b{n}.yaml]\n"
        (folder / f"b{n + 1}.yaml").write_text(text)
    ended = run(["b24.yaml", *written(words)], before=bounded)
    check(ended, folder, "b24.yaml")
    assert ended.code == 2, ended.said
