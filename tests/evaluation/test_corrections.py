from __future__ import annotations

import pytest

from lam_sb.evaluation.comparisons import cautions, correct_family
from lam_sb.evaluation.statistics import Comparison, Estimate


def comparison(value, p_greater, clusters=10, seeds=10) -> Comparison:
    estimate = Estimate(value, -1, 1, 0.1, 5, clusters, seeds, 0)
    p_two_sided = 2 * min(p_greater, 1 - p_greater)
    return Comparison(estimate, p_two_sided, p_greater, 100)


def test_stars_by_hand():
    # Sorted 0.005, 0.02, 0.03, 0.9: times 4, 3, 2, 1 is 0.02, 0.06, 0.06 (no
    # less than the one before) and 0.9.
    p_values = [0.03, 0.005, 0.9, 0.02]
    found = correct_family("baselines", [comparison(0.1, p) for p in p_values])
    expected = [0.06, 0.02, 0.9, 0.06]
    assert [d.p_holm for d in found] == pytest.approx(expected)
    assert [d.mark for d in found] == ["*", "**", "", "*"]


@pytest.mark.parametrize("family", ["baselines", "ablations", "controls"])
def test_a_dagger_is_two_sided_and_for_better_systems(family):
    # Two-sided 0.02 and 0.04 become 0.04 and 0.04; times 2 and 1 again.
    found = correct_family(
        family, [comparison(-0.1, 0.99), comparison(-0.1, 0.98)]
    )
    assert [d.mark for d in found] == ["†", "†"]
    # 0.06 is not enough, though one-sided it would be.
    assert correct_family(family, [comparison(-0.1, 0.97)])[0].mark == ""
    assert correct_family(family, [comparison(0.1, 0.2)])[0].mark == ""


def test_baselines_are_one_sided_and_others_two_sided():
    for family, p in (("baselines", 0.03), ("ablations", 0.06)):
        (found,) = correct_family(family, [comparison(0.1, 0.03)])
        assert found.p_holm == pytest.approx(p)


def test_stars_are_for_baselines_only():
    for family in ("ablations", "controls", "segments", "others"):
        assert correct_family(family, [comparison(0.3, 1e-6)])[0].mark == ""


@pytest.mark.parametrize(
    ("clusters", "seeds", "marked"),
    [(6, 5, True), (5, 5, False), (6, 4, False), (5, 4, False)],
)
def test_marks_need_six_speakers_and_five_seeds(clusters, seeds, marked):
    (found,) = correct_family(
        "baselines", [comparison(0.3, 1e-6, clusters, seeds)]
    )
    assert found.mark == "**" * marked
    (found,) = correct_family(
        "ablations", [comparison(-0.3, 1, clusters, seeds)]
    )
    assert found.mark == "†" * marked
    assert found.p_holm == 0


@pytest.mark.parametrize(
    ("clusters", "seeds", "missing", "expected"),
    [
        (10, 10, 0, []),
        (9, 10, 0, ["few speakers"]),
        (10, 9, 0, ["few seeds"]),
        (1, 1, 2, ["few speakers", "few seeds", "class missing"]),
    ],
)
def test_cautions(clusters, seeds, missing, expected):
    estimate = Estimate(0.5, 0, 1, 0.1, 5, clusters, seeds, missing)
    assert cautions(estimate) == expected
