from __future__ import annotations

import json

import pytest

from lam_sb.analysis.anchors import analysis_folder, resolve_anchors
from lam_sb.errors import UserError

BASIS = {"similarity": "centroid", "protocol": "speakers"}


@pytest.fixture
def folder(tmp_path):
    selection = {"group": [1, 2, 5], "best": [2], "worst": [3, 4, 6]}
    (tmp_path / "selection.json").write_text(
        json.dumps(selection | {"basis": BASIS})
    )
    return str(tmp_path)


def test_a_list_stays_as_it_is(tmp_path):
    assert resolve_anchors([11], 12, str(tmp_path / "none"), {}) == [11]
    assert resolve_anchors([], 12, str(tmp_path / "none"), {}) == []


def test_rules_are_answered_by_the_analysis(folder):
    for rule, layers in (
        ("group", [1, 2, 5]),
        ("best", [2]),
        ("worst", [3, 4, 6]),
    ):
        assert resolve_anchors(rule, 6, folder, BASIS) == layers


def test_random_layers_need_no_analysis_and_depend_on_their_seed(tmp_path):
    drawn = [
        resolve_anchors(f"random:{n}", 12, str(tmp_path / "none"), {})
        for n in (0, 0, 1)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    assert all(len(set(d)) == 3 and d == sorted(d) for d in drawn)
    assert set().union(*drawn) <= set(range(1, 13))


def test_an_unknown_rule_is_refused(folder):
    for rule in ("groups", "random", "random:x", "8"):
        with pytest.raises(UserError, match="group, best, worst or random"):
            resolve_anchors(rule, 6, folder, BASIS)


def test_a_missing_analysis_is_named_with_the_command(tmp_path):
    with pytest.raises(UserError, match=r"selection.json; make it first.*anal"):
        resolve_anchors("group", 6, str(tmp_path), BASIS)


def test_an_analysis_on_another_basis_is_refused(folder):
    with pytest.raises(UserError, match="'speakers' there, 'transductive' now"):
        resolve_anchors(
            "group", 6, folder, BASIS | {"protocol": "transductive"}
        )


def test_each_encoder_and_pair_has_a_folder_of_its_own():
    assert analysis_folder("results", "wavlm", "a", "b") == (
        "results/analysis/wavlm/a-b"
    )
