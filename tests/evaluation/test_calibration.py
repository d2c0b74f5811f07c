from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import recall_score

from lam_sb.evaluation.calibration import (
    brier_score,
    calibration_scores,
    check_posteriors,
    coverage_weights,
    expected_calibration_error,
    fit_temperature,
    uar_at_coverage,
    with_temperature,
)
from lam_sb.evaluation.metrics import uar


def rows_of(*pairs):
    """Posteriors of four classes from pairs of a prediction and confidence."""
    posteriors = np.empty((len(pairs), 4))
    for row, (prediction, confidence) in zip(posteriors, pairs, strict=True):
        row[:] = (1 - confidence) / 3
        row[prediction] = confidence
    return posteriors


@pytest.fixture
def drawn():
    """Labels and posteriors of 300 rows, no two of one confidence."""
    rng = np.random.default_rng(0)
    labels = rng.integers(4, size=300)
    logits = rng.normal(size=(300, 4)) * 2
    logits[np.arange(300), labels] += 1
    powers = np.exp(logits)
    return labels, powers / powers.sum(1, keepdims=True)


def test_all_scores_by_hand():
    # Right, wrong, right, right; confidences in bins 14, 14, 11 and 8 of 15.
    posteriors = rows_of((0, 0.9), (1, 0.9), (2, 0.7), (3, 0.52))
    found = calibration_scores([0, 0, 2, 3], posteriors)
    # Bin 14: 2 |0.9 - 0.5|; then |0.7 - 1| and |0.52 - 1|.
    assert found["ece"] == pytest.approx((0.8 + 0.3 + 0.48) / 4)
    # A right row: (1 - p)^2 + 3 ((1 - p) / 3)^2 = 4/3 (1 - p)^2; the wrong one:
    # 0.9^2 + (1 - 0.1/3)^2 + 2 (0.1/3)^2.
    right = 4 / 3 * (0.1**2 + 0.3**2 + 0.48**2)
    wrong = 0.81 + (29 / 30) ** 2 + 2 / 900
    assert found["brier"] == pytest.approx((right + wrong) / 4)
    assert found["confidence"] == pytest.approx((0.9 + 0.9 + 0.7 + 0.52) / 4)
    # 25 %: half of each of the first two, of neutral; 50 %: both of them; 75 %:
    # neutral 1 of 2, angry 1 of 1.
    assert found["uar_surest"] == {"25": 0.5, "50": 0.5, "75": 0.75}
    assert json.loads(json.dumps(found, allow_nan=False)) == found


@pytest.mark.parametrize(
    ("guess", "confidence", "ece", "brier"),
    [(0, 1.0, 0.0, 0.0), (1, 1.0, 1.0, 2.0), (0, 0.25, 0.75, 0.75)],
    ids=["right", "wrong", "even"],
)
def test_limits(guess, confidence, ece, brier):
    found = calibration_scores([0, 0, 0], rows_of(*[(guess, confidence)] * 3))
    assert (found["ece"], found["brier"]) == pytest.approx((ece, brier))


def test_the_error_is_that_of_sklearns_bins(drawn):
    labels, posteriors = drawn
    confidence = posteriors.max(1)
    right = posteriors.argmax(1) == labels
    accuracy, mean = calibration_curve(right, confidence, n_bins=15)
    counts, _ = np.histogram(confidence, np.arange(16) / 15)
    counts = counts[counts > 0]
    expected = (counts * abs(accuracy - mean)).sum() / 300
    found = expected_calibration_error(labels, posteriors)
    assert found == pytest.approx(expected)
    assert 0.05 < found < 0.5


@pytest.mark.parametrize(
    ("confidence", "shared"), [(0.59, True), (0.6, True), (0.61, False)]
)
def test_an_edge_belongs_to_the_bin_below_it(confidence, shared):
    # 9/15 = 0.6. A right and a wrong row make up for each other in one bin.
    posteriors = rows_of((0, 0.55), (1, confidence))
    found = expected_calibration_error([0, 0], posteriors)
    mean = (0.55 + confidence) / 2
    apart = (0.45 + confidence) / 2
    assert found == pytest.approx(abs(mean - 0.5) if shared else apart)


@pytest.mark.parametrize("percent", [10, 25, 50, 75])
def test_the_surest_rows_are_scored_as_sklearn_does(drawn, percent):
    labels, posteriors = drawn
    count = 3 * percent
    rows = np.argsort(posteriors.max(1))[::-1][:count]
    predictions = posteriors.argmax(1)[rows]
    expected = recall_score(labels[rows], predictions, average="macro")
    found, count = uar_at_coverage(labels, posteriors, percent)
    assert found == pytest.approx(expected)
    assert count == 4
    assert found != pytest.approx(uar(labels, posteriors.argmax(1)))


def test_all_rows_have_the_uar(drawn):
    labels, posteriors = drawn
    expected = uar(labels, posteriors.argmax(1))
    assert uar_at_coverage(labels, posteriors, 100) == (expected, 4)


def test_scores_do_not_depend_on_the_order_of_rows(drawn):
    labels, posteriors = drawn
    posteriors = rows_of(*zip(posteriors.argmax(1), [0.5] * 300, strict=True))
    order = np.random.default_rng(1).permutation(300)
    found = calibration_scores(labels, posteriors)
    again = calibration_scores(labels[order], posteriors[order])
    assert again["uar_surest"] == pytest.approx(found["uar_surest"])
    # With one confidence, the surest are a sample of all.
    whole = uar(labels, posteriors.argmax(1))
    assert found["uar_surest"]["25"] == pytest.approx(whole)


@pytest.mark.parametrize(
    ("confidence", "percent", "weights"),
    [
        ([0.3, 0.9, 0.8, 0.5], 50, [0, 1, 1, 0]),
        ([0.3, 0.9, 0.8, 0.5], 100, [1, 1, 1, 1]),
        ([0.9, 0.5, 0.5, 0.5, 0.3], 40, [1, 1 / 3, 1 / 3, 1 / 3, 0]),
        ([0.9, 0.7, 0.5], 25, [0.75, 0, 0]),  # 0.75 of a row
        ([0.9, 0.7, 0.5], 50, [1, 0.5, 0]),
        ([0.9, 0.9], 25, [0.25, 0.25]),
        ([0.9], 25, [0.25]),
    ],
)
def test_rows_on_the_border_count_in_equal_parts(confidence, percent, weights):
    found = coverage_weights(np.array(confidence), percent)
    assert found.tolist() == pytest.approx(weights)
    assert found.sum() == pytest.approx(percent * len(confidence) / 100)


def test_parts_of_rows_weigh_as_in_sklearn():
    # 2.5 of 5 rows: the first, and half of each of the next three.
    labels = np.array([0, 0, 1, 1, 1])
    pairs = [(0, 0.9), (1, 0.6), (1, 0.6), (0, 0.6), (1, 0.5)]
    predictions, _ = zip(*pairs, strict=True)
    expected = recall_score(
        *(labels, predictions),
        average="macro",
        sample_weight=[1, 0.5, 0.5, 0.5, 0],
    )
    assert expected == pytest.approx((1 / 1.5 + 0.5 / 1) / 2)
    found, count = uar_at_coverage(labels, rows_of(*pairs), 50)
    assert found == pytest.approx(expected)
    assert count == 2


def test_a_class_that_is_not_kept_is_left_out():
    posteriors = rows_of((0, 0.9), (1, 0.8), (2, 0.4), (0, 0.3))
    assert uar_at_coverage([0, 0, 2, 3], posteriors, 50) == (0.5, 1)
    assert uar_at_coverage([0, 0, 2, 3], posteriors, 75) == (0.75, 2)
    # Part of a row is enough.
    labels, posteriors = [0, 2], rows_of((0, 0.9), (2, 0.4))
    assert uar_at_coverage(labels, posteriors, 50) == (1, 1)
    assert uar_at_coverage(labels, posteriors, 60) == (1, 2)


@pytest.mark.parametrize(
    ("labels", "posteriors", "message"),
    [
        ([], np.empty((0, 4)), "none of them empty"),
        ([0, 1], np.full((1, 4), 0.25), r"2 labels .* shape \(1, 4\)"),
        ([0], np.full(4, 0.25), r"shape \(4,\)"),
        ([4], np.full((1, 4), 0.25), "Class 4"),
        ([-1], np.full((1, 4), 0.25), "holds -1"),
        ([0, 1], [[0.5, 0.5], [2.0, 1.0]], r"1 rows .* \[2.0, 1.0\]"),
        ([0], [[1.5, -0.5]], "no probabilities"),
        ([0], [[np.nan, 1.0]], "no probabilities"),
    ],
)
@pytest.mark.parametrize(
    "make",
    [
        brier_score,
        expected_calibration_error,
        lambda labels, posteriors: uar_at_coverage(labels, posteriors, 50),
    ],
)
def test_bad_input_is_refused(make, labels, posteriors, message):
    with pytest.raises(ValueError, match=message):
        make(labels, np.array(posteriors))


def test_nine_digits_are_enough():
    check_posteriors(np.round(np.full((1, 3), 1 / 3), 9))


def test_a_temperature_divides_the_logits(drawn):
    _, posteriors = drawn
    powers = posteriors ** (1 / 3.0)
    expected = powers / powers.sum(1, keepdims=True)
    found = with_temperature(posteriors, 3.0)
    assert np.allclose(found, expected)
    assert (found.argmax(1) == posteriors.argmax(1)).all()
    assert np.allclose(with_temperature(found, 1 / 3.0), posteriors)


def test_the_temperature_that_posteriors_were_sharpened_by_is_found():
    rng = np.random.default_rng(1)
    true = rng.dirichlet(np.ones(4), size=20000)
    labels = np.array([rng.choice(4, p=p) for p in true])
    for sharpened in (0.4, 2.5):
        given = with_temperature(true, 1 / sharpened)
        found = fit_temperature([(labels, given)])
        assert found == pytest.approx(sharpened, rel=0.05)


def test_each_corpus_counts_alike_for_the_temperature(drawn):
    """However often the rows of one of them are repeated."""
    labels, posteriors = drawn
    parts = [(labels[:20], posteriors[:20]), (labels[20:], posteriors[20:])]
    once = fit_temperature(parts)
    many = [(np.tile(labels[:20], 9), np.tile(posteriors[:20], (9, 1)))]
    assert fit_temperature(many + parts[1:]) == pytest.approx(once, rel=1e-4)
    whole = fit_temperature([drawn])
    assert abs(whole - once) > 1e-3 * once


def test_a_posterior_of_0_is_no_end_of_all():
    posteriors = np.array([[1.0, 0, 0, 0], [0, 1.0, 0, 0]])
    found = fit_temperature([(np.array([0, 2]), posteriors)])
    assert np.isfinite(found)
    assert np.isfinite(with_temperature(posteriors, found)).all()
