"""YAML files over their bases, the command line on top."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from conftest import TOY, over, write

from lam_sb.config import (
    complete_text,
    flatten,
    load,
    load_study,
    own_keys,
    recipe_folder,
)
from lam_sb.errors import UserError


def load_toy(path: Path, **overrides) -> dict:
    return load(path, {"data_folder": "/d", **overrides})


def test_a_file_without_a_base_stays_as_it_is(toy):
    assert flatten(toy) == TOY


def test_a_key_is_replaced_in_place_under_its_comment(toy):
    text = flatten(over(toy, "gamma: 2\n"))
    assert text == TOY.replace("gamma: 0.5", "gamma: 2")


def test_a_comment_of_its_own_replaces_the_comment(toy):
    text = flatten(over(toy, "# None.\ngamma: 0\n"))
    assert "# None.\ngamma: 0\n" in text
    assert "# Trade-off." not in text
    assert "# Name of the folder.\nexperiment: toy\n" in text


def test_a_blank_line_is_no_comment(toy):
    text = flatten(over(toy, "\n\ngamma: 0\n\nlr: 1\n"))
    assert "# Trade-off.\ngamma: 0\nlr: 1\n" in text


def test_a_replaced_block_leaves_no_line_behind(toy):
    text = flatten(over(toy, "counter: !new:dict\n    beta: 3\n"))
    before, after = TOY.split("counter:")[0], "last: end\n"
    assert text == before + "counter: !new:dict\n    beta: 3\n" + after


def test_a_scalar_may_become_a_block_and_a_block_a_scalar(toy):
    text = "gamma: 1\nlast:\n- 1\n- 2\n# No object.\ncounter: null\n"
    hparams = load_toy(over(toy, text))
    assert hparams["last"] == [1, 2]
    assert hparams["counter"] is None
    assert hparams["patience"] == 2


def test_a_chain_of_bases_is_followed_the_nearest_wins(toy):
    middle = over(toy, "gamma: 1\nlr: 1\n", "middle.yaml")
    hparams = load_toy(over(middle, "lr: 2\n"))
    assert (hparams["gamma"], hparams["lr"], hparams["last"]) == (1, 2, "end")
    assert hparams["counter"]["gamma"] == 1


def test_of_several_bases_the_last_wins_and_may_be_a_part(toy):
    over(toy, "gamma: 1\nlr: 1\n", "system.yaml")
    write(toy.parent / "part.yaml", "# Ours.\nlr: 2\nlast: part\n")
    path = write(
        toy.parent / "both.yaml", "base: [system.yaml, part.yaml]\nlast: own\n"
    )
    hparams = load_toy(path)
    assert (hparams["gamma"], hparams["lr"], hparams["last"]) == (1, 2, "own")
    assert "# Ours.\nlr: 2\n" in flatten(path)
    write(toy.parent / "part.yaml", "gama: 2\n")
    with pytest.raises(UserError, match=r"part.yaml: there is no key 'gama'"):
        flatten(path)


def test_own_keys_are_those_set_over_a_base(toy):
    path = over(toy, 'gamma: 1\n"lr": 1\n')
    assert own_keys(path) == {"gamma", "lr"}
    assert own_keys(toy) == set()  # complete by itself


def test_a_base_is_found_from_the_file_that_names_it(toy, tmp_path):
    write(tmp_path / "a/b/x.yaml", "base: ../../toy.yaml\nlr: 7\n")
    middle = write(tmp_path / "c/y.yaml", "base: ../a/b/x.yaml\n")
    assert flatten(middle) == TOY.replace("lr: 0.001  # Adam", "lr: 7")


def test_the_last_line_needs_no_line_break(toy):
    assert flatten(over(toy, "last: 1")).endswith("last: 1\n")
    assert "gamma: 1\nlr:" in flatten(over(toy, "gamma: 1"))


def test_bases_in_a_circle_are_an_error(tmp_path):
    for name, base in ("ab", "bc", "ca"):
        write(tmp_path / f"{name}.yaml", f"base: {base}.yaml\n")
    with pytest.raises(UserError, match=r"a\.yaml is its own base"):
        flatten(tmp_path / "a.yaml")


def test_a_file_may_not_be_its_own_base(tmp_path):
    path = write(tmp_path / "a.yaml", "base: a.yaml\n")
    with pytest.raises(UserError, match="is its own base"):
        flatten(path)


def test_a_missing_base_names_who_asked_for_it(tmp_path):
    path = write(tmp_path / "a.yaml", "base: nowhere.yaml\n")
    with pytest.raises(UserError, match=r"nowhere\.yaml \(base of .*a\.yaml"):
        flatten(path)


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"no YAML file .*nowhere\.yaml"):
        flatten(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize("base", ["[x", "", "[a.yaml]"])
def test_a_base_that_names_no_file_is_an_error(base, tmp_path):
    path = write(tmp_path / "a.yaml", f"base: {base}\n")
    with pytest.raises(UserError, match=r"a\.yaml"):
        flatten(path)


@pytest.mark.parametrize(
    ("line", "key", "near"),
    [
        ("gama: 0", "gama", "gamma"),
        ("anchor-layers: [1]", "anchor-layers", "anchor_layers"),
        ('"gamm": 0', "gamm", "gamma"),
        ("anchor: [1]", "anchor", "anchor_layers"),
    ],
)
def test_an_unknown_key_is_refused_with_the_near_one(line, key, near, toy):
    message = rf"ablation\.yaml: there is no key '{key}'. .*'{near}'"
    with pytest.raises(UserError, match=message):
        flatten(over(toy, line + "\n"))


def test_an_unknown_key_far_from_all_is_refused_too(toy):
    with pytest.raises(UserError, match="no key 'xyzzy'"):
        flatten(over(toy, "xyzzy: 0\n"))


@pytest.mark.parametrize("text", ["gamma: 1\ngamma: 2\n", "gamma: [1\n"])
def test_broken_yaml_is_one_message(text, toy):
    with pytest.raises(UserError, match=r"ablation\.yaml"):
        load_toy(over(toy, text))


@pytest.mark.parametrize(
    "text",
    [
        "counter: !new:collections.Nothing\n",
        "counter: !ref <nothing>\n",
        "counter: !new:fractions.Fraction\n    colour: red\n",
    ],
)
def test_an_object_that_cannot_be_built_is_one_message(text, toy):
    with pytest.raises(UserError, match=r"ablation\.yaml"):
        load_toy(over(toy, text))


def test_an_error_of_our_own_is_passed_on_as_it_is(toy):
    text = "counter: !apply:lam_sb.models.pooling.mixed_layers [top, [9], 3]\n"
    with pytest.raises(UserError, match=r"^anchor_layers \[9\]: the encoder"):
        load_toy(over(toy, text))


def test_the_command_line_goes_on_top(toy):
    hparams = load_toy(over(toy, "gamma: 2\n"), gamma=7)
    assert hparams["gamma"] == 7
    assert hparams["counter"] == {"gamma": 7, "steps": 1}
    assert hparams["output_folder"] == "results/toy"


def test_a_mapping_on_the_command_line_replaces_the_whole_key(toy):
    path = over(toy, "label_map: {W: angry}\n")
    hparams = load_toy(path, label_map={"F": "happy"})
    assert hparams["label_map"] == {"F": "happy"}


def test_a_missing_data_folder_names_the_option(toy):
    with pytest.raises(UserError, match="--data_folder"):
        load(toy, {})


def test_a_data_folder_in_the_file_will_do(toy):
    text = "# In place of !PLACEHOLDER.\ndata_folder: /x\n"
    assert load(over(toy, text), {})["data_folder"] == "/x"


def test_a_file_without_data_folder_loads(recipe):
    path = write(recipe / "a.yaml", "gamma: 1\n")
    assert load(path, {}) == {"gamma": 1}


def test_a_run_is_reached_again_from_the_file_that_it_leaves(toy, tmp_path):
    overrides = {"data_folder": "/d", "gamma": 0.25, "anchor_layers": [3]}
    overrides["label_map"] = {"calm": None}
    text = complete_text(str(over(toy, "lr: 2\n")), overrides)
    path = write(tmp_path / "hyperparams.yaml", text)
    assert load(path, {}) == load(over(toy, "lr: 2\n"), overrides)
    hparams = load(path, {"gamma": 4, "experiment": "again"})
    assert hparams["counter"]["gamma"] == 4
    assert hparams["output_folder"] == "results/again"


def test_the_recipe_is_the_folder_of_train_above_the_first_base(tmp_path):
    write(tmp_path / "recipe/train.py", "")
    base = write(tmp_path / "recipe/hparams/base.yaml", "gamma: 1\n")
    assert recipe_folder(base) == tmp_path / "recipe"
    # The user's own files lie elsewhere, where another train.py is as well.
    write(tmp_path / "mine/train.py", "")
    middle = write(tmp_path / "mine/a/middle.yaml", f"base: {base}\n")
    assert recipe_folder(middle) == tmp_path / "recipe"
    part = write(tmp_path / "mine/part.yaml", "gamma: 3\n")
    path = write(tmp_path / "x.yaml", f"base: [{middle}, {part}]\n")
    assert recipe_folder(path) == tmp_path / "recipe"


def test_the_recipe_may_be_above_a_file_whose_base_lies_outside(tmp_path):
    base = write(tmp_path / "shared/base.yaml", "gamma: 1\n")
    write(tmp_path / "recipe/train.py", "")
    path = write(tmp_path / "recipe/x.yaml", f"base: {base}\n")
    assert recipe_folder(path) == tmp_path / "recipe"


def test_a_path_from_the_working_folder_finds_its_recipe(recipe, monkeypatch):
    (recipe / "empty").mkdir()
    write(recipe / "a.yaml", "gamma: 1\n")
    monkeypatch.chdir(recipe / "empty")
    assert recipe_folder("../a.yaml") == recipe


def test_a_file_of_no_recipe_is_one_sentence(tmp_path):
    path = write(tmp_path / "a.yaml", "gamma: 1\n")
    with pytest.raises(UserError, match=r"No folder above .*a\.yaml holds"):
        recipe_folder(path)
    # A complete file needs none, hyperparams.yaml of a run for example.
    assert load(path, {}) == {"gamma": 1}


def test_modules_beside_the_file_and_in_its_recipe_are_found(recipe):
    write(recipe / "toy_of_recipe.py", "def one():\n    return 1\n")
    write(recipe / "mine/toy_of_mine.py", "def two():\n    return 2\n")
    text = "a: !apply:toy_of_recipe.one\nb: !apply:toy_of_mine.two\n"
    path = write(recipe / "mine/a.yaml", text)
    assert load(path, {}) == {"a": 1, "b": 2}


def test_a_study_is_no_system_and_says_who_runs_it(tmp_path):
    path = write(tmp_path / "s.yaml", "study: s\nmade: !apply:no.such.thing\n")
    with pytest.raises(UserError, match="is a study, no system: python -m"):
        load(path, {"anchor_layers": []})  # before anything of it is built


def test_a_studys_hparams_are_relative_to_the_file_that_sets_them(tmp_path):
    study = "study: one\nhparams: ../{file}.yaml\nseeds: 1\n"
    one = write(tmp_path / "recipe/study/one.yaml", study)
    other = write(tmp_path / "recipe/other.yaml", "study: x\nseeds: 2\n")
    bases = f"base: [{one}, {other}]\nstudy: mine\n"
    mine = write(tmp_path / "elsewhere/mine.yaml", bases)
    found = [
        load_study(str(path), given)[0]["hparams"]
        for path, given in (
            (one, {}),
            (mine, {}),
            (mine, {"hparams": "own/{file}.yaml"}),
            (over(mine, "hparams: there/{file}.yaml\n"), {}),
        )
    ]
    beside = tmp_path / "elsewhere"
    assert [os.path.normpath(path) for path in found] == [
        str(tmp_path / "recipe/{file}.yaml"),
        str(tmp_path / "recipe/{file}.yaml"),
        str(beside / "own/{file}.yaml"),
        str(beside / "there/{file}.yaml"),
    ]


@pytest.mark.parametrize("lines", [" gamma: 0.9", "? gamma\n: 0.9", "{lr: 1}"])
def test_a_line_before_the_first_key_is_not_lost(lines, tmp_path):
    base = write(tmp_path / "base.yaml", "gamma: 0.5\nlr: 2\n")
    path = write(tmp_path / "own.yaml", f"{lines}\nbase: {base}\n")
    with pytest.raises(UserError, match="stands before the first key"):
        flatten(path)


def test_files_of_other_editors_and_systems(tmp_path):
    base = write(tmp_path / "base.yaml", "gamma: 0.5\nlr: 2\n")
    path = tmp_path / "own.yaml"
    path.write_text(f"---\ngamma: 0.9\nbase: {base}\n", encoding="utf-8-sig")
    assert flatten(path) == "gamma: 0.9\nlr: 2\n"
    path.write_text("# schön\nlr: 1\n", encoding="latin-1")
    with pytest.raises(UserError, match="is not in UTF-8"):
        flatten(path)


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("experiment: 0011", "0011"),
        ("experiment: 2026-11-26  # the day", "2026-11-26"),
        ("experiment: 1e3", "1e3"),
        ("experiment: true", "true"),
        ("experiment: 'null'", "null"),
        ("experiment: plain_name", "plain_name"),
    ],
)
def test_a_name_stays_as_it_is_typed(line, name, toy):
    path = over(toy, f"{line}\n")
    assert load(path, {"data_folder": "/d"})["experiment"] == name


def test_bases_that_multiply_end_at_once(toy):
    path = toy
    for n in range(24):
        text = f"base: [{path.name}, {path.name}]\n"
        path = write(toy.parent / f"{n}.yaml", text)
    with pytest.raises(UserError, match="more than 100 bases"):
        flatten(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gamma: &a [*a]", "holds too many values"),
        ("label_map: " + "[" * 3000, "is no valid YAML"),
        ("lr: !include:ablation.yaml", "does not load"),
        ("counter: " + "x" * 2**21, "is too large"),
    ],
    ids=["self", "deep", "include", "large"],
)
def test_files_without_end_are_one_sentence(text, message, toy):
    path = over(toy, f"{text}\n")
    with pytest.raises(UserError, match=message):
        load(path, {"data_folder": "/d"})


def test_aliases_that_multiply_are_refused(toy):
    names = [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40)]
    path = over(toy, f"anchor_layers: {{a0: &a0 [1, 1], {', '.join(names)}}}\n")
    with pytest.raises(UserError, match="holds too many values"):
        load(path, {"data_folder": "/d"})


def test_what_a_file_builds_takes_no_plain_value(toy):
    with pytest.raises(UserError, match="counter is built by the file"):
        load(toy, {"data_folder": "/d", "counter": None})


def test_aliases_of_one_key_serve_another(toy):
    path = over(toy, "experiment: &name 0011\nlast: *name\n")
    assert load(path, {"data_folder": "/d"})["last"] == 11  # YAML's own
