"""The command ``compare``, and predictions read for Python."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from conftest import read_table, write_table
from made_up import make_rows, make_run

from lam_sb.__main__ import main
from lam_sb.errors import UserError
from lam_sb.evaluation.predictions import Predictions
from lam_sb.evaluation.statistics import compare, interval


@pytest.fixture
def rows():
    return make_rows(12)


def seeds(root, system, rows, wrong, count):
    for seed in range(count):
        make_run(root, system, "a", "b", seed, wrong=wrong, rows=rows)


def test_it_says_what_the_statistics_say(rows, tmp_path, capsys):
    for system, wrong in ("lam_gl", 0.2), ("layer_atn", 0.4):
        seeds(tmp_path / system, system, rows, wrong=wrong, count=6)
    main(["compare", f"{tmp_path}/lam_gl", f"{tmp_path}/layer_atn/*"])
    sentence, _, text = capsys.readouterr().out.partition("\n")
    said = json.loads(text)
    a, b = (
        Predictions.load(
            *sorted(p.parent for p in (tmp_path / s).rglob("results.json"))
        )
        for s in ("lam_gl", "layer_atn")
    )
    expected = compare(a, b)
    assert said["difference"]["value"] == expected.estimate.value
    limits = [expected.estimate.low, expected.estimate.high]
    assert said["difference"]["ci95"] == limits
    assert said["p_two_sided"] == expected.p_two_sided
    assert said["a"]["uar"]["value"] == interval(a).value
    assert len(said["a"]["runs"]) == 6
    points = 100 * expected.estimate.value
    assert points > 5
    assert sentence.startswith(f"On {len(rows)} rows of b, LAM-GL (UAR ")
    assert f"LAM-GL (UAR {100 * interval(a).value:.1f} %, 6 seeds)" in sentence
    assert f"is {points:+.1f} points, 95 % interval" in sentence
    assert "they differ" in sentence


def test_uars_are_those_of_the_rows_that_both_tested(rows, tmp_path, capsys):
    seeds(tmp_path / "one", "lam_gl", rows, wrong=0.3, count=2)
    seeds(tmp_path / "two", "cc", rows[30:], wrong=0.4, count=2)
    main(["compare", f"{tmp_path}/one", f"{tmp_path}/two"])
    sentence, _, text = capsys.readouterr().out.partition("\n")
    assert sentence.startswith(f"On {len(rows) - 30} rows of b, ")
    uars = [float(x) for x in re.findall(r"([\d.]+) %, 2 seeds", sentence)]
    text = text[text.index("{") :]
    difference = 100 * json.loads(text)["difference"]["value"]
    assert uars[0] - uars[1] == pytest.approx(difference, abs=0.11)


def test_a_run_is_not_compared_with_itself(rows, tmp_path):
    seeds(tmp_path / "one", "lam_gl", rows, wrong=0.3, count=2)
    with pytest.raises(UserError, match="is among both: give two systems"):
        main(["compare", f"{tmp_path}/one", f"{tmp_path}/one/*/*/1"])


@pytest.mark.parametrize("case", ["none", "two", "other rows", "target"])
def test_what_cannot_be_compared_is_said(case, rows, tmp_path):
    seeds(tmp_path / "one", "lam_gl", rows, wrong=0.3, count=2)
    other = tmp_path / "two"
    message = "holds no results.json: give the folder of a run"
    if case == "two":
        seeds(other / "a", "cc", rows, wrong=0.3, count=1)
        seeds(other / "b", "layer_atn", rows, wrong=0.3, count=1)
        message = r"more than one system, .*: CC \(.*\), Layer-Atn"
    if case == "other rows":
        renamed = [row._replace(id=f"x{row.id}") for row in rows]
        seeds(other, "cc", renamed, wrong=0.3, count=1)
        message = "cannot be compared: The two systems share no utterance id"
    if case == "target":
        make_run(other, "cc", "a", "c", 0, rows=rows)
        message = "tested on b and .* on c: compare runs of one target"
    with pytest.raises(UserError, match=message):
        main(["compare", f"{tmp_path}/one", str(other)])


def test_unlabelled_rows_are_read_and_count_in_no_score(rows, tmp_path):
    folder = make_run(tmp_path, "lam_gl", "a", "b", 0, rows=rows).parent
    whole = Predictions.load(folder)
    table = read_table(folder / "predictions.csv")
    for row in table[:7]:
        row["label"] = ""
    write_table(folder / "predictions.csv", table)
    some = Predictions.load(folder, folder)
    assert some.labels[:7].tolist() == [-1] * 7
    assert some.predictions.shape == (2, len(rows))
    assert some.posteriors.shape == (2, len(rows), 4)
    assert np.array_equal(some.posteriors[0].argmax(1), some.predictions[0])
    rest = np.arange(7, len(rows))
    assert interval(some).value == interval(whole.take(rest)).value
    assert interval(some).value != interval(whole).value
    assert np.array_equal(
        some.take(rest).posteriors, whole.take(rest).posteriors[[0, 0]]
    )


def test_predictions_of_other_rows_are_not_joined(rows, tmp_path):
    folders = [
        make_run(tmp_path, "lam_gl", "a", "b", seed, rows=rows[seed:]).parent
        for seed in (0, 1)
    ]
    with pytest.raises(UserError, match="has other test rows: load it alone"):
        Predictions.load(*folders)
    (folders[0] / "predictions.csv").write_text("id,label\n1,x\n")
    with pytest.raises(UserError, match=r"predictions.csv cannot be read"):
        Predictions.load(folders[0])
