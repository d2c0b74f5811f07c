"""Each file under hparams/."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from conftest import HPARAMS, make_encoder
from hyperpyyaml import load_hyperpyyaml
from speechbrain.utils.run_opts import RunOptions

from lam_sb.command_line import parse_arguments
from lam_sb.config import complete_text, flatten, load
from lam_sb.errors import UserError
from lam_sb.options import check_options, uses_anchors
from lam_sb.run import MAY_DIFFER, load_run

COMPLETE = HPARAMS / "lam_gl_wavlm.yaml"
FILES = sorted(
    path
    for path in HPARAMS.rglob("*.yaml")
    if path.parent.name != "study"  # grids of runs, no systems
    and path.name != "settings.yaml"  # a part of others
)
NAMES = [str(path.relative_to(HPARAMS)) for path in FILES]
MADE_OF_OTHERS = ("layers", "modules", "anchored_layers", "selection_settings")


def asked_by(path: Path) -> dict:
    """Read what a file and its bases, but for the complete one, ask for."""
    if path.name == COMPLETE.name:
        return {}
    objects = r"(?m)^(\w+: !.*|modules:)\n(    .*\n)*"
    own = yaml.safe_load(re.sub(objects, "", path.read_text()))
    bases = own.pop("base", [])
    asked = {}
    for base in [bases] if isinstance(bases, str) else bases:
        asked |= asked_by(path.parent / base)
    return asked | own


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Folder for all; the demo makes its corpora there once."""
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def load_here(encoders, root) -> Callable[[Path], dict]:
    """Load a file with the folders from here, once; not to be changed."""
    loaded: dict[Path, dict] = {}

    def make(path: Path) -> dict:
        if path not in loaded:
            loaded[path] = load(path, folders(encoders, path, root))
        return loaded[path]

    return make


@pytest.fixture(scope="module")
def load_complete(encoders) -> Callable[[dict], dict]:
    """Load the complete file by HyperPyYAML alone, once for each encoder."""
    loaded: dict[str, dict] = {}

    def make(overrides: dict) -> dict:
        family = overrides["encoder_source"]
        if family not in loaded:
            text = COMPLETE.read_text()
            loaded[family] = load_hyperpyyaml(text, overrides)
        return loaded[family]

    return make


@pytest.fixture(scope="module")
def experiments() -> dict[Path, dict]:
    """Name of the folder of each file's results."""
    line = r"(?m)^experiment: .*"
    return {p: yaml.safe_load(re.findall(line, flatten(p))[0]) for p in FILES}


def folders(encoders: dict, path: Path, root: Path) -> dict:
    """Where a run of the file finds and leaves things here."""
    asked = asked_by(path).get("encoder_source", "")
    whisper = "whisper" in asked or path.parent.name == "small"
    family = "whisper" if whisper else "wavlm"
    return {
        "data_folder": str(root / "corpora"),
        "output_root": str(root),
        "encoder_source": str(encoders[family]),
    }


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_each_file_loads_to_what_it_asks_for(
    path, encoders, root, load_here, load_complete
):
    overrides = folders(encoders, path, root)
    asked = asked_by(path) | overrides
    hparams = load_here(path)
    direct = load_hyperpyyaml(flatten(path), overrides)
    complete = load_complete(overrides)
    assert hparams.keys() == direct.keys() == complete.keys()
    for key in hparams.keys() - set(MAY_DIFFER):
        value = asked.get(key, complete[key])
        plain = isinstance(value, (int, float, str, list, dict, type(None)))
        if plain and key not in MADE_OF_OTHERS:
            assert hparams[key] == direct[key] == value, key
    everything = set(range(1, 13))
    used = uses_anchors(hparams["alignment"], hparams["mix_layers"])
    anchors = hparams["anchor_layers"] if used else []
    assert hparams["anchored_layers"] == anchors
    anchored = set(hparams["anchored_layers"])
    assert (
        set(hparams["layers"])
        == {
            "all": everything,
            "top": {12},
            "best_on_source": {12},  # until the features are known
            "not_anchored": everything - anchored,
        }[hparams["mix_layers"]]
    )


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_the_file_that_a_run_leaves_loads_to_the_same_values(
    path, encoders, root
):
    overrides = folders(encoders, path, root) | {"gamma": 0.125}
    hparams = load(path, overrides)
    text = complete_text(str(path), overrides)
    assert "!PLACEHOLDER\n" not in text
    again = load_hyperpyyaml(text)
    assert again.keys() == hparams.keys()
    assert again["gamma"] == 0.125
    for key, value in hparams.items():
        if isinstance(value, (int, float, str, list, type(None))):
            assert again[key] == value, key
        else:
            assert type(again[key]) is type(value), key


def test_what_a_run_leaves_is_a_file_of_the_same_settings(encoders, root):
    path, file = (
        next(f for f in FILES if f.stem == "pc_avg"),
        root / "left.yaml",
    )
    overrides = folders(encoders, path, root) | {"lr": 0.5}
    run_opts = parse_arguments([str(path)])[1]
    file.write_text(complete_text(str(path), overrides))
    settings = load_run(str(path), run_opts, overrides)[1]
    assert load_run(str(file), run_opts, {})[1] == settings


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_an_ablation_is_a_few_lines_under_a_comment(path):
    lines = path.read_text().splitlines()
    assert lines[0].startswith("# ")
    if path != COMPLETE:
        assert len(lines) <= 25
        assert sum(line.startswith("base:") for line in lines) == 1


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_each_file_names_a_folder_of_its_own(path, experiments):
    others = [name for p, name in experiments.items() if p != path]
    assert len(others) == len(FILES) - 1
    assert experiments[path] not in others


def test_a_key_of_the_complete_file_has_a_comment_or_stands_in_a_group():
    explained = False
    for line in COMPLETE.read_text().splitlines():
        if line.startswith("#"):
            explained = True
            objects = line == "# Objects built from the keys above."
        elif not line.strip():
            explained = False
            if objects:
                break
        elif not line[0].isspace():
            assert explained, line
    assert objects  # and nothing but objects follows
    rest = COMPLETE.read_text().split("# Objects built from the keys above.")
    for line in re.findall(r"(?m)^\w+:.*", rest[1]):
        made = re.search(r": !(new|name|apply):", line)
        assert made or line in ("selection_settings:", "modules:")


def test_data_folder_is_the_only_placeholder():
    lines = COMPLETE.read_text().splitlines()
    placeholders = [line for line in lines if "!PLACEHOLDER" in line]
    assert placeholders == ["data_folder: !PLACEHOLDER"]


def test_the_keys_that_speechbrains_recipe_tests_use_exist():
    text = COMPLETE.read_text()
    for key in (
        *("skip_prep", "source_train", "source_valid", "target_train"),
        *("target_test", "train_logger", "number_of_epochs", "output_folder"),
    ):
        assert re.search(rf"(?m)^{key}:", text), key


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_no_file_sets_a_key_that_its_system_has_no_use_for(path, load_here):
    check_options({**load_here(path)}, {}, str(path))


def test_the_small_files_share_one_setting():
    for path in (HPARAMS / "small").glob("*.yaml"):
        if path.name != "settings.yaml":
            text = flatten(path)
            own = "residual" if path.stem == "lam_plus" else "domain"
            assert f"normalise: {own}" in text
            assert "max_steps: 200" in text


@pytest.mark.parametrize(
    ("name", "depth", "anchors"),
    [("cc", 2, []), ("pc_avg", 2, []), ("layer_atn", 4, [])],
)
def test_whispers_anchors_hold_up_no_system_that_aligns_none(
    name, depth, anchors, tmp_path
):
    keys = {"data_folder": "x", "output_root": str(tmp_path)}
    keys["encoder_source"] = str(make_encoder(tmp_path / "e", layers=depth))
    path = str(HPARAMS / f"small/{name}.yaml")
    hparams, settings = load_run(path, RunOptions(), keys)
    assert hparams["anchored_layers"] == settings["anchored_layers"] == anchors


def test_whispers_anchors_are_not_put_on_wavlm(encoders, tmp_path):
    keys = {"data_folder": "x", "output_root": str(tmp_path)}
    path = str(HPARAMS / "small/lam_gl.yaml")
    for family, refused in (("whisper", False), ("wavlm", True)):
        given = keys | {"encoder_source": str(encoders[family])}
        if not refused:
            assert load_run(path, RunOptions(), given)[0]["layers"]
            continue
        with pytest.raises(
            UserError, match="were chosen on whisper, not on wa"
        ):
            load_run(path, RunOptions(), given)
        named = given | {"anchor_layers": [1, 2]}
        hparams, _ = load_run(path, RunOptions(), named)
        assert hparams["anchored_layers"] == [1, 2]
