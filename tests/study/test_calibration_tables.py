from __future__ import annotations

import json
from functools import partial

import pytest
from made_up import make_rows, make_run, make_seeds
from study_tables import (
    HALF,
    cells_of,
    check_latex,
    group_names,
    noted,
    tables_of,
    texts,
)

from lam_sb.files import write_checked
from lam_sb.study.report import notes
from lam_sb.study.report.calibration_tables import calibration_tables
from lam_sb.study.report.printed import header_lines, to_latex, to_markdown

NAMES = [
    *("ECE (%)", "Brier score", "confidence (%)", "accuracy (%)"),
    *("UAR (%), surest 25 %", "UAR (%), surest 50 %", "UAR (%), surest 75 %"),
    "UAR (%), all rows",
]


@pytest.fixture
def seeds(tmp_path):
    return partial(make_seeds, tmp_path / "results")


def test_numbers_by_hand(seeds):
    # 24 rows, speaker by speaker; three of the six neutral ones are wrong.
    wrong_last = [0.5, 0.9, 0.9, 0.9] * 6
    (table,) = tables_of(
        *seeds("lam_gl"), *seeds("cc", HALF, confidences=wrong_last)
    )
    (printed,) = calibration_tables(table)
    assert header_lines(printed.frame) == [
        [("left → right, enc", 8)],
        [(name, 1) for name in NAMES],
    ]
    # CC: bins of 0.9 with accuracy 1 (18 rows) and of 0.5 with 0.5 (6 rows).
    # Brier: 18 x 4/3 0.1^2 + 3 x 4/3 0.5^2 + 3 (0.5^2 + (5/6)^2 + 2/36) = 4.24.
    # At 75 % all neutral rows are out.
    marked = ["100.0 §"] * 3
    assert texts(printed) == {
        "CC": ["7.5", "0.177", "80.0", "87.5", *marked, "87.5"],
        "LAM-GL": ["30.0", "0.120", "70.0", "100.0"] + ["100.0"] * 4,
    }
    assert group_names(printed) == [["CC"], ["LAM-GL"]]
    assert noted(printed, "§") == [
        "§ The surest rows of a seed lack an emotion: UAR over those that are "
        "there, not to be compared with others."
    ]
    assert {cell.score[0] for cell in cells_of(printed)} == {"cc", "lam_gl"}
    assert notes.CALIBRATION in printed.cautions


def test_each_column_has_its_table(seeds):
    paths = seeds("lam_gl") + seeds("lam_gl", encoder="enc2")
    (table,) = tables_of(*paths, *seeds("lam_gl_vowl"))
    one, two = calibration_tables(table)
    assert header_lines(one.frame)[0] == [("left → right, enc", 8)]
    assert header_lines(two.frame)[0] == [("left → right, enc2", 8)]
    assert list(texts(one)) == ["LAM-GL", "LAM-GL, vowels"]
    assert list(texts(two)) == ["LAM-GL"]
    assert noted(one, "§") == noted(one, "The posteriors") == []


def test_votes_and_shots_are_said(seeds):
    (table,) = tables_of(*seeds("ensemble"), *seeds("few_shot"))
    (printed,) = calibration_tables(table)
    assert list(texts(printed)) == ["Ensemble", "Few-shot‡"]
    assert noted(printed, "The posteriors") == [
        "The posteriors of Ensemble are shares of the votes of three "
        "classifiers: they say how many agree, in a few steps."
    ]
    assert noted(printed, "‡")


def test_a_bound_of_the_ensemble_votes_too(seeds):
    keys = {"bound": "oracle", "experiment": "mine"}
    (table,) = tables_of(*seeds("ensemble", **keys))
    (printed,) = calibration_tables(table)
    assert "ensemble_oracle are shares" in noted(printed, "The posteriors")[0]


def test_rows_that_differ_are_said(seeds):
    paths = seeds("lam_gl") + seeds("cc", settings={"lr": 0.5})
    (table,) = tables_of(*paths)
    (printed,) = calibration_tables(table)
    assert printed.differing.startswith("Not comparable: ")


def test_all_rows_have_the_uar_of_table_2(tmp_path):
    parts = [make_rows([f"s{n}", f"t{n}"], takes=3) for n in range(2)]
    paths = [
        make_run(tmp_path, "cc", "a", "b", 0, rows=part, folds=2, fold=fold)
        for fold, part in enumerate(parts)
    ]
    (table,) = tables_of(*paths)
    (score,) = table.scores.values()
    (printed,) = calibration_tables(table)
    uar = 100 * score.estimate.value
    assert texts(printed)["CC"][-1] == f"{uar:.1f}"


def test_runs_of_earlier_versions_have_numbers_too(tmp_path):
    """Whose results.json lacks them: they come from predictions.csv."""
    (table,) = tables_of(make_run(tmp_path, "cc", "a", "b", 0, wrong=0))
    (score,) = table.scores.values()
    assert "ece" not in score.runs[0].results
    (printed,) = calibration_tables(table)
    assert texts(printed)["CC"][0] == "30.0"


def test_it_is_printed_in_both_formats(seeds):
    (table,) = tables_of(*seeds("cc", confidences=[0.9, 0.5, 0.5, 0.5] * 6))
    (printed,) = calibration_tables(table)
    first, second = check_latex(to_latex(printed))
    assert first[-1][0] == second[-1][0] == "CC"
    assert second[-1][1].endswith(r"\textsuperscript{\S}")
    assert "left → right, enc, ECE (%)" in to_markdown(printed)


def test_the_error_before_calibration_stands_beside_the_one_after(seeds):
    before = [{"ece": 0.1 * n} for n in range(5)]
    paths = seeds("lam_gl")
    for path, scores in zip(paths, before, strict=True):
        results = json.loads(path.read_text())
        write_checked(path, results | {"uncalibrated": scores})
    (table,) = tables_of(*paths, *seeds("cc", HALF))
    (printed,) = calibration_tables(table)
    lines = texts(printed)
    assert lines["LAM-GL"][1] == "20.0"  # mean of 0 to 40 %
    assert lines["CC"][1] == ""
