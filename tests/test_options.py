"""Which keys a system uses, and what they may be."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import pytest
from conftest import over, write

from lam_sb.errors import UserError
from lam_sb.losses.adversary import DomainAdversary
from lam_sb.losses.coral import LayerCoral
from lam_sb.losses.phonetic import PhoneticAnchor
from lam_sb.options import (
    alignment_class,
    check_options,
    unused_keys,
    uses_anchors,
)

EPISODES = {"episode_shots", "episode_queries", "target_shots"}
OF_CORAL = {"anchor_layers", "scale", "reduce"}
OF_PHONES = {"vowels", "negative", "margin"}


def mean_distance(source, target, power=2):
    """Stand for a user's own loss, which lists no keys."""


class OfSegment:
    """Stands for a user's own loss, which lists keys and segments."""

    keys = ("segment", "margin")
    segments = ("vowels",)

    def __call__(self, source, target):
        return (source.mean() - target.mean()).abs()


def hparams_of(**changes) -> dict:
    return {
        "system": "toy",
        "fit": "brain",
        "bound": "none",
        "source": "left",
        "target": "right",
        "source_folder": "/left",
        "target_folder": "/right",
        "prepare": dict,
        "balance": "corpus",
        "calibrate": "none",
        "seeds_averaged": 1,
        "protocol": "speakers",
        "similarity": "centroid",
        "normalise": "domain",
        "features_on": "auto",
        "target_rows": "four",
        "select_on": "source",
        "class_weight": "none",
        "mix_layers": "all",
        "layers": [1, 2, 3],
        "segment": "utterance",
        "gamma": 0.5,
        "anchor_layers": [1, 2],
        "anchored_layers": [1, 2],
        "anchors_chosen_on": None,
        "hold_out_shots": False,
        "alignment": LayerCoral(),
    } | changes


def unused(**changes) -> set[str]:
    return unused_keys(hparams_of(**changes))


@pytest.mark.parametrize(
    ("alignment", "expected"),
    [
        (LayerCoral(), OF_PHONES),
        (PhoneticAnchor(["a"]), OF_CORAL),
        (DomainAdversary(4), OF_CORAL | OF_PHONES | {"segment"}),
        (OfSegment(), OF_CORAL | OF_PHONES - {"margin"}),
        (partial(OfSegment), OF_CORAL | OF_PHONES - {"margin"}),
        (mean_distance, set()),  # it may use any
        (partial(mean_distance, power=1), set()),
    ],
)
def test_an_alignment_uses_the_keys_that_it_lists(alignment, expected):
    assert unused(alignment=alignment) == EPISODES | expected


def test_without_an_alignment_layers_are_still_left_out_by_anchors():
    none = {"gamma", "segment", *OF_CORAL, *OF_PHONES, *EPISODES}
    assert unused(alignment=None, mix_layers="top") == none
    for mixed in ("all", "not_anchored", [1]):
        left = none - {"anchor_layers"}
        assert unused(alignment=None, mix_layers=mixed) == left


def test_each_way_of_fitting_uses_keys_of_its_own():
    assert unused(fit="episodes", alignment=mean_distance) == {
        *("batch_size", "class_weight")
    }
    sklearn = unused(fit="sklearn", alignment=mean_distance)
    assert {"lr", "batch_size", "select_on", *EPISODES} <= sklearn
    assert "class_weight" not in sklearn


def test_an_alignment_is_known_by_its_class_or_function():
    assert alignment_class(None) is None
    assert alignment_class(OfSegment()) is OfSegment
    assert alignment_class(mean_distance) is mean_distance
    assert alignment_class(partial(mean_distance, power=1)) is mean_distance


def test_what_no_system_uses_here_becomes_0_or_empty(tmp_path):
    hparams = hparams_of(alignment=None, mix_layers="top")
    found = check_options(hparams, {}, str(write(tmp_path / "a.yaml", "")))
    assert {"gamma", "anchor_layers", "similarity"} <= found
    assert hparams["gamma"] == 0
    assert hparams["anchor_layers"] == hparams["anchored_layers"] == []
    hparams = hparams_of(anchor_layers="best")
    found = check_options(hparams, {}, str(tmp_path / "a.yaml"))
    assert "similarity" not in found
    assert hparams["gamma"] == 0.5
    assert hparams["anchored_layers"] == [1, 2]


def test_a_key_without_use_is_refused_where_it_is_set(tmp_path):
    base = write(tmp_path / "base.yaml", "gamma: 1\nscale: a\nmargin: 1\n")
    check_options(hparams_of(), {"scale": "a"}, str(base))
    message = "command line: the system toy has no use for margin"
    with pytest.raises(UserError, match=message):
        check_options(hparams_of(), {"margin": 1}, str(base))
    path = over(base, "margin: 2\n")
    with pytest.raises(UserError, match=r"ablation.yaml: .* use for margin"):
        check_options(hparams_of(), {}, str(path))
    # What a base says may be for others of its systems.
    check_options(hparams_of(), {}, str(over(base, "gamma: 2\n")))


@pytest.mark.parametrize(
    ("alignment", "segment", "choices"),
    [
        (LayerCoral(), "vowel_classes", "utterance, vowels, consonants"),
        (PhoneticAnchor(["a"]), "utterance", "vowel_classes"),
        (OfSegment(), "utterance", "vowels"),
        (mean_distance, "vowel_classes", "utterance, vowels, consonants"),
    ],
)
def test_an_alignment_says_which_segments_it_takes(
    alignment, segment, choices, tmp_path
):
    path = str(write(tmp_path / "a.yaml", ""))
    hparams = hparams_of(alignment=alignment, segment=segment)
    with pytest.raises(UserError, match=f"one of {choices}\\.$"):
        check_options(hparams, {}, path)
    hparams["segment"] = choices.split(", ")[0]
    check_options(hparams, {}, path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"target_rows": "some"},
            "some.; it takes one of four",
        ),
        ({"select_on": "best"}, "one of source, last, target"),
        ({"class_weight": True}, "one of balanced, none"),
        ({"fit": "svm"}, "one of brain, episodes, sklearn"),
        ({"bound": "upper"}, "one of none, within, oracle"),
        ({"normalise": "corpus"}, "one of none, source, domain, speaker"),
        ({"bound": "oracle", "fit": "episodes"}, "no meaning for fit"),
    ],
)
def test_wrong_choices_are_refused(changes, message, tmp_path):
    path = str(write(tmp_path / "a.yaml", ""))
    with pytest.raises(UserError, match=message):
        check_options(hparams_of(**changes), {}, path)


def test_a_part_of_other_files_is_no_system(tmp_path):
    hparams = hparams_of()
    del hparams["system"]
    with pytest.raises(UserError, match=r"a.yaml is only a part of other"):
        check_options(hparams, {}, str(tmp_path / "a.yaml"))


def test_within_puts_the_target_in_the_sources_place(tmp_path):
    hparams = hparams_of(bound="within", prepare=lambda **keys: keys)
    for end in ("", "_folder", "_options", "_train", "_valid"):
        hparams |= {f"{role}{end}": role + end for role in ("source", "target")}
    check_options(hparams, {}, str(write(tmp_path / "a.yaml", "")))
    for end in ("", "s", "_folder", "_options", "_train", "_valid"):
        assert hparams[f"source{end}"] == hparams[f"target{end}"]
    assert hparams["valid"] == {"target": "target_valid"}
    own = {"folder": {"target": "target_folder"}}
    own |= {"options": {"target": "target_options"}}
    assert hparams["prepare"](readers_folder="r") == {
        "source": "target",
        "readers_folder": "r",
        **{f"source_{key}": value for key, value in own.items()},
        **{f"target_{key}": value for key, value in own.items()},
    }


def test_a_corpus_is_no_target_of_itself_but_within(tmp_path):
    path = write(tmp_path / "a.yaml", "x: 1\n")
    same = {"source": "esd", "target": "esd"}
    for bound in ("none", "oracle"):
        message = "source and target are both esd, .*--bound within"
        with pytest.raises(UserError, match=message):
            check_options(hparams_of(**same, bound=bound), {}, path)
    within = hparams_of(**same, bound="within", prepare=print)
    for key in ("folder", "options", "train", "valid"):
        within[f"target_{key}"] = key
    check_options(within, {}, path)
    assert within["source_train"] == {"esd": "train"}


@pytest.mark.parametrize(
    ("source", "target", "unused"),
    [
        ("left", "right", {"balance", "align_sources"}),
        ("left", "right+other", {"align_sources"}),
        ("left+other", "right", set()),
    ],
)
def test_keys_of_several_corpora_count_where_there_are_several(
    source, target, unused, tmp_path
):
    hparams = hparams_of(source=source, target=target, data_folder="/d")
    hparams |= {"source_folder": None, "target_folder": None}
    found = check_options(hparams, {}, str(write(tmp_path / "a.yaml", "")))
    assert found & {"balance", "align_sources"} == unused
    names = target.split("+")
    assert hparams["target_folder"] == {name: f"/d/{name}" for name in names}


def test_what_has_no_seeds_is_not_averaged(tmp_path):
    hparams = hparams_of(seeds_averaged=3, seed=0)
    check_options(hparams, {}, str(write(tmp_path / "a.yaml", "")))
    assert hparams["seeds_averaged"] == 3
    hparams = hparams_of(seeds_averaged=3, seed=0, fit="sklearn")
    found = check_options(hparams, {}, str(write(tmp_path / "b.yaml", "")))
    assert hparams["seeds_averaged"] == 1
    assert "seeds_averaged" in found


def test_no_corpus_of_several_is_in_both_roles(tmp_path):
    hparams = hparams_of(source="left+right", source_folder={})
    hparams["data_folder"] = "/d"
    with pytest.raises(UserError, match="source and target are both right"):
        check_options(hparams, {}, str(write(tmp_path / "a.yaml", "")))


def test_holding_out_shots_decides_only_where_the_target_is_tested_whole(
    tmp_path,
):
    path = write(tmp_path / "a.yaml", "x: 1\n")
    for protocol, decides in (("speakers", False), ("transductive", True)):
        found = check_options(hparams_of(protocol=protocol), {}, path)
        assert ("hold_out_shots" not in found) == decides


@pytest.mark.parametrize(
    ("keys", "held_out"),
    [
        ({}, True),
        ({"target_shots": 0}, False),  # nobody learns from a tested row
        ({"fit": "brain"}, False),
        ({"protocol": "speakers"}, False),
        ({"target_shots": 0, "hold_out_shots": True}, True),  # beside others
        ({"hold_out_shots": False}, False),
    ],
)
def test_shots_are_held_out_where_there_are_any_or_it_is_asked_for(
    keys, held_out, tmp_path
):
    path = write(tmp_path / "a.yaml", "x: 1\n")
    shots = {"fit": "episodes", "protocol": "transductive", "target_shots": 3}
    hparams = hparams_of(**{**shots, "hold_out_shots": None, **keys})
    check_options(hparams, {}, path)
    assert hparams["hold_out_shots"] is held_out


WAVLM = SimpleNamespace(family="wavlm", source="microsoft/wavlm-base")


def test_anchors_chosen_on_another_kind_of_encoder_are_refused(tmp_path):
    write(
        tmp_path / "a.yaml", "anchor_layers: [2]\nanchors_chosen_on: hubert\n"
    )
    path = over(tmp_path / "a.yaml", "")
    given = hparams_of(anchors_chosen_on="hubert", encoder=WAVLM)
    message = (
        r"anchor_layers: \[1, 2\] of .* were chosen on hubert, not on wavlm "
        r"\(microsoft/wavlm-base\)\. .*analyse .*--anchor_layers group"
    )
    with pytest.raises(UserError, match=message):
        check_options(dict(given), {}, path)
    left_out = {"alignment": None, "mix_layers": "not_anchored"}
    with pytest.raises(UserError, match=message):
        check_options(given | left_out, {}, path)
    check_options(given | {"anchors_chosen_on": "wavlm"}, {}, path)
    # Whoever names them means them.
    check_options(dict(given), {"anchor_layers"}, path)
    check_options(dict(given), {}, over(path, "anchor_layers: [1]\n", "b.yaml"))
    says_on_what = "anchor_layers: [1]\nanchors_chosen_on: hubert\n"
    with pytest.raises(UserError, match=message):
        check_options(dict(given), {}, over(path, says_on_what, "c.yaml"))
    # A rule asks the encoder itself.
    check_options(given | {"anchor_layers": "all"}, {}, path)


def test_anchors_of_another_encoder_that_are_only_logged_are_none(tmp_path):
    path = write(tmp_path / "a.yaml", "x: 1\n")
    given = hparams_of(anchors_chosen_on="hubert", encoder=WAVLM)
    given["alignment"] = None
    check_options(given, {}, path)
    assert given["anchored_layers"] == given["anchor_layers"] == []


def test_layers_that_are_not_mixed_are_not_aligned(tmp_path):
    path = write(tmp_path / "a.yaml", "x: 1\n")
    part = {"mix_layers": [2, 3], "layers": [2, 3]}
    with pytest.raises(
        UserError, match=r"\[1, 2\] cannot all .*mixes \[2, 3\]"
    ):
        check_options(hparams_of(**part), {}, path)
    # All are all that are mixed; a control logs those that are.
    for changes, expected in (
        ({"anchor_layers": "all", "anchored_layers": [1, 2, 3]}, [2, 3]),
        ({"alignment": None}, [2]),
        ({"alignment": None, "mix_layers": "not_anchored"}, [1, 2]),
    ):
        given = hparams_of(**part | changes)
        check_options(given, {}, path)
        assert given["anchored_layers"] == expected


@pytest.mark.parametrize(
    ("alignment", "mix_layers", "expected"),
    [
        (LayerCoral(), "top", True),
        (partial(mean_distance, power=1), "top", True),  # may use any key
        (DomainAdversary(4), "all", False),
        (None, "top", False),
        (None, "best_on_source", False),
        (None, "not_anchored", True),
        (None, "all", True),
    ],
)
def test_some_systems_have_no_use_for_anchors(alignment, mix_layers, expected):
    assert uses_anchors(alignment, mix_layers) == expected
