from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats
from simulation import RECALLS, simulate
from sklearn.metrics import balanced_accuracy_score

from lam_sb.evaluation.predictions import Predictions
from lam_sb.evaluation.statistics import (
    compare,
    holm,
    interval,
    mean_over,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


# Correct of 2 rows by speaker and class: a 2, 1; b 1, 1; c 0, 2.
LABELS = [0, 0, 1, 1] * 3


SPEAKERS = np.repeat(["a", "b", "c"], 4)


FIRST = [0, 0, 1, 0, 0, 1, 1, 0, 1, 1, 1, 1]


def hand(*runs) -> Predictions:
    return Predictions(np.arange(12), LABELS, SPEAKERS, runs)


def test_jackknife_by_hand():
    # Recalls 3/6 and 4/6, UAR 7/12. Without a: 1/4, 3/4, UAR 1/2; without b:
    # 2/4, 3/4, UAR 5/8; without c: 3/4, 2/4, UAR 5/8; their mean is 7/12.
    # SE^2 = 2/3 ((2/24)^2 + (1/24)^2 + (1/24)^2) = 1/144, K - 1 = 2 df.
    found = interval(hand(FIRST))
    assert found.value == pytest.approx(7 / 12)
    assert found.standard_error == pytest.approx(1 / 12)
    assert found.df == pytest.approx(2)
    assert found.low == pytest.approx(7 / 12 - 4.302653 / 12)
    assert found.high == pytest.approx(7 / 12 + 4.302653 / 12)
    assert (found.num_clusters, found.num_seeds) == (3, 1)
    assert found.missing_class_deletions == 0
    assert found.few_clusters


def test_two_seeds_by_hand():
    # With a second, faultless run the mean is (7/12 + 1) / 2 and deletions
    # move it half as far: SE^2_cluster = 1/576. The UARs lie 5/12 apart:
    # s^2 = (5/12)^2 / 2 and s^2 / S = 25/576. Together 26/576, with
    # df = 26^2 / (1^2 / 2 + 25^2 / 1) = 676 / 625.5.
    found = interval(hand(FIRST, LABELS))
    assert found.value == pytest.approx(19 / 24)
    assert found.standard_error == pytest.approx(math.sqrt(26) / 24)
    assert found.df == pytest.approx(676 / 625.5)


def test_confidence_sets_the_width():
    # The median of |t| with 2 df is sqrt(2/3).
    found = interval(hand(FIRST), confidence=0.5)
    assert found.high - found.value == pytest.approx(math.sqrt(2 / 3) / 12)


def brute_force(system: Predictions) -> tuple[float, float, float]:
    """Value, standard error and df, recomputed row by row with sklearn."""

    def of_seeds(rows):
        return [
            balanced_accuracy_score(system.labels[rows], run[rows])
            for run in system.predictions
        ]

    speakers = np.unique(system.clusters)
    left = [np.mean(of_seeds(system.clusters != s)) for s in speakers]
    k, seeds = len(left), of_seeds(slice(None))
    cluster = (k - 1) / k * np.sum((left - np.mean(left)) ** 2)
    seed = np.var(seeds, ddof=1) / len(seeds)
    total = cluster + seed
    df = total**2 / (cluster**2 / (k - 1) + seed**2 / (len(seeds) - 1))
    return float(np.mean(seeds)), math.sqrt(total), df


@pytest.mark.filterwarnings("ignore:y_pred contains classes")
def test_interval_is_the_brute_force_one(rng):
    system = simulate(rng, num_speakers=7, num_seeds=4)
    # A class that one speaker alone has goes missing with that speaker.
    alone = (system.labels != 3) | (system.clusters == "speaker 2")
    system = system.take(np.flatnonzero(alone))
    found = interval(system)
    assert found.missing_class_deletions == 1
    assert (found.value, found.standard_error, found.df) == pytest.approx(
        brute_force(system)
    )
    margin = stats.t.ppf(0.975, found.df) * found.standard_error
    assert found.high - found.value == pytest.approx(margin)
    assert found.value - found.low == pytest.approx(margin)


def test_missing_class_by_hand():
    # Class 1 is b's alone. Recalls 1/2 and 1, UAR 3/4; without a: 0 and 1,
    # UAR 1/2; without b: class 0 alone, 1. Mean 3/4, SE^2 = 1/2 (2 / 16).
    found = interval(
        Predictions([0, 1, 2], [0, 0, 1], ["a", "b", "b"], [[0, 1, 1]])
    )
    assert found.missing_class_deletions == 1
    assert found.value == pytest.approx(3 / 4)
    assert found.standard_error == pytest.approx(1 / 4)


def test_one_cluster_gives_no_interval():
    system = Predictions([0, 1], [0, 1], ["a", "a"], [[0, 1], [0, 0]])
    found = interval(system)
    assert found.value == 0.75
    assert found.num_clusters == 1
    assert found.missing_class_deletions == 0
    for limit in (found.low, found.high, found.standard_error, found.df):
        assert math.isnan(limit)
    comparison = compare(system, system)
    assert math.isnan(comparison.p_two_sided)
    assert math.isnan(comparison.p_greater)


def test_nothing_varies():
    found = interval(hand(LABELS, LABELS))
    assert (found.low, found.value, found.high) == (1, 1, 1)
    assert found.df == math.inf


def test_interval_does_not_depend_on_order_or_names(rng):
    system = simulate(rng, num_speakers=6, num_seeds=3)
    order = rng.permutation(len(system.ids))
    moved = system.take(order)
    moved = dataclasses.replace(
        moved,
        clusters=np.char.add("new ", moved.clusters),
        predictions=moved.predictions[::-1],
    )
    assert dataclasses.astuple(interval(moved)) == pytest.approx(
        dataclasses.astuple(interval(system))
    )


def test_few_clusters_are_less_than_ten(rng):
    assert interval(simulate(rng, 9, 1)).few_clusters
    assert not interval(simulate(rng, 10, 1)).few_clusters


def test_comparison_by_hand():
    # B is faultless, so A - B = -5/12 with A's jackknife: SE 1/12, t = -5. For
    # 2 df, P(T > t) = 1/2 - t / (2 sqrt(2 + t^2)).
    found = compare(hand(FIRST), hand(LABELS))
    assert found.estimate.value == pytest.approx(-5 / 12)
    assert found.estimate.standard_error == pytest.approx(1 / 12)
    assert found.estimate.df == pytest.approx(2)
    assert found.p_two_sided == pytest.approx(1 - 5 / math.sqrt(27))
    assert found.p_greater == pytest.approx(0.5 + 5 / math.sqrt(27) / 2)
    assert found.num_shared == 12


def test_three_variances_by_hand():
    # A: the runs of test_two_seeds_by_hand, seed term 25/576 with 1 df. B:
    # three runs, UAR 1, 1 and 7/12: s^2 = (5/12)^2 / 3, s^2 / S = 25/1296
    # with 2 df. Deletions move A by 1/2 and B by 1/3 of what they move FIRST,
    # A - B by 1/6: SE^2_cluster = 1/144/36 = 1/5184 with 2 df. In 1/5184:
    # 1, 225 and 100.
    found = compare(hand(FIRST, LABELS), hand(LABELS, FIRST, LABELS)).estimate
    assert found.value == pytest.approx(-5 / 12 * (1 / 2 - 1 / 3))
    assert found.standard_error == pytest.approx(math.sqrt(326 / 5184))
    expected = 326**2 / (1**2 / 2 + 225**2 / 1 + 100**2 / 2)
    assert found.df == pytest.approx(expected)
    assert found.num_seeds == 2


def test_equal_seeds_are_no_pairs(rng):
    system = simulate(rng, num_speakers=8, num_seeds=5)
    other = simulate(rng, num_speakers=8, num_seeds=5, like=system)
    shuffled = dataclasses.replace(
        other, predictions=rng.permutation(other.predictions)
    )
    straight, mixed = compare(system, other), compare(system, shuffled)
    assert straight.p_two_sided == pytest.approx(mixed.p_two_sided)


def test_comparison_is_paired_by_utterance(rng):
    # What both systems get wrong of the same speakers cancels out. One run
    # each, since runs are no pairs.
    system = simulate(rng, num_speakers=10, num_seeds=1)
    mended = rng.random(len(system.ids)) < 0.1
    better = np.where(mended, system.labels, system.predictions)
    found = compare(dataclasses.replace(system, predictions=better), system)
    alone = interval(system).standard_error
    assert found.estimate.standard_error < alone / 2
    assert found.p_greater < 0.05


def test_comparison_changes_sign_with_its_sides(rng):
    a = simulate(rng, num_speakers=8, num_seeds=3)
    b = simulate(rng, num_speakers=8, num_seeds=6, like=a)
    there, back = compare(a, b), compare(b, a)
    assert there.estimate.value == -back.estimate.value
    assert there.estimate.low == pytest.approx(-back.estimate.high)
    assert there.estimate.df == pytest.approx(back.estimate.df)
    assert there.p_two_sided == pytest.approx(back.p_two_sided)
    assert there.p_greater == pytest.approx(1 - back.p_greater)


def test_p_and_interval_agree(rng):
    a = simulate(rng, num_speakers=8, num_seeds=3)
    b = simulate(rng, num_speakers=8, num_seeds=3, like=a)
    p = compare(a, b).p_two_sided
    limits = compare(a, b, confidence=1 - p).estimate
    assert min(abs(limits.low), abs(limits.high)) == pytest.approx(0, abs=1e-9)


def test_comparison_on_the_intersection(rng):
    whole = simulate(rng, num_speakers=9, num_seeds=2)
    other = simulate(rng, num_speakers=9, num_seeds=2, like=whole)
    rows = np.arange(len(whole.ids))
    a, b = whole.take(rows[:200]), other.take(rows[:50:-1])
    found = compare(a, b)
    shared = compare(whole.take(rows[51:200]), other.take(rows[51:200]))
    assert found.num_shared == 149
    assert found == shared
    assert found.estimate.value == pytest.approx(
        interval(whole.take(rows[51:200])).value
        - interval(other.take(rows[51:200])).value
    )


def test_a_system_against_itself_without_any_variance():
    found = compare(hand(FIRST), hand(FIRST, FIRST, FIRST))
    assert found.estimate.value == 0
    assert found.estimate.low == pytest.approx(0, abs=1e-12)
    assert (found.p_two_sided, found.p_greater) == (1, 0.5)


def test_a_difference_without_any_variance_is_certain():
    wrong = 1 - np.array(LABELS)
    better = compare(hand(LABELS), hand(wrong))
    assert better.estimate.low == better.estimate.high == 1
    assert (better.p_two_sided, better.p_greater) == (0, 0)
    worse = compare(hand(wrong), hand(LABELS))
    assert (worse.p_two_sided, worse.p_greater) == (0, 1)


@pytest.mark.parametrize(
    ("p_values", "expected"),
    [
        # Sorted: 4 x 0.005, 3 x 0.01, 2 x 0.03, and 0.04 no less than that.
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        # The test that could not be made does not count: still 4.
        (
            [0.01, math.nan, 0.04, 0.03, 0.005],
            [0.03, math.nan, 0.06, 0.06, 0.02],
        ),
        # Of equal ones, the first takes 3 x 0.02, the second no less.
        ([0.5, 0.02, 0.02], [0.5, 0.06, 0.06]),
        ([0.6, 0.7], [1, 1]),
        ([math.nan], [math.nan]),
        ([], []),
    ],
)
def test_holm_by_hand(p_values, expected):
    assert holm(p_values) == pytest.approx(expected, nan_ok=True)


def test_holm_rejects_what_stepping_down_rejects(rng):
    for _ in range(200):
        p_values = rng.choice([0.001, 0.01, 0.02, 0.3, *rng.random(3)], size=6)
        corrected = holm(p_values)
        for level in (0.01, 0.05, 0.1, 0.5):
            rejected = []
            for n, at in enumerate(np.argsort(p_values, kind="stable")):
                if p_values[at] > level / (6 - n):
                    break
                rejected.append(at)
            found = np.flatnonzero(corrected <= level * (1 + 1e-12))
            assert found.tolist() == sorted(rejected)


def test_holm_keeps_the_order_of_the_p_values(rng):
    p_values = rng.random(20) ** 3
    order = np.argsort(p_values)
    corrected = holm(p_values)
    assert (np.diff(corrected[order]) >= 0).all()
    assert (corrected >= p_values).all()
    assert corrected.max() <= 1


@pytest.mark.parametrize(
    ("field", "values", "message"),
    [
        ("labels", [1, *LABELS[1:]], "other labels for 1 of 12.*0 the first"),
        ("clusters", ["b"] * 12, "other clusters for 8 of 12"),
        ("ids", np.arange(12, 24), "share no utterance"),
    ],
)
def test_systems_that_do_not_fit(field, values, message):
    other = dataclasses.replace(hand(FIRST), **{field: values})
    with pytest.raises(ValueError, match=message):
        compare(hand(FIRST), other)


@pytest.mark.parametrize(
    ("field", "values", "message"),
    [
        ("ids", [0, *range(11)], "1 ids stand twice, 0 the first"),
        ("ids", range(11), "use \\(N,\\)"),
        ("clusters", ["a"], "use \\(N,\\)"),
        ("labels", [], "none of them empty"),
        ("labels", [-2, *LABELS[1:]], "holds -2"),
        ("predictions", FIRST, "use 2 dimensions"),
        ("predictions", [FIRST[:5]], "use \\(N,\\)"),
        ("predictions", np.zeros((0, 12), int), "none of them empty"),
        ("predictions", [[0.5] * 12], "holds float64"),
    ],
)
def test_predictions_that_are_none(field, values, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(hand(FIRST), **{field: values})


@pytest.mark.parametrize("confidence", [0, 1, 95])
def test_confidence_out_of_range(confidence):
    with pytest.raises(ValueError, match="confidence is"):
        interval(hand(FIRST), confidence)


def test_a_system_against_itself_is_rarely_significant():
    rng = np.random.default_rng(1)
    rejected = 0
    for _ in range(2000):
        runs = simulate(rng, num_speakers=10, num_seeds=10)
        first = dataclasses.replace(runs, predictions=runs.predictions[:5])
        second = dataclasses.replace(runs, predictions=runs.predictions[5:])
        rejected += compare(first, second).p_two_sided < 0.05
    assert rejected / 2000 <= 0.07


@pytest.mark.parametrize("num_speakers", [6, 10, 50])
def test_the_interval_covers_the_uar_of_new_speakers_and_seeds(num_speakers):
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(2000):
        found = interval(simulate(rng, num_speakers, num_seeds=5))
        covered += found.low <= RECALLS.mean() <= found.high
    assert 0.92 <= covered / 2000 <= 0.97


def test_one_system_is_the_mean_over_itself():
    one, other = hand(FIRST, LABELS), hand(LABELS, FIRST, FIRST)
    alone, minus = mean_over([one]), mean_over([one], other)
    for found, expected in (
        (alone, interval(one)),
        (minus, compare(one, other).estimate),
    ):
        for key in ("value", "low", "high", "standard_error", "df"):
            assert getattr(found, key) == pytest.approx(getattr(expected, key))


def test_the_mean_over_fixed_systems_by_hand():
    # UARs 7/12 and 1 of one run each: no variance of seeds, and the speakers
    # move the mean half as far as the first alone, whose SE is 1/12.
    found = mean_over([hand(FIRST), hand(LABELS)])
    assert found.value == pytest.approx(19 / 24)
    assert found.standard_error == pytest.approx(1 / 24)
    # Two runs each: s^2 / S = (5/12)^2 / 4 for either system, halved twice.
    both = hand(FIRST, LABELS)
    found = mean_over([both, both])
    cluster, seeds = 1 / 576, 2 * (5 / 12) ** 2 / 4 / 4
    assert found.standard_error == pytest.approx(math.sqrt(cluster + seeds))


def test_systems_of_other_seed_numbers_count_alike():
    found = mean_over([hand(*[FIRST] * 5), hand(LABELS)])
    assert found.value == pytest.approx(19 / 24)


def test_a_mean_over_systems_is_on_the_rows_that_all_have():
    part = hand(FIRST).take(np.arange(11, 3, -1))  # without a, turned round
    assert mean_over([part, hand(FIRST)]).value == pytest.approx(1 / 2)
    with pytest.raises(ValueError, match="share no test row"):
        mean_over([part, hand(FIRST).take(np.arange(4))])
