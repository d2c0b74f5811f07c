from __future__ import annotations

import json

import numpy as np
import pytest
from made_up import Row, make_rows, make_run

from lam_sb.errors import UserError
from lam_sb.evaluation.results import (
    read_run,
    score,
    score_notes,
    write_predictions,
)
from lam_sb.files import write_checked
from lam_sb.training.rows import DomainRows


@pytest.fixture
def path(tmp_path):
    return make_run(tmp_path, "lam_gl", "left", "right", 3, speakers=2)


def test_predictions_are_sorted_with_nine_digits_and_unknown_labels_empty(
    tmp_path,
):
    manifest = {
        "b": {"speaker": "x", "emo": "sad"},
        "a": {"speaker": "y", "emo": None},
    }
    rows = DomainRows(manifest, features=None, labelled=True)
    posteriors = np.array([[0.1, 0.2, 0.3, 0.4], [2 / 3, 1 / 3, 0, 0]])
    write_predictions(tmp_path / "p.csv", rows, posteriors, "left")
    assert (tmp_path / "p.csv").read_bytes().decode().split("\r\n") == [
        "id,speaker,cluster,corpus,label,prediction,neutral,happy,angry,sad",
        "a,y,y,left,,neutral,0.666666667,0.333333333,0.000000000,0.000000000",
        "b,x,x,left,sad,sad,0.100000000,0.200000000,0.300000000,0.400000000",
        "",
    ]


def test_a_run_is_read_back(tmp_path):
    rows = make_rows(["a", "b"], takes=1)
    guesses = [0, 1, 2, 3, 3, 2, 1, 0]
    path = make_run(
        tmp_path, "cc", "left", "right", 7, rows=rows, predictions=guesses
    )
    run = read_run(path)
    assert run.path == path
    assert (run.results["system"], run.results["seed"]) == ("cc", 7)
    assert run.ids.tolist() == [
        *("a_0_0", "a_1_0", "a_2_0", "a_3_0"),
        *("b_0_0", "b_1_0", "b_2_0", "b_3_0"),
    ]
    assert run.clusters.tolist() == ["a"] * 4 + ["b"] * 4
    assert run.labels.tolist() == [0, 1, 2, 3] * 2
    assert run.predictions.tolist() == guesses
    assert run.posteriors.shape == (8, 4)
    assert run.posteriors[6].tolist() == [0.1, 0.7, 0.1, 0.1]


def test_rows_without_a_label_are_left_out(tmp_path):
    rows = [Row("1", "a", "a", 2), Row("2", "a", "a", None)]
    path = make_run(
        tmp_path, "cc", "left", "right", 0, rows=rows, predictions=[1, 1]
    )
    run = read_run(path)
    assert run.ids.tolist() == ["1"]
    assert run.labels.tolist() == [2]
    assert run.predictions.tolist() == [1]


def test_the_cluster_is_what_predictions_csv_says(tmp_path):
    rows = [Row("1", "unknown", "podcast_1", 0), Row("2", "x", "x", 1)]
    path = make_run(tmp_path, "cc", "left", "right", 0, rows=rows)
    assert read_run(path).clusters.tolist() == ["podcast_1", "x"]


def test_no_label_at_all(tmp_path):
    rows = [Row("1", "a", "a", None), Row("2", "b", "b", None)]
    run = read_run(make_run(tmp_path, "cc", "left", "right", 0, rows=rows))
    assert len(run.ids) == len(run.labels) == len(run.predictions) == 0
    assert run.posteriors.shape == (0, 4)


def test_another_schema_is_named(path):
    results = json.loads(path.read_text())
    write_checked(path, results | {"schema": 1})
    with pytest.raises(UserError, match="schema 1; this version reads 2"):
        read_run(path)


@pytest.mark.parametrize("key", ["schema", "protocol", "seed", "shots"])
def test_a_key_that_is_missing_is_named(path, key):
    results = json.loads(path.read_text())
    del results[key]
    write_checked(path, results)
    with pytest.raises(UserError, match=f"damaged .*{key}"):
        read_run(path)


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00"])
def test_damaged_results_are_named(path, text):
    path.write_text(text)
    with pytest.raises(UserError, match=r"results\.json is damaged"):
        read_run(path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "id,cluster,label,{}\n1,a,sad,0,0,0,1\n",  # no prediction
        "id,cluster,label,prediction\n1,a,sad,sad\n",  # no posteriors
        "id,cluster,label,prediction,{}\n1,a,sad,sad,0,0,0\n",
        "id,cluster,label,prediction,{}\n1,a,sad,bored,0,0,0,1\n",
        "id,cluster,label,prediction,{}\n1,a,bored,sad,0,0,0,1\n",
        "id,cluster,label,prediction,{}\n1,a,sad,sad,0,0,0,one\n",
        "id,cluster,label,prediction,{}\n1,a,sad,sad,0,0,0,0.9\n",
        "id,cluster,label,prediction,{}\n1,a,sad,sad,0,0,0,nan\n",
        "id,cluster,label,prediction,{}\n1,a,sad,sad,0,0,-1,2\n",
        "id,cluster,label,prediction,{}\n"
        + f"{'1' * 200_000},a,sad,sad,0,0,0,1\n",
    ],
)
def test_damaged_predictions_are_named(path, text):
    text = text.format("neutral,happy,angry,sad")
    path.with_name("predictions.csv").write_text(text)
    with pytest.raises(UserError, match=r"predictions\.csv is damaged"):
        read_run(path)


@pytest.mark.parametrize("name", ["results.json", "predictions.csv"])
def test_a_file_that_is_missing_is_named(path, name):
    path.with_name(name).unlink()
    with pytest.raises(UserError, match=f"cannot be read: .*{name}"):
        read_run(path)


@pytest.mark.parametrize(
    ("speakers", "kind", "few", "notes"),
    [
        ([f"s{n}" for n in range(12)], "known", False, []),
        (
            ["a"] * 6 + ["unknown"] * 6,
            "partly",
            True,
            [
                "The speakers of some test rows are unknown: the podcasts "
                "that their ids name, or else single rows, stand for speakers "
                "(7 in all), so the interval may be too narrow.",
                "The test set has 7 recordings, fewer than 10: the interval is "
                "rough.",
            ],
        ),
        (
            ["unknown"] * 12,
            "unknown",
            None,
            [
                "The speakers of all test rows are unknown: the podcasts "
                "that their ids name, or else single rows, stand for speakers "
                "(12 in all), so the interval may be too narrow.",
            ],
        ),
    ],
)
def test_rows_without_a_speaker_are_said(speakers, kind, few, notes):
    emotions = ("neutral", "happy", "angry", "sad")
    manifest = {
        f"pod_{n:02d}_1": {"speaker": speaker, "emo": emotions[n % 4]}
        for n, speaker in enumerate(speakers)
    }
    rows = DomainRows(manifest, features=None, labelled=True)
    found = score(rows, np.full((12, 4), 0.25))
    assert (found["speakers"], found["few_speakers"]) == (kind, few)
    assert score_notes(found) == notes


def test_the_labelled_rows_alone_say_how_sure_a_run_is():
    emotions = ("neutral", "sad", None)
    manifest = {
        f"u{n}": {"speaker": "a", "emo": emotion}
        for n, emotion in enumerate(emotions)
    }
    rows = DomainRows(manifest, features=None, labelled=True)
    posteriors = np.array(
        [[0.8, 0.2, 0, 0], [0.6, 0, 0, 0.4], [1, 0, 0, 0]], dtype=float
    )
    found = score(rows, posteriors)
    assert found["accuracy"] == 0.5
    assert found["ece"] == pytest.approx((0.2 + 0.6) / 2)
    assert found["brier"] == pytest.approx((0.08 + 0.72) / 2)
    assert found["confidence"] == pytest.approx(0.7)
    # 1.5 rows at 75 %, neutral and half of sad.
    assert found["uar_surest"] == {"25": 1, "50": 1, "75": 0.5}
    unlabelled = DomainRows(manifest, features=None, labelled=False)
    keys = ("uar", "uar_ci95", "ece", "brier", "confidence", "uar_surest")
    unknown = score(unlabelled, posteriors)
    assert [unknown[key] for key in keys] == [None] * 6
    assert unknown.keys() == found.keys()


@pytest.mark.parametrize(
    ("speakers", "labelled", "found"),
    [
        ([f"s{n}" for n in range(12)], 0, (12, "known", False)),
        (["a", "b", "c"] * 4, 0, (3, "known", True)),
        (["unknown"] * 12, 0, (12, "unknown", None)),
        (["a", "b"] + ["c"] * 10, 2, (2, "known", True)),  # of the interval
    ],
)
def test_speakers_are_counted_without_labels_too(speakers, labelled, found):
    manifest = {
        f"u{n:02d}": {"speaker": s, "emo": "sad" if n < labelled else None}
        for n, s in enumerate(speakers)
    }
    rows = DomainRows(manifest, features=None, labelled=True)
    scored = score(rows, np.full((12, 4), 0.25))
    keys = ("n_speakers", "speakers", "few_speakers")
    assert tuple(scored[key] for key in keys) == found
    assert scored["n_test"] == 12
    assert (scored["uar"] is None) == (labelled == 0)
    if not labelled:
        assert score_notes(scored) == []
