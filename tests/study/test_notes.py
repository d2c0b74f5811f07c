from __future__ import annotations

from functools import partial

import pytest
from made_up import Row, make_rows, make_seeds
from study_tables import (
    HALF,
    WHOLE,
    noted,
    tables_of,
    texts,
)

from lam_sb.study.report.score_tables import score_tables


@pytest.fixture
def seeds(tmp_path):
    return partial(make_seeds, tmp_path / "results")


def test_marks_are_explained_where_they_occur(seeds):
    paths = seeds("lam_gl", HALF, speakers=10, count=10)
    for system, wrong in (("cc", WHOLE), ("lam_al", ())):
        paths += seeds(system, wrong, speakers=10, count=10)
    paths += seeds("few_shot", HALF, speakers=10, count=10)
    (table,) = tables_of(*paths)
    uars, _ = score_tables(table, paper=False)
    # 7 of 10 neutral rows more, d = 0.175; without a speaker that both get
    # alike 7/9, else 6/9: SE^2 = 9/10 (3 a^2 + 7 b^2), a = 0.7/36, b = 0.3/36.
    # t = 0.175 / 0.0382 = 4.58 with 9 df, p 0.0007, and times 2 0.0013.
    assert texts(uars)["CC"][0].endswith("]**")
    assert texts(uars)["Few-shot‡"][0].endswith("]")
    # d = -0.075 and the same SE: t = -1.96, two-sided p 0.08.
    assert texts(uars)["LAM-AL"][0].endswith("]")
    (stars,) = noted(uars, "**")
    assert stars.startswith("** p < 0.05: LAM-GL is better; one-sided, Holm")
    assert noted(uars, "‡") == [
        "‡ learns from 5 labelled target rows of each emotion."
    ]
    assert noted(uars, "†") == noted(uars, "* ") == []
    assert noted(uars, "Few") == []
    assert len(noted(uars, "In brackets: 95 % intervals")) == 1


def test_the_dagger_is_explained(seeds):
    (table,) = tables_of(*seeds("lam_gl", WHOLE), *seeds("lam_al"))
    uars, _ = score_tables(table, paper=False)
    assert len(noted(uars, "† better than LAM-GL: two-sided p < 0.05")) == 1
    assert noted(uars, "**") == noted(uars, "‡") == []


def test_one_star_is_explained(seeds):
    paths = seeds("lam_gl") + seeds("cc", HALF) + seeds("pc", HALF)
    (table,) = tables_of(*paths)
    uars, _ = score_tables(table, paper=False)
    assert texts(uars)["PC"] == ["87.5 [73.1, 100.0]*"]
    assert len(noted(uars, "* p < 0.1: LAM-GL is better")) == 1


def test_families_of_p_are_explained(seeds):
    paths = seeds("lam_gl") + seeds("within")
    for system in ("cc", "lam_al", "layer_atn"):
        paths += seeds(system, HALF)
    (table,) = tables_of(*paths)
    _, differences = score_tables(table, paper=False)
    assert differences.notes[0] == (
        "Intervals of differences are two-sided and not corrected. p, "
        "Holm-corrected within one column: one-sided (LAM-GL is better) over "
        "the baselines, two-sided over the ablations, two-sided over the "
        "controls. Bounds are not tested."
    )


@pytest.mark.parametrize(
    ("speakers", "expected"),
    [
        (10, []),
        (
            9,
            ["Few speakers: fewer than 10 test speakers in left → right, enc."],
        ),
        (
            5,
            [
                "Few speakers: fewer than 10 test speakers in left → right, "
                "enc.",
                "Fewer than 6 speakers, so no marks of significance, in left "
                "→ right, enc.",
            ],
        ),
    ],
)
def test_few_speakers_are_noted(speakers, expected, seeds):
    (table,) = tables_of(*seeds("lam_gl", speakers=speakers))
    (uars,) = score_tables(table, paper=False)
    of_seeds = {*noted(uars, "Few seeds"), *noted(uars, "Fewer than 5")}
    assert [n for n in noted(uars, "Few") if n not in of_seeds] == expected
    assert noted(uars, "One speaker") == []


def test_one_speaker_is_noted(seeds):
    paths = seeds("lam_gl", speakers=1) + seeds("cc", WHOLE, speakers=1)
    (table,) = tables_of(*paths)
    uars, differences = score_tables(table, paper=False)
    assert texts(uars) == {"CC": ["75.0"], "LAM-GL": ["100.0"]}
    assert texts(differences) == {"CC": ["+25.0"]}
    expected = ["One speaker, so no interval, in left → right, enc."]
    assert noted(uars, "One") == noted(differences, "One") == expected


def test_few_seeds_are_noted(seeds):
    paths = seeds("lam_gl", count=10) + seeds("cc", HALF, count=9)
    paths += seeds("pc", HALF, count=4) + seeds("lam_al", count=1)
    (table,) = tables_of(*paths)
    uars, _ = score_tables(table, paper=False)
    assert noted(uars, "Few seeds") == [
        "Few seeds, fewer than 10, which is a look and no claim: CC, PC, "
        "LAM-AL."
    ]
    assert noted(uars, "Fewer than 5") == [
        "Fewer than 5 seeds, so no marks of significance: PC, LAM-AL."
    ]
    assert noted(uars, "One seed") == [
        "One seed, so an interval that holds for that run only: LAM-AL."
    ]
    (table,) = tables_of(*seeds("cc", count=2, experiment="two"))
    (uars,) = score_tables(table, paper=False)
    assert noted(uars, "Few seeds") == [
        "Few seeds, fewer than 10, which is a look and no claim: all systems."
    ]
    assert noted(uars, "Fewer than 5") == [
        "Fewer than 5 seeds, so no marks of significance: all systems."
    ]


def test_missing_classes_are_noted(seeds):
    # Nobody is sad; without s01, nobody is angry either.
    rows = make_rows(6, takes=1, emotions=(0, 1))
    rows = sorted([*rows, Row("s01_2_0", "s01", "s01", 2)])
    (table,) = tables_of(*seeds("lam_gl", rows=rows))
    (uars,) = score_tables(table, paper=False)
    assert noted(uars, "Class missing") == [
        "Class missing: leaving out one of 1 among 6 speakers leaves no row "
        "of an emotion (left → right, enc); the jackknife's UAR is then over "
        "the others."
    ]
    assert noted(uars, "No test row") == [
        "No test row of left → right, enc is sad: its UAR is over the other "
        "emotions."
    ]


def test_rows_that_are_not_shared_are_noted(seeds):
    paths = seeds("lam_gl") + seeds("cc", HALF, rows=make_rows(6, 1)[4:])
    (table,) = tables_of(*paths)
    expected = [
        "CC is compared with LAM-GL on the 20 of 24 test rows that both have "
        "(left → right, enc)."
    ]
    for grid in score_tables(table, paper=False):
        assert noted(grid, "CC") == expected


def test_labels_that_chose_the_layers_are_noted(seeds):
    chosen = {"anchor_rule": "group", "target_labels_used": 48}
    paths = seeds("lam_gl", **chosen) + seeds("lam_al")
    paths += seeds("lam_bl", anchor_rule="best") + seeds("oracle", **chosen)
    (table,) = tables_of(*paths)
    uars, _ = score_tables(table, paper=False)
    expected = ["Target labels chose the anchored layers of LAM-GL."]
    assert noted(uars, "Target labels") == expected


def test_what_runs_say_of_their_rows_is_said_once_a_table(seeds):
    lost = "Preparation dropped 2 utterances of left (2 missing); x names them."
    few = "The test set has 6 speakers, fewer than 10: the interval is rough."
    paths = seeds("lam_gl", notes=[lost, few]) + seeds("cc", notes=[lost])
    (table,) = tables_of(*paths)
    uars, differences = score_tables(table, paper=False)
    for printed in (uars, differences):
        found = f"{lost} (left → right, enc)"
        assert noted(printed, "Preparation") == [found]
        assert noted(printed, "The test set") == []  # "Few speakers" says it
