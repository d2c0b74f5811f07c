from __future__ import annotations

from functools import partial

import pytest
from made_up import Row, make_rows, make_seeds
from study_tables import (
    COLUMN,
    HALF,
    PAPER,
    WHOLE,
    cells_of,
    group_names,
    tables_of,
    texts,
)

from lam_sb.evaluation.catalogue import CONTROLS
from lam_sb.evaluation.comparisons import Column
from lam_sb.study.report.emotion_tables import emotion_tables
from lam_sb.study.report.printed import column_names, header_lines
from lam_sb.study.report.score_tables import control_tables, score_tables


@pytest.fixture
def seeds(tmp_path):
    return partial(make_seeds, tmp_path / "results")


def test_uars_and_differences_by_hand(seeds):
    (table,) = tables_of(*seeds("lam_gl"), *seeds("cc", HALF))
    uars, differences = score_tables(table, paper=False)
    assert (uars.number, differences.number) == (2, 2)
    header = [[("left → right", 1)], [("enc", 1)]]
    assert header_lines(uars.frame) == header_lines(differences.frame) == header
    assert texts(uars) == {
        "CC": ["87.5 [73.1, 100.0]**"],
        "LAM-GL": ["100.0 [100.0, 100.0]"],
    }
    assert texts(differences) == {"CC": ["+12.5 [-1.9, +26.9], p 0.038"]}
    cc, lam_gl = cells_of(uars)
    assert (cc.bold, lam_gl.bold) == (False, True)
    assert (cc.score, lam_gl.score) == (("cc", COLUMN), ("lam_gl", COLUMN))


def test_a_certain_difference_has_a_small_p(seeds):
    (table,) = tables_of(*seeds("lam_gl", WHOLE), *seeds("cc"))
    uars, differences = score_tables(table, paper=False)
    expected = "-25.0 [-25.0, -25.0], p 1.000"  # one-sided
    assert texts(differences)["CC"] == [expected]
    assert texts(uars)["CC"] == ["100.0 [100.0, 100.0]†"]
    (table,) = tables_of(*seeds("lam_gl", experiment="a"), *seeds("pc", WHOLE))
    _, differences = score_tables(table, paper=False)
    expected = "+25.0 [+25.0, +25.0], p < 0.001"
    assert texts(differences)["PC"] == [expected]


def test_equal_systems_differ_by_plus_zero(seeds):
    (table,) = tables_of(*seeds("lam_gl", HALF), *seeds("layer_atn", HALF))
    _, differences = score_tables(table, paper=False)
    expected = "+0.0 [+0.0, +0.0], p 1.000"
    assert texts(differences)["Layer-Atn"] == [expected]


def test_no_difference_is_minus_zero(seeds):
    # One neutral row of 601, a quarter of it in UAR: d = 0.042 points. Without
    # its speaker 0, without another 1/1204: SE = 2/3 of that, t = 0.75 with 2
    # df, 4.30 SE = 0.24 points, p = 1 - 0.75 / sqrt(2 + 0.75^2).
    rows = make_rows(["s01", "s02"], takes=1, emotions=(1, 2, 3))
    rows += make_rows(["s01", "s02"], takes=300, emotions=(0,))
    rows = sorted([*rows, Row("s00_0_0", "s00", "s00", 0)])
    paths = seeds("lam_gl", HALF[:1], rows=rows) + seeds("layer_atn", rows=rows)
    (table,) = tables_of(*paths)
    _, differences = score_tables(table, paper=False)
    (found,) = texts(differences)["Layer-Atn"]
    assert found == "+0.0 [-0.3, +0.2], p 0.531"


def test_rows_columns_and_groups(seeds):
    paths = []
    for system in (
        *("pc", "lam_gl", "lam_bl", "lam_gl_vowl", "layer_atn", "within"),
        *("mine", "cc"),
    ):
        paths += seeds(system)
    for keys in (
        {"source": "right", "target": "left"},
        {"encoder": "enc2"},
        {"encoder": "enc2", "source": "right", "target": "left"},
    ):
        paths += seeds("lam_gl", **keys)
    (table,) = tables_of(*paths)
    uars, differences = score_tables(table, paper=False)
    directions = [("left → right", 2), ("right → left", 2)]
    encoders = [("enc", 1), ("enc2", 1), ("enc", 1), ("enc2", 1)]
    assert header_lines(uars.frame) == [directions, encoders]
    assert group_names(uars) == [
        ["CC", "PC"],
        ["LAM-GL"],
        ["LAM-BL"],
        ["Layer-Atn"],
        ["Layer-Atn, within"],
        ["mine"],
    ]
    assert texts(uars)["CC"][1:] == ["", "", ""]
    assert all(texts(uars)["LAM-GL"])
    header = [[("left → right", 1)], [("enc", 1)]]
    assert header_lines(differences.frame) == header
    assert group_names(differences) == [
        ["CC", "PC"],
        ["LAM-BL"],
        ["Layer-Atn"],
        ["Layer-Atn, within"],
        ["mine"],
    ]


def test_the_best_is_no_bound(seeds):
    paths = seeds("within") + seeds("lam_gl", HALF) + seeds("cc", WHOLE)
    paths += seeds("lam_al", HALF) + seeds("cc", WHOLE, target="far")
    (table,) = tables_of(*paths)
    uars, differences = score_tables(table, paper=False)
    best = [cell.score for cell in cells_of(uars) if cell.bold]
    far = Column("enc", "left", "far")
    assert best == [("cc", far), ("lam_gl", COLUMN), ("lam_al", COLUMN)]
    assert not any(cell.bold for cell in cells_of(differences))
    # A bound is not tested: no p.
    expected = ["-12.5 [-26.9, +1.9]"]
    assert texts(differences)["Layer-Atn, within"] == expected


def test_without_lam_gl_nothing_is_compared(seeds):
    (table,) = tables_of(*seeds("within"), *seeds("oracle"))
    (uars,) = score_tables(table, paper=True)
    assert list(texts(uars)) == ["Layer-Atn, within", "Layer-Atn, oracle"]
    assert control_tables(table) == []
    assert emotion_tables(table, paper=True) == []


def test_the_paper_stands_beside_its_own_cells(seeds):
    paths = seeds("lam_gl", encoder="other", **PAPER)
    for system in ("lam_gl", "few_shot", "layer_atn"):
        paths += seeds(system, encoder="big/wavlm-base-plus", **PAPER)
    paths += seeds(
        "few_shot",
        encoder="big/wavlm-base-plus",
        **PAPER,
        shots=0,
        experiment="zero",
    )
    paths += seeds("lam_gl", encoder="big/wavlm-base-plus", target="esd")
    names = {"big/wavlm-base-plus": "wavlm"}
    (table,) = tables_of(*paths, encoders=names)
    uars, differences = score_tables(table, paper=True)
    direction = "msp_podcast → biic_podcast"
    assert header_lines(uars.frame) == [
        [(direction, 3), ("left → esd", 1)],
        [("other", 1), ("wavlm", 1), ("paper", 1), ("wavlm", 1)],
    ]
    found = {name: row[2] for name, row in texts(uars).items()}
    assert found == {
        "Few-shot‡": "53.62",
        "Few-shot, no target label": "",
        "LAM-GL": "60.21",
        "Layer-Atn": "",
    }
    assert column_names(uars.frame)[1:3] == [
        f"{direction}, wavlm",
        f"{direction}, wavlm, paper",
    ]
    assert ("paper", 1) not in header_lines(differences.frame)[-1]
    uars, _ = score_tables(table, paper=False)
    assert ("paper", 1) not in header_lines(uars.frame)[-1]


def test_the_caption_says_the_protocol_and_the_sizes(seeds):
    paths = seeds("lam_gl", count=12) + seeds("cc", HALF, count=10)
    paths += seeds("cc", target="far", speakers=11, count=10)
    (table,) = tables_of(*paths)
    caption = score_tables(table, paper=False)[0].caption
    for words in (
        "normalise: domain (each corpus by its own statistics",
        "protocol: transductive (the target's test rows",
        "no folds; split_seed: 0",
        "select_on: last (posteriors averaged",
        "target_rows: all (all target training rows)",
        "Seeds: 10 to 12.",
        "Test speakers: 6 (left → right, enc), 11 (left → far, enc).",
    ):
        assert words in caption


def test_the_headline_is_the_two_controls_by_column(seeds):
    paths = seeds("lam_gl") + seeds("layer_atn", HALF)
    paths += seeds("layer_drop", WHOLE) + seeds("cc", HALF)
    back = {"source": "right", "target": "left"}
    paths += seeds("lam_gl", **back) + seeds("layer_drop", HALF, **back)
    (table,) = tables_of(*paths)
    (grid,) = control_tables(table)
    assert (grid.number, grid.is_main) == (2, False)
    assert grid.caption.startswith("LAM-GL minus the same system")
    directions = [("left → right", 1), ("right → left", 1)]
    assert header_lines(grid.frame) == [directions, [("enc", 1)] * 2]
    # Two-sided p 0.0755868; beside p 0 it stays as the second of two, and
    # alone as well.
    assert texts(grid) == {
        "Layer-Atn": ["+12.5 [-1.9, +26.9], p 0.076", ""],
        "Layer-Drop": [
            "+25.0 [+25.0, +25.0], p < 0.001",
            "+12.5 [-1.9, +26.9], p 0.076",
        ],
    }
    scores = [c.score for c in cells_of(grid) if c.text]
    assert [system for system, _ in scores] == [*CONTROLS, "layer_drop"]
