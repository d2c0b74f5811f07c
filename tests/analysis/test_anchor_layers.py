from __future__ import annotations

import itertools
import json

import pytest

from lam_sb.analysis.anchor_layers import (
    NotAnalysedError,
    analysed_data,
    analysis_folder,
    check_selection,
    random_layers,
    resolve_anchor_layers,
)
from lam_sb.errors import UserError
from lam_sb.files import write_checked

SETTINGS = {"similarity": "centroid", "protocol": "speakers"}


@pytest.fixture
def folder(tmp_path):
    selection = {"group": [1, 2, 5], "best": [2], "worst": [3, 4, 6]}
    selection["vowels"] = {"group": [2, 3, 4], "best": [4], "worst": [1, 5, 6]}
    write_checked(
        (tmp_path / "selection.json"), selection | {"settings": SETTINGS}
    )
    return str(tmp_path)


def test_a_list_stays_as_it_is(tmp_path):
    assert resolve_anchor_layers([11], 12, str(tmp_path / "none"), {}) == [11]
    assert resolve_anchor_layers([], 12, str(tmp_path / "none"), {}) == []


def test_rules_are_answered_by_the_analysis(folder):
    for rule, layers in (
        ("group", [1, 2, 5]),
        ("best", [2]),
        ("worst", [3, 4, 6]),
    ):
        assert resolve_anchor_layers(rule, 6, folder, SETTINGS) == layers


def test_rules_go_by_the_segment_that_is_aligned(folder):
    for rule, layers in (("group", [2, 3, 4]), ("best", [4])):
        found = resolve_anchor_layers(rule, 6, folder, SETTINGS, "vowels")
        assert found == layers
    with pytest.raises(
        UserError, match=r"on consonants is not in .*alignments"
    ):
        resolve_anchor_layers("worst", 6, folder, SETTINGS, "consonants")


def test_random_layers_need_no_analysis_and_depend_on_their_seed(tmp_path):
    drawn = [
        resolve_anchor_layers(f"random:{n}", 12, str(tmp_path / "none"), {})
        for n in (0, 0, 1)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    assert all(len(set(d)) == 3 and d == sorted(d) for d in drawn)
    assert set().union(*drawn) <= set(range(1, 13))


def test_an_unknown_rule_is_refused(folder):
    for rule in ("groups", "random", "random:x", "8"):
        with pytest.raises(UserError, match="group, best, worst or random"):
            resolve_anchor_layers(rule, 6, folder, SETTINGS)


def test_a_missing_analysis_is_named_with_the_command(tmp_path):
    with pytest.raises(UserError, match=r"json.* make them first.*anal"):
        resolve_anchor_layers("group", 6, str(tmp_path), SETTINGS)


def test_an_analysis_of_other_settings_is_refused(folder):
    with pytest.raises(UserError, match="'speakers' there, 'transductive' now"):
        resolve_anchor_layers(
            "group", 6, folder, SETTINGS | {"protocol": "transductive"}
        )


def test_each_encoder_and_pair_has_a_folder_of_its_own():
    assert analysis_folder("results", "wavlm", "a", "b") == (
        "results/analysis/wavlm/a-b"
    )


def test_random_layers_are_seeded_different_and_sorted():
    draws = [random_layers(seed, 12) for seed in range(200)]
    for drawn in draws:
        assert drawn == sorted(set(drawn))
        assert len(drawn) == 3
    assert set(itertools.chain(*draws)) == set(range(1, 13))
    assert random_layers(7, 12) == draws[7]
    assert len(set(map(tuple, draws))) > 100
    assert len(random_layers(0, 12, count=5)) == 5
    json.dumps(draws)


def rows_of(**changes) -> dict:
    row = {"audio_sha": "a", "speaker": "s", "emo": "sad"}
    row |= {"phones": [], "phone_set": ""}
    return {
        "source_train": {"left": {"one": row}},
        "target_train": {"right": {"two": row | changes}},
    }


def write_selection(folder, rows, labelled=False, store="whisper-0"):
    settings = {"use_target_labels": labelled}
    data = analysed_data(rows, store, labelled)
    content = {"group": [1], "settings": settings, "data": data}
    write_checked(folder / "selection.json", content)
    return {
        "anchor_layers": "group",
        "analysis_folder": str(folder),
        "selection_settings": settings,
        "bound": "none",
    }


@pytest.mark.parametrize(
    ("now", "store", "message"),
    [
        (rows_of(), "whisper-1", r"store \(whisper-0 there, whisper-1 now\)"),
        (rows_of(audio_sha="b"), "whisper-0", "the audio of target_train"),
    ],
)
def test_anchors_selected_on_other_data_are_refused(
    now, store, message, tmp_path
):
    hparams = write_selection(tmp_path, rows_of())
    check_selection(hparams, rows_of(), "whisper-0")
    with pytest.raises(NotAnalysedError, match=message) as error:
        check_selection(hparams, now, store)
    assert "analyse again with the options of this run" in str(error.value)
    check_selection(hparams | {"anchor_layers": [1]}, now, store)


def test_labels_count_for_a_selection_that_looked_at_them(tmp_path):
    relabelled = rows_of(emo="happy")
    hparams = write_selection(tmp_path, rows_of())
    check_selection(hparams, relabelled, "whisper-0")
    hparams = write_selection(tmp_path, rows_of(), labelled=True)
    with pytest.raises(NotAnalysedError, match="the labels of target_train"):
        check_selection(hparams, relabelled, "whisper-0")


def test_the_source_of_a_bound_within_is_not_that_of_the_analysis(tmp_path):
    hparams = write_selection(tmp_path, rows_of()) | {"bound": "within"}
    rows = rows_of()
    rows["source_train"] = rows["target_train"]
    check_selection(hparams, rows, "whisper-0")


def test_a_selection_of_an_earlier_version_is_refused(tmp_path):
    hparams = write_selection(tmp_path, rows_of())
    content = {"group": [1], "settings": hparams["selection_settings"]}
    write_checked(tmp_path / "selection.json", content)
    with pytest.raises(NotAnalysedError, match="none there, 1 rows now"):
        check_selection(hparams, rows_of(), "whisper-0")


def test_a_system_without_anchors_resolves_none(tmp_path):
    for rule in ([11], "group", "random:3", "nonsense"):
        found = resolve_anchor_layers(rule, 2, str(tmp_path), {}, used=False)
        assert found == []


def test_no_three_layers_are_drawn_from_two():
    with pytest.raises(UserError, match=r"random:5 draws 3 layers, .* only 2"):
        resolve_anchor_layers("random:5", 2, "nowhere", {})
