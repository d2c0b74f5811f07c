from __future__ import annotations

import json

import numpy as np
import pytest
from made_up import make_rows, make_run

from lam_sb.evaluation.breakdowns import (
    best_baseline,
    by_gender,
    by_speaker,
    coverage_curve,
    layer_means,
    mean_calibration,
    mean_confusion,
    read_history,
    read_layers,
)
from lam_sb.evaluation.comparisons import Column, make_tables
from lam_sb.evaluation.metrics import uar
from lam_sb.evaluation.predictions import Predictions
from lam_sb.evaluation.results import read_run
from lam_sb.evaluation.statistics import (
    interval,
)

# Two women and a man; the man is never sad.
LABELS = [0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2]
SPEAKERS = ["w1"] * 4 + ["w2"] * 4 + ["m"] * 3
IDS = [f"u{n:02d}" for n in range(11)]
GUESSES = [
    [0, 1, 2, 3, 0, 1, 2, 2, 0, 0, 2],
    [0, 1, 2, 0, 0, 1, 3, 2, 0, 1, 2],
]


@pytest.fixture
def predictions():
    return Predictions(IDS, LABELS, SPEAKERS, GUESSES)


def the_score(paths):
    tables, problems = make_tables(map(read_run, paths))
    assert not problems
    return next(iter(tables[0].scores.values()))


def write_lines(path, lines):
    path.write_text("".join(f"{line}\n" for line in lines))


def test_genders_are_scored_apart(predictions):
    genders = {i: "female" if n < 8 else "male" for n, i in enumerate(IDS)}
    parts = by_gender(predictions, genders)
    assert list(parts) == ["female", "male"]
    women, men = parts["female"], parts["male"]
    assert (women.num_classes, women.num_rows) == (4, 8)
    assert (men.num_classes, men.num_rows) == (3, 3)
    # Recalls 1 1 1 1/2 and 1 1 1/2 0; 1 0 1 and 1 1 1.
    assert women.estimate.value == pytest.approx((3.5 + 2.5) / 8)
    assert men.estimate.value == pytest.approx((2 / 3 + 1) / 2)
    assert women.estimate == interval(predictions.take(np.arange(8)))
    assert np.isnan(men.estimate.low)  # one speaker


def test_unknown_genders_are_left_out(predictions):
    assert by_gender(predictions, {}) == {}
    parts = by_gender(predictions, {"u00": "", "u01": "male", "other": "male"})
    assert {gender: part.num_rows for gender, part in parts.items()} == {
        "male": 1
    }


def test_speakers_are_scored_over_the_emotions_they_have(predictions):
    found = by_speaker(predictions)
    assert list(found.index) == ["m", "w1", "w2"]
    assert found.loc["m"].tolist() == pytest.approx([5 / 6, 3, 3])
    assert found["utterances"].tolist() == [3, 4, 4]
    for name, value in found["uar"].items():
        here = predictions.clusters == name
        by_seed = [
            uar(predictions.labels[here], seed[here])
            for seed in predictions.predictions
        ]
        assert value == pytest.approx(np.mean(by_seed))


def test_confusions_are_shares_of_each_true_class(predictions):
    rates, counts = mean_confusion(predictions)
    assert counts.tolist() == [3, 3, 3, 2]
    assert rates[0].tolist() == [1, 0, 0, 0]
    assert rates[1].tolist() == pytest.approx([1 / 6, 5 / 6, 0, 0])
    assert rates[3].tolist() == [0.25, 0, 0.5, 0.25]
    nobody_sad, counts = mean_confusion(predictions.take(np.arange(8, 11)))
    assert np.isnan(nobody_sad[3]).all()
    assert counts[3] == 0


def test_calibration_is_averaged_over_the_seeds(tmp_path):
    rows = make_rows(["a", "b"], takes=1)
    right, even = [0, 1, 2, 3] * 2, [0, 1, 2, 3, 1, 2, 3, 0]
    keys = {"rows": rows, "confidences": [0.9] * 4 + [0.7] * 4}
    score = the_score(
        [
            make_run(tmp_path, "cc", "x", "y", 0, predictions=right, **keys),
            make_run(tmp_path, "cc", "x", "y", 1, predictions=even, **keys),
        ]
    )
    # Errors of 0.1 and 0.3, and of 0.1 and 0.7. Brier: 4/3 (1 - p)^2 where
    # right; 0.7^2 + 0.9^2 + 2 0.1^2 where wrong.
    surest, rest, wrong = 4 / 3 * 0.1**2, 4 / 3 * 0.3**2, 1.32
    assert mean_calibration(score) == pytest.approx(
        {
            "ece": (0.2 + 0.4) / 2,
            "brier": ((surest + rest) / 2 + (surest + wrong) / 2) / 2,
            "confidence": 0.8,
            "accuracy": (1 + 0.5) / 2,
        }
    )
    curve = coverage_curve(score, (25, 50, 75, 100))
    # At 75 %, half of each row of b counts: recalls of 1 and of 1 / 1.5.
    assert curve["uar"].to_dict() == pytest.approx(
        {25: 1, 50: 1, 75: (1 + 2 / 3) / 2, 100: 0.75}
    )
    assert not curve["lacks"].any()


def test_folds_are_calibrated_as_one(tmp_path):
    # Alone, folds of accuracies 1 and 0.5 are each 0.25 from the confidence.
    folds = [
        (make_rows(["b"], takes=2, emotions=(2, 3)), [2, 2, 3, 3]),
        (make_rows(["a"], takes=1), [0, 1, 3, 0]),  # whose ids come first
    ]
    paths = [
        make_run(
            *(tmp_path, "cc", "x", "y", 0),
            rows=rows,
            predictions=guesses,
            confidences=[0.75] * 4,
            folds=2,
            fold=fold,
        )
        for fold, (rows, guesses) in enumerate(folds)
    ]
    score = the_score(paths)
    found = mean_calibration(score)
    assert found["ece"] == pytest.approx(0)
    assert found["accuracy"] == 0.75
    whole = coverage_curve(score, [100])["uar"][100]
    assert whole == pytest.approx(score.estimate.value)


def test_surest_rows_may_lack_an_emotion(tmp_path):
    rows = make_rows(["a", "b"], takes=1)
    keys = {"rows": rows, "predictions": [0, 1, 2, 0] * 2}
    sad_last, sad_first = [0.9, 0.9, 0.9, 0.5], [0.5, 0.5, 0.5, 0.9]
    confidences = [sad_last * 2, sad_first * 2]
    paths = [
        make_run(tmp_path, "cc", "x", "y", n, confidences=part, **keys)
        for n, part in enumerate(confidences)
    ]
    curve = coverage_curve(the_score(paths), (25, 75, 80))
    # Of seed 0 recalls of 1 1 1, of seed 1 of 0; at 75 %, also 1 1 1.
    assert curve["uar"].tolist() == pytest.approx([0.5, 0.875, 0.75])
    assert curve["lacks"].tolist() == [True, True, False]


def test_an_emotion_that_nobody_has_is_not_lacking(tmp_path):
    rows = make_rows(["a", "b"], takes=1, emotions=(0, 1))
    score = the_score([make_run(tmp_path, "cc", "x", "y", 0, rows=rows)])
    assert not coverage_curve(score, [50])["lacks"].any()


def test_layers_are_averaged_over_the_runs(tmp_path):
    shares = [{"1": 0.2, "2": 0.8}, {"1": 0.4, "2": 0.6}]
    paths = [
        make_run(tmp_path, "lam_gl", "a", "b", n, layer_share=share)
        for n, share in enumerate(shares)
    ]
    assert layer_means(the_score(paths), "layer_share") == pytest.approx(
        {1: 0.3, 2: 0.7}
    )
    ensemble = make_run(tmp_path, "ensemble", "a", "b", 0)
    assert layer_means(the_score([ensemble]), "layer_share") == {}


def test_layers_by_epoch_go_as_far_as_all_runs(tmp_path):
    runs = [read_run(make_run(tmp_path, "lam_gl", "a", "b", n)) for n in (0, 1)]
    write_lines(
        runs[0].path.with_name("layer_weights.csv"),
        ["epoch,layer,alpha,share", "1,4,0.4,0.1", "1,9,0.6,0.9"],
    )
    write_lines(
        runs[1].path.with_name("layer_weights.csv"),
        [
            *("epoch,layer,alpha,share", "1,4,0.2,0.3", "1,9,0.8,"),
            *("2,4,0.5,0.5", "2,9,0.5,0.5"),
        ],
    )
    log = read_layers(runs)
    assert log.layers == (4, 9)
    assert log.at.tolist() == [1]
    assert log.values["alpha"].tolist() == [[[0.4, 0.6]], [[0.2, 0.8]]]
    assert log.values["share"][0].tolist() == [[0.1, 0.9]]
    assert np.isnan(log.values["share"][1, 0, 1])


def test_histories_go_as_far_as_all_runs(tmp_path):
    runs = [read_run(make_run(tmp_path, "cc", "a", "b", n)) for n in (0, 1)]
    header = "epoch,steps,train_loss,valid_loss,valid_uar"
    write_lines(
        runs[0].path.with_name("history.csv"),
        [header, "1,10,2.0,1.5,0.25", "2,20,1.0,1.25,0.5"],
    )
    write_lines(
        runs[1].path.with_name("history.csv"), [header, "1,10,3.0,1.0,"]
    )
    log = read_history(runs)
    assert log.at.tolist() == [10]
    assert log.values["train_loss"].tolist() == [[2.0], [3.0]]
    assert np.isnan(log.values["valid_uar"][1, 0])


def test_what_left_no_log_has_none(tmp_path):
    ensemble = [read_run(make_run(tmp_path, "ensemble", "a", "b", 0))]
    top = [read_run(make_run(tmp_path, "cc", "a", "b", 0))]
    assert read_layers(ensemble) is None
    assert read_history(ensemble) is None
    assert read_layers(top) is None  # one layer
    top[0].path.with_name("history.csv").write_text("epoch,steps\n")
    assert read_history(top) is None


def test_the_best_baseline_is_that_of_the_column(tmp_path):
    rows = make_rows(6)
    right = [row.label for row in rows]
    wrong = [0] * len(rows)
    paths = [
        make_run(tmp_path, "cc", "a", "b", 0, predictions=right),
        make_run(tmp_path, "ensemble", "a", "b", 0, predictions=wrong),
        make_run(tmp_path, "lam_gl", "a", "b", 0, predictions=right),
        make_run(tmp_path, "ensemble", "b", "a", 0, predictions=wrong),
        make_run(tmp_path, "lam_gl", "c", "a", 0, predictions=right),
    ]
    tables, _ = make_tables(map(read_run, paths))
    assert best_baseline(tables[0], Column("enc", "a", "b")) == "cc"
    assert best_baseline(tables[0], Column("enc", "b", "a")) == "ensemble"
    assert best_baseline(tables[0], Column("enc", "c", "a")) is None


def test_runs_of_other_layers_are_not_averaged(tmp_path):
    path = make_run(tmp_path, "lam_gl", "a", "b", 0)
    score = the_score([path, make_run(tmp_path, "lam_gl", "a", "b", 1)])
    score.runs[1].results["layer_share"] = {"7": 1.0}
    assert layer_means(score, "layer_share") == {}
    assert json.loads(path.read_text())["layer_share"].keys() == {*"1234"}
