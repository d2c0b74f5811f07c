"""What decides a run's result, and whose its folder is."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import EMOTIONS, HPARAMS, TOY, over, write

from lam_sb import run_results
from lam_sb.command_line import parse_arguments
from lam_sb.errors import UserError
from lam_sb.evaluation.results import check_same_length, finished_result
from lam_sb.run import MAY_DIFFER, load_run
from lam_sb.run_folder import settings_hash
from lam_sb.run_results import leave_results
from lam_sb.training.rows import DomainRows

# The toy as a system, with what the options of a system are checked for.
RUN_KEYS = """\
system: toy
fit: brain
bound: none
anchors_chosen_on: null
source: left
target: right
source_folder: /left
target_folder: /right
prepare: !name:builtins.dict
balance: corpus
calibrate: none
seeds_averaged: 1
protocol: speakers
normalise: domain
features_on: auto
target_rows: four
select_on: source
class_weight: none
mix_layers: all
layers: !apply:lam_sb.models.pooling.mixed_layers
    mix_layers: !ref <mix_layers>
    anchor_layers: !ref <anchor_layers>
    num_layers: 12
segment: utterance
target_shots: 3
hold_out_shots: null
similarity: centroid
anchored_layers: !ref <anchor_layers>
alignment: !new:lam_sb.losses.coral.LayerCoral
"""


@pytest.fixture
def toy(toy) -> Path:
    return write(toy, TOY + RUN_KEYS)


def settings_of(path: Path, *options: str, **overrides) -> dict:
    run_opts = parse_arguments([str(path), *options])[1]
    overrides = {"data_folder": "/d", **overrides}
    return load_run(str(path), run_opts, overrides)[1]


def test_loading_twice_gives_the_same_settings(toy):
    assert settings_of(toy) == settings_of(toy)


def test_a_mapping_on_the_command_line_is_the_whole_setting(toy):
    path = over(toy, "label_map: {W: angry}\n")
    settings = settings_of(path, label_map={"F": "happy"})
    assert settings["label_map"] == {"F": "happy"}


def test_clipping_is_a_setting_as_a_key_of_the_file(toy):
    assert settings_of(toy)["max_grad_norm"] == float("inf")
    assert settings_of(toy, max_grad_norm=3)["max_grad_norm"] == 3


def test_options_of_speechbrain_that_decide_the_result_are_settings(toy):
    plain = settings_of(toy)
    given = ("--precision=bf16", "--grad_accumulation_factor=2")
    assert settings_of(toy, *given) == plain | {
        "precision": "bf16",
        "grad_accumulation_factor": 2,
    }
    assert settings_of(toy, "--debug", "--device=cpu") == plain


def test_a_debug_run_that_stays_in_its_folder_is_told_from_a_result(toy):
    debug = ("--debug", "--debug_persistently")
    assert settings_of(toy, *debug) == settings_of(toy) | {"debug": True}
    overrides = {"data_folder": "/d", "output_folder": "/d/x"}
    for options, folder in ((debug, "/d/x"), (debug[:1], "/d/x_debug")):
        run_opts = parse_arguments([str(toy), *options])[1]
        hparams = load_run(str(toy), run_opts, overrides)[0]
        assert hparams["output_folder"] == folder


def test_what_a_system_has_no_use_for_is_no_setting(toy):
    settings = settings_of(toy)
    assert settings["anchored_layers"] == settings["anchor_layers"] == [1, 2]
    assert settings["gamma"] == 0.5
    assert "similarity" not in settings  # the anchors are a list
    text = TOY + RUN_KEYS.replace("!new:lam_sb.losses.coral.LayerCoral", "null")
    settings = settings_of(write(toy, text))
    assert "gamma" not in settings
    assert "segment" not in settings
    text = text.replace("mix_layers: all", "mix_layers: top")
    settings = settings_of(write(toy, text))
    assert settings["anchored_layers"] == []


def test_shots_held_out_by_default_are_the_setting_of_the_word(toy):
    whole = {"protocol": "transductive", "fit": "episodes"}
    assert "hold_out_shots" not in settings_of(toy, fit="episodes")
    for shots, held_out in ((2, True), (0, False)):
        keys = whole | {"target_shots": shots}
        said = settings_of(toy, hold_out_shots=held_out, **keys)
        assert settings_of(toy, **keys) == said
        assert said["hold_out_shots"] is held_out


def hash_of(path: Path, **overrides) -> str:
    return settings_hash(settings_of(path, **overrides))


def test_the_hash_is_16_hexadecimal_digits(toy):
    assert re.fullmatch("[0-9a-f]{16}", hash_of(toy))


def test_the_hash_does_not_depend_on_the_order_of_keys(toy):
    settings = settings_of(toy)
    turned = dict(reversed(settings.items()))
    assert settings_hash(turned) == settings_hash(settings)


@pytest.mark.parametrize(
    "change",
    [
        {"data_folder": "/e"},
        {"output_folder": "/f"},
        {"number_of_epochs": 9},
        {"patience": 9},
    ],
)
def test_paths_and_how_far_to_train_are_no_settings(change, toy):
    assert hash_of(toy, **change) == hash_of(toy)


@pytest.mark.parametrize(
    "change",
    [
        {"gamma": 0.25},
        {"anchor_layers": [2]},
        {"label_map": {"calm": None}},
        {"experiment": "other"},
        {"alignment": None},
    ],
)
def test_what_decides_the_result_is_a_setting(change, toy):
    assert hash_of(toy, **change) != hash_of(toy)


def test_the_parts_of_an_object_are_settings(toy):
    text = "counter: !new:collections.Counter\n    gamma: !ref <gamma>\n"
    other = text + "    steps: 2\n"
    same = text + "    steps: 1  # one\n"
    assert hash_of(over(toy, other)) != hash_of(toy)
    assert hash_of(over(toy, same)) == hash_of(toy)


def test_comments_and_spelling_are_no_settings(toy):
    text = "# Other.\n\ngamma:   5.0e-1   # half\nanchor_layers:\n- 1\n- 2\n"
    assert hash_of(over(toy, text)) == hash_of(toy)


def test_a_number_sign_in_a_string_is_no_comment(toy):
    one, two = (over(toy, f'last: "a #{n}"\n', f"{n}.yaml") for n in (1, 2))
    assert settings_of(one)["last"] == "a #1"
    assert hash_of(one) != hash_of(two)


def test_file_and_command_line_say_the_same_thing(toy):
    in_file = over(toy, "gamma: 0.25\nlr: 1e-4\nanchor_layers: [3]\n")
    words = ["--gamma=.25", "--lr=0.0001", "--anchor_layers=[3]"]
    on_line = parse_arguments([str(toy), *words])[2]
    assert hash_of(toy, **on_line) == hash_of(in_file)


def test_the_keys_that_may_differ_are_keys_of_the_complete_file():
    text = (HPARAMS / "lam_gl_wavlm.yaml").read_text()
    assert set(MAY_DIFFER) <= set(re.findall(r"(?m)^(\w+):", text))


SETTINGS = {"a": 1, "data": {"store": "s"}}


def leave(
    folder: Path,
    speakers: int,
    emotions=EMOTIONS,
    debug=False,
    targets=("right",),
    **content,
) -> list:
    """Lines and files of a run that takes every sad row for a happy one."""
    names = [f"s{n}" for n in range(speakers)]
    manifest = {
        f"{name}_{emotion}": {"speaker": name, "emo": emotion}
        for name in names
        for emotion in emotions
    }
    rows = DomainRows(manifest, None, labelled=True)
    right = np.eye(4)[rows.labels.numpy()]
    chosen = right.copy()
    chosen[rows.labels.numpy() == EMOTIONS.index("sad")] = np.eye(4)[1]
    hparams = {"output_folder": folder, "select_on": "last"}
    hparams |= {"sources": ["left"], "targets": targets}
    hparams |= {"manifest_folder": folder / "manifests"}
    posteriors = {"last": chosen, "source": right}
    return leave_results(
        hparams,
        SETTINGS,
        dict.fromkeys(targets, rows),
        dict.fromkeys(targets, posteriors),
        {target: {"b": 2} | content for target in targets},
        debug,
    )


def test_a_run_ends_with_its_uar_interval_and_path(tmp_path):
    (line,) = leave(tmp_path, speakers=10)
    # Recalls of 1, 1, 1 and 0; no speaker differs from another.
    path = tmp_path / "results.json"
    assert line == f"Test UAR 0.7500 [0.7500, 0.7500] {path}"
    results = json.loads(path.read_text())
    assert (results["uar"], results["b"]) == (0.75, 2)
    assert (results["uar_last"], results["uar_source"]) == (0.75, 1)
    assert results["settings_hash"] == settings_hash(SETTINGS)
    assert (tmp_path / "predictions.csv").read_text().count("right,sad,") == 10


def test_a_run_says_that_the_test_set_has_few_speakers(tmp_path):
    *limits, line = leave(tmp_path, speakers=9)
    assert limits == [
        "The test set has 9 speakers, fewer than 10: the interval is rough."
    ]
    assert line.startswith("Test UAR 0.7500 [")


def test_a_run_says_which_emotions_the_test_set_lacks(tmp_path):
    *limits, line = leave(tmp_path, 10, ("happy", "sad"))
    assert limits == [
        "The test set holds no neutral, angry: the UAR is the mean over the "
        "other emotions."
    ]
    assert line.startswith("Test UAR 0.5000 [")


def test_one_speaker_has_no_interval(tmp_path):
    line = leave(tmp_path, speakers=1)[-1]
    assert line == f"Test UAR 0.7500 {tmp_path / 'results.json'}"


def test_unknown_test_labels_give_predictions_alone(tmp_path):
    lines = leave(tmp_path, 10, [None])
    path = tmp_path / "results.json"
    assert lines == [f"The test labels are unknown: no UAR. {path}"]
    assert len((tmp_path / "predictions.csv").read_text().splitlines()) == 11
    assert json.loads((tmp_path / "results.json").read_text())["uar"] is None


def test_a_debug_run_leaves_nothing(tmp_path):
    line = "Test UAR 0.7500 [0.7500, 0.7500] --debug leaves no result"
    assert leave(tmp_path, 10, debug=True) == [line]
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("steps", "stays"), [(60, True), (59, True), (61, False)]
)
def test_only_what_was_trained_further_takes_a_results_place(
    steps, stays, tmp_path
):
    (said,) = leave(tmp_path, 10, steps=60)
    paths = [tmp_path / f for f in ("results.json", "predictions.csv")]
    before = [path.read_bytes() for path in paths]
    *_, line = leave(tmp_path, 10, ("happy", "sad"), steps=steps)
    assert ([path.read_bytes() for path in paths] == before) == stays
    assert json.loads(paths[0].read_text())["steps"] == max(60, steps)
    assert (line == said) == stays  # what is printed is what lies there


@pytest.mark.parametrize("steps", [None, 5])
def test_a_result_of_other_data_takes_no_part(steps, tmp_path):
    leave(tmp_path, 10, steps=steps)
    path = tmp_path / "results.json"
    assert finished_result(path, settings_hash(SETTINGS))["steps"] == steps
    other = SETTINGS | {"data": {"store": "t"}}
    assert finished_result(path, settings_hash(other)) == {}
    assert finished_result(tmp_path / "none.json", "") == {}


@pytest.mark.parametrize(
    ("epochs", "keys", "refused"),
    [
        (4, {"number_of_epochs": 3}, "number_of_epochs 9, not 3: it keeps"),
        (4, {"number_of_epochs": 4}, None),  # it stopped after 4 of 9
        (4, {"number_of_epochs": 90}, None),
        (9, {"number_of_epochs": 10}, "--number_of_epochs 9, or --experiment"),
        (9, {"number_of_epochs": 9}, None),
        (4, {"patience": 3}, "f is finished, with patience 7, not 3"),
        (4, {"patience": 4}, None),  # no less than all epochs
        (4, {"patience": 70}, None),
        (8, {"patience": 70}, "--patience 7, or --experiment NAME"),
        (None, {"number_of_epochs": 1}, None),  # the ensemble
    ],
)
def test_what_is_finished_is_not_trained_for_longer_or_shorter(
    epochs, keys, refused, tmp_path
):
    there = {"epochs": epochs, "number_of_epochs": 9, "patience": 7}
    hparams = {"number_of_epochs": 9, "patience": 7, "output_folder": "f"}
    if refused is None:
        check_same_length(there, hparams | keys)
        check_same_length({}, hparams | keys)
        return
    with pytest.raises(UserError, match=refused):
        check_same_length(there, hparams | keys)


def test_a_run_says_what_it_could_not_decode():
    content = {"undecodable_audio": {"right": ["a", "b"]}}
    assert run_results._encoding_notes(content) == [
        "The audio of 2 utterances of right cannot be decoded: dropped; "
        "results.json names them."
    ]
    assert run_results._encoding_notes({}) == []


@pytest.mark.parametrize(
    ("keys", "parts"),
    [
        ({}, "none"),  # nothing of the target decides
        ({"normalise": "none"}, "none"),
        ({"normalise": "domain"}, "target_train"),
        ({"normalise": "speaker"}, "target_train + test_speakers"),
        ({"alignment": "a", "gamma": 0.1}, "target_train"),
        ({"alignment": "a"}, "none"),  # of weight 0
        ({"anchor_layers": "best"}, "none"),  # only logged
        (
            {"anchor_layers": "best", "mix_layers": "not_anchored"},
            "target_train",
        ),
        ({"mix_layers": "not_anchored"}, "none"),  # by a list
    ],
)
def test_a_run_names_the_target_rows_that_decided_something(keys, parts):
    plain = {"normalise": "source", "alignment": None, "gamma": 0}
    plain |= {"anchor_layers": [2], "mix_layers": "all"}
    assert run_results._adapts_on(plain | keys, False) == parts
    also_tested = parts.replace("train", "train + test_rows")
    assert run_results._adapts_on(plain | keys, True) == also_tested


@pytest.mark.parametrize(
    ("keys", "count"),
    [
        ({}, 2),
        ({"use_target_labels": False}, 0),
        ({"gamma": 0}, 0),  # anchors are only logged
        ({"anchor_layers": [3]}, 0),
        ({"anchor_layers": [3], "bound": "oracle"}, 2),
    ],
)
def test_labels_count_where_they_decided_something(keys, count):
    hparams = {"alignment": "a", "gamma": 1, "anchor_layers": "worst"}
    hparams |= {"mix_layers": "all", "use_target_labels": True}
    hparams |= {"select_on": "last", "bound": "none", "targets": ["right"]}
    emotions = {"u": "sad", "v": None, "w": "happy"}
    part = {i: {"emo": e} for i, e in emotions.items()}
    manifests = {"target_train": {"right": part}}
    assert run_results._target_labels_used(hparams | keys, manifests) == count
