from __future__ import annotations

import json
import math

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score, recall_score

from lam_sb.evaluation.metrics import scores, uar

EMOTIONS = ("neutral", "happy", "angry", "sad")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_uar_is_the_macro_recall_of_sklearn(rng):
    labels, predictions = rng.integers(4, size=(2, 200))
    expected = recall_score(labels, predictions, average="macro")
    assert uar(labels, predictions) == pytest.approx(expected)
    assert uar(labels, predictions) == pytest.approx(
        balanced_accuracy_score(labels, predictions)
    )


@pytest.mark.filterwarnings("ignore:y_pred contains classes")
def test_uar_leaves_out_a_class_that_is_only_predicted():
    # Recalls 2/3 and 1/1; sklearn's macro recall would average over three.
    labels, predictions = [0, 0, 0, 2], [0, 0, 3, 2]
    assert uar(labels, predictions) == pytest.approx(5 / 6)
    expected = balanced_accuracy_score(labels, predictions)
    assert uar(labels, predictions) == pytest.approx(expected)


def test_uar_without_labels_is_nan():
    assert math.isnan(uar([], []))


def test_uar_does_not_depend_on_the_order_or_the_class_shares(rng):
    labels, predictions = rng.integers(4, size=(2, 100))
    order = rng.permutation(100)
    expected = uar(labels, predictions)
    assert uar(labels[order], predictions[order]) == expected
    twice = np.flatnonzero(labels == 1)
    rows = np.concatenate([np.arange(100), twice])
    assert uar(labels[rows], predictions[rows]) == pytest.approx(expected)


def test_scores_by_hand():
    #            predicted n h a s
    # neutral (4 rows)     3 0 1 0   recall 3/4, precision 3/4
    # happy   (2 rows)     1 1 0 0   recall 1/2, precision 1/1
    # angry   (2 rows)     0 0 1 1   recall 1/2, precision 1/2
    # sad     (0 rows)
    labels = [0, 0, 0, 0, 1, 1, 2, 2]
    predictions = [0, 0, 2, 0, 0, 1, 2, 3]
    found = scores(labels, predictions, EMOTIONS)
    assert found["confusion"] == [
        [3, 0, 1, 0],
        [1, 1, 0, 0],
        [0, 0, 1, 1],
        [0, 0, 0, 0],
    ]
    assert found["accuracy"] == 5 / 8
    assert found["uar"] == pytest.approx((3 / 4 + 1 / 2 + 1 / 2) / 3)
    assert found["macro_f1"] == pytest.approx((3 / 4 + 2 / 3 + 1 / 2) / 3)
    assert found["recall"] == {
        "neutral": 0.75,
        "happy": 0.5,
        "angry": 0.5,
        "sad": None,
    }
    # Specificities 3/4, 6/6, 5/6: 1, 0 and 1 of 4, 6 and 6 others taken for it.
    assert found["ovr_uar"] == pytest.approx(
        {"neutral": 3 / 4, "happy": 3 / 4, "angry": 2 / 3, "sad": None}
    )
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_macro_f1_counts_a_class_that_is_never_predicted():
    labels, predictions = [0, 0, 1, 1], [0, 0, 0, 0]
    expected = f1_score(labels, predictions, average="macro")
    found = scores(labels, predictions, EMOTIONS)
    assert found["macro_f1"] == pytest.approx(expected)
    assert found["macro_f1"] == pytest.approx((2 / 3 + 0) / 2)


def test_mean_ovr_uar_of_balanced_classes(rng):
    # With n rows a class, sum FP_c = 4 n (1 - U), so the mean specificity is
    # 1 - (1 - U) / 3 and the mean of (recall + specificity) / 2 (2 U + 1) / 3.
    labels = np.repeat(np.arange(4), 25)
    found = scores(labels, rng.integers(4, size=100), EMOTIONS)
    mean = np.mean(list(found["ovr_uar"].values()))
    assert mean == pytest.approx((2 * found["uar"] + 1) / 3)


def test_ovr_uar_is_the_balanced_accuracy_of_one_class_and_the_rest(rng):
    labels, predictions = rng.integers(4, size=(2, 60))
    found = scores(labels, predictions, EMOTIONS)["ovr_uar"]
    for c, emotion in enumerate(EMOTIONS):
        expected = balanced_accuracy_score(labels == c, predictions == c)
        assert found[emotion] == pytest.approx(expected)


def test_one_class_alone_has_a_recall_but_no_rest():
    found = scores([1, 1], [1, 0], EMOTIONS)
    assert found["recall"]["happy"] == found["uar"] == 0.5
    assert set(found["ovr_uar"].values()) == {None}


@pytest.mark.parametrize(
    ("labels", "predictions", "message"),
    [
        ([], [], "none of them empty"),
        ([0, 1], [0], "no pairs"),
        ([0, 4], [0, 1], "Class 4"),
        ([0, 1], [0, 9], "Class 9"),
        ([0, -1], [0, 1], "holds -1"),
        ([0.0, 1.0], [0, 1], "holds float64"),
        (["sad", "happy"], [0, 1], "labels holds <U5"),
    ],
)
def test_scores_refuse_bad_input(labels, predictions, message):
    with pytest.raises(ValueError, match=message):
        scores(labels, predictions, EMOTIONS)
