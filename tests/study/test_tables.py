from __future__ import annotations

import csv
import io
import re
from functools import partial
from pathlib import Path

import pytest
from made_up import Row, make_rows, make_seeds

from lam_sb.corpora.manifests import EMOTIONS
from lam_sb.evaluation.comparisons import Column, ScoreTable, make_tables
from lam_sb.evaluation.results import read_run
from lam_sb.study.report.grids import Entry, Grid, to_latex, to_markdown
from lam_sb.study.report.tables import (
    Analysis,
    emotion_grids,
    headline,
    layer_grids,
    score_grids,
    write_tables,
)

COLUMN = Column("enc", "left", "right")
HALF = [("s00", 0), ("s01", 0), ("s02", 0)]  # neutral of three speakers of six
WHOLE = [(f"s{n:02d}", 0) for n in range(12)]  # neutral of every speaker
PAPER = {"source": "msp_podcast", "target": "biic_podcast"}


@pytest.fixture
def seeds(tmp_path):
    return partial(make_seeds, tmp_path / "results")


def tables_of(*paths: Path, encoders=None) -> list[Table]:
    tables, problems = make_tables([read_run(p) for p in paths], encoders)
    assert problems == []
    return tables


def texts(grid: Grid) -> dict[str, list[str]]:
    return {
        name: [entry.text for entry in entries]
        for group in grid.groups
        for name, entries in group
    }


def entries(grid: Grid) -> list[Entry]:
    return [e for group in grid.groups for _, row in group for e in row]


def noted(grid: Grid, start: str) -> list[str]:
    return [note for note in grid.notes if note.startswith(start)]


def read_csv(path: Path) -> list[dict]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# As in test_comparisons.py: CC's UAR is 7/8 and the difference 1/8, both with
# SE sqrt(1/320) = 0.0559017 and 5 df, whose t quantile is 2.5705818: 0.1436999
# to each side. One-sided p 1/4 - 2/(3 pi) = 0.0377934.


def test_uars_and_differences_by_hand(seeds):
    (table,) = tables_of(*seeds("lam_gl"), *seeds("cc", HALF))
    uars, differences = score_grids(table, paper=False)
    assert (uars.number, differences.number) == (2, 2)
    header = [[("left → right", 1)], [("enc", 1)]]
    assert uars.header == differences.header == header
    assert texts(uars) == {
        "CC": ["87.5 [73.1, 100.0]**"],
        "LAM-GL": ["100.0 [100.0, 100.0]"],
    }
    assert texts(differences) == {"CC": ["+12.5 [-1.9, +26.9], p 0.038"]}
    cc, lam_gl = entries(uars)
    assert (cc.best, lam_gl.best) == (False, True)
    assert (cc.cell, lam_gl.cell) == (("cc", COLUMN), ("lam_gl", COLUMN))


def test_a_certain_difference_has_a_small_p(seeds):
    (table,) = tables_of(*seeds("lam_gl", WHOLE), *seeds("cc"))
    uars, differences = score_grids(table, paper=False)
    expected = "-25.0 [-25.0, -25.0], p 1.000"  # one-sided
    assert texts(differences)["CC"] == [expected]
    assert texts(uars)["CC"] == ["100.0 [100.0, 100.0]†"]
    (table,) = tables_of(*seeds("lam_gl", experiment="a"), *seeds("pc", WHOLE))
    _, differences = score_grids(table, paper=False)
    expected = "+25.0 [+25.0, +25.0], p < 0.001"
    assert texts(differences)["PC"] == [expected]


def test_equal_systems_differ_by_plus_zero(seeds):
    (table,) = tables_of(*seeds("lam_gl", HALF), *seeds("layer_atn", HALF))
    _, differences = score_grids(table, paper=False)
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
    _, differences = score_grids(table, paper=False)
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
    uars, differences = score_grids(table, paper=False)
    directions = [("left → right", 2), ("right → left", 2)]
    encoders = [("enc", 1), ("enc2", 1), ("enc", 1), ("enc2", 1)]
    assert uars.header == [directions, encoders]
    names = [[name for name, _ in group] for group in uars.groups]
    assert names == [
        ["CC", "PC"],
        ["LAM-GL"],
        ["LAM-BL"],
        ["Layer-Atn"],
        ["Layer-Atn, within"],
        ["mine"],
    ]
    assert texts(uars)["CC"][1:] == ["", "", ""]
    assert all(texts(uars)["LAM-GL"])
    assert differences.header == [[("left → right", 1)], [("enc", 1)]]
    names = [[name for name, _ in group] for group in differences.groups]
    assert names == [
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
    uars, differences = score_grids(table, paper=False)
    best = [entry.cell for entry in entries(uars) if entry.best]
    far = Column("enc", "left", "far")
    assert best == [("cc", far), ("lam_gl", COLUMN), ("lam_al", COLUMN)]
    assert not any(entry.best for entry in entries(differences))
    # A bound is not tested: no p.
    expected = ["-12.5 [-26.9, +1.9]"]
    assert texts(differences)["Layer-Atn, within"] == expected


def test_without_lam_gl_nothing_is_compared(seeds):
    (table,) = tables_of(*seeds("within"), *seeds("oracle"))
    (uars,) = score_grids(table, paper=True)
    assert list(texts(uars)) == ["Layer-Atn, within", "Layer-Atn, oracle"]
    assert headline([table]) == []
    assert emotion_grids(table, paper=True) == []


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
    uars, differences = score_grids(table, paper=True)
    direction = "msp_podcast → biic_podcast"
    assert uars.header == [
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
    assert uars.column_names()[1:3] == [
        f"{direction}, wavlm",
        f"{direction}, wavlm, paper",
    ]
    assert ("paper", 1) not in differences.header[-1]
    uars, _ = score_grids(table, paper=False)
    assert ("paper", 1) not in uars.header[-1]


def test_the_caption_says_the_protocol_and_the_sizes(seeds):
    paths = seeds("lam_gl", count=12) + seeds("cc", HALF, count=10)
    paths += seeds("cc", target="far", speakers=11, count=10)
    (table,) = tables_of(*paths)
    caption = score_grids(table, paper=False)[0].caption
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


def test_marks_are_explained_where_they_occur(seeds):
    paths = seeds("lam_gl", HALF, speakers=10, count=10)
    for system, wrong in (("cc", WHOLE), ("lam_al", ())):
        paths += seeds(system, wrong, speakers=10, count=10)
    paths += seeds("few_shot", HALF, speakers=10, count=10)
    (table,) = tables_of(*paths)
    uars, _ = score_grids(table, paper=False)
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
    uars, _ = score_grids(table, paper=False)
    assert len(noted(uars, "† better than LAM-GL: two-sided p < 0.05")) == 1
    assert noted(uars, "**") == noted(uars, "‡") == []


def test_one_star_is_explained(seeds):
    paths = seeds("lam_gl") + seeds("cc", HALF) + seeds("pc", HALF)
    (table,) = tables_of(*paths)
    uars, _ = score_grids(table, paper=False)
    assert texts(uars)["PC"] == ["87.5 [73.1, 100.0]*"]
    assert len(noted(uars, "* p < 0.1: LAM-GL is better")) == 1


def test_families_of_p_are_explained(seeds):
    paths = seeds("lam_gl") + seeds("within")
    for system in ("cc", "lam_al", "layer_atn"):
        paths += seeds(system, HALF)
    (table,) = tables_of(*paths)
    _, differences = score_grids(table, paper=False)
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
                "enc. Fewer than 6, so no marks of significance, in left → "
                "right, enc."
            ],
        ),
    ],
)
def test_few_speakers_are_noted(speakers, expected, seeds):
    (table,) = tables_of(*seeds("lam_gl", speakers=speakers))
    (uars,) = score_grids(table, paper=False)
    assert noted(uars, "Few speakers") == expected
    assert noted(uars, "One speaker") == []


def test_one_speaker_is_noted(seeds):
    paths = seeds("lam_gl", speakers=1) + seeds("cc", WHOLE, speakers=1)
    (table,) = tables_of(*paths)
    uars, differences = score_grids(table, paper=False)
    assert texts(uars) == {"CC": ["75.0"], "LAM-GL": ["100.0"]}
    assert texts(differences) == {"CC": ["+25.0"]}
    expected = ["One speaker: no interval in left → right, enc."]
    assert noted(uars, "One") == noted(differences, "One") == expected


def test_few_seeds_are_noted(seeds):
    paths = seeds("lam_gl", count=10) + seeds("cc", HALF, count=9)
    paths += seeds("pc", HALF, count=4) + seeds("lam_al", count=1)
    (table,) = tables_of(*paths)
    uars, _ = score_grids(table, paper=False)
    assert noted(uars, "Few seeds") == [
        "Few seeds, fewer than 10, which is a look and no claim: CC, PC, "
        "LAM-AL. Fewer than 5, so no marks of significance: PC, LAM-AL."
    ]
    assert noted(uars, "One seed") == [
        "One seed, so an interval that holds for that run only: LAM-AL."
    ]
    (table,) = tables_of(*seeds("cc", count=2, experiment="two"))
    (uars,) = score_grids(table, paper=False)
    assert noted(uars, "Few seeds") == [
        "Few seeds, fewer than 10, which is a look and no claim: all systems. "
        "Fewer than 5, so no marks of significance: all systems."
    ]


def test_missing_classes_are_noted(seeds):
    # Nobody is sad; without s01, nobody is angry either.
    rows = make_rows(6, takes=1, emotions=(0, 1))
    rows = sorted([*rows, Row("s01_2_0", "s01", "s01", 2)])
    (table,) = tables_of(*seeds("lam_gl", rows=rows))
    (uars,) = score_grids(table, paper=False)
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
    for grid in score_grids(table, paper=False):
        assert noted(grid, "CC") == expected


def test_labels_that_chose_the_layers_are_noted(seeds):
    chosen = {"anchor_rule": "group", "target_labels_used": 48}
    paths = seeds("lam_gl", **chosen) + seeds("lam_al")
    paths += seeds("lam_bl", anchor_rule="best") + seeds("oracle", **chosen)
    (table,) = tables_of(*paths)
    uars, _ = score_grids(table, paper=False)
    expected = ["Target labels chose the anchored layers of LAM-GL."]
    assert noted(uars, "Target labels") == expected


def test_the_headline_is_the_two_controls_by_column(seeds):
    paths = seeds("lam_gl") + seeds("layer_atn", HALF)
    paths += seeds("layer_drop", WHOLE) + seeds("cc", HALF)
    back = {"source": "right", "target": "left"}
    paths += seeds("lam_gl", **back) + seeds("layer_drop", HALF, **back)
    other = {"normalise": "none"}
    paths += seeds("cc", experiment="x", **other)
    (grid,) = headline(tables_of(*paths))
    assert grid.number == 2
    assert grid.caption.startswith("Headline: LAM-GL minus")
    assert grid.header == [
        [("LAM-GL - Layer-Atn", 1), ("LAM-GL - Layer-Drop", 1)]
    ]
    # Two-sided p 0.0755868; beside p 0 it stays as the second of two, and
    # alone as well.
    assert texts(grid) == {
        "left → right, enc": [
            "+12.5 [-1.9, +26.9], p 0.076",
            "+25.0 [+25.0, +25.0], p < 0.001",
        ],
        "right → left, enc": ["", "+12.5 [-1.9, +26.9], p 0.076"],
    }
    cells = [e.cell for e in entries(grid) if e.text]
    assert [system for system, _ in cells] == [*CONTROLS, "layer_drop"]


# The vowels miss neutral of 3 speakers of 6, which they take for happy:
# neutral has recall 1/2 and specificity 1, UAR 3/4; happy recall 1 and
# specificity 15/18, UAR 11/12. Deletions move them by 1/20 and 1/60, SE
# sqrt(1/80) and sqrt(1/720), margins 0.2873998 and 0.0957999. Both have
# t = sqrt 5 and two-sided p 0.0755868, the equal ones p 1: of four tests,
# 0.302; of eight with the consonants, 0.605.


def test_emotions_by_hand(seeds):
    (table,) = tables_of(*seeds("lam_gl"), *seeds("lam_gl_vowl", HALF))
    scores, differences = emotion_grids(table, paper=False)
    assert (scores.number, differences.number) == (3, 3)
    header = [[("left → right", 4)], [(emotion, 1) for emotion in EMOTIONS]]
    assert scores.header == differences.header == header
    assert texts(scores) == {
        "enc, utterance (Uttr)": ["100.0 [100.0, 100.0]"] * 4,
        "enc, vowels (Vowl)": [
            "75.0 [46.3, 100.0]",
            "91.7 [82.1, 100.0]",
            *["100.0 [100.0, 100.0]"] * 2,
        ],
    }
    same = "+0.0 [+0.0, +0.0], p 1.000"
    assert texts(differences) == {
        "enc, vowels (Vowl)": [
            "-25.0 [-53.7, +3.7], p 0.302",
            "-8.3 [-17.9, +1.2], p 0.302",
            *[same, same],
        ]
    }
    assert "one emotion against the rest" in scores.caption
    assert "four-class model" in scores.caption
    best = [entry.best for entry in entries(scores)]
    assert best == [True, True, True, True, False, False, True, True]
    cell = ("lam_gl_vowl", COLUMN)
    assert [e.cell for e in entries(differences)] == [cell] * 4


def test_one_vs_rest_is_that_of_results_json(seeds):
    paths = seeds("lam_gl", count=1) + seeds("lam_gl_cons", HALF, count=1)
    (table,) = tables_of(*paths)
    scores, _ = emotion_grids(table, paper=False)
    found = read_run(paths[1]).results["ovr_uar"]
    row = texts(scores)["enc, consonants (Cons)"]
    shown = [float(text.split()[0]) / 100 for text in row]
    assert shown == pytest.approx([*found.values()], abs=0.0005)


def test_vowels_and_consonants_are_one_family(seeds):
    paths = seeds("lam_gl")
    for system in ("lam_gl_vowl", "lam_gl_cons"):
        paths += seeds(system, HALF)
    paths += seeds("lam_gl", encoder="enc2")
    paths += seeds("lam_gl_vowl", HALF, encoder="enc2")
    (table,) = tables_of(*paths)
    scores, differences = emotion_grids(table, paper=False)
    found = {name: row[0][-5:] for name, row in texts(differences).items()}
    assert found == {
        "enc, vowels (Vowl)": "0.605",
        "enc, consonants (Cons)": "0.605",
        "enc2, vowels (Vowl)": "0.302",
    }
    assert [len(group) for group in scores.groups] == [3, 2]


def test_each_direction_has_its_grids(seeds):
    paths = seeds("lam_gl") + seeds("lam_gl_vowl")
    back = {"source": "right", "target": "left"}
    paths += seeds("lam_gl", **back) + seeds("lam_gl_cons", **back)
    paths += seeds("lam_gl", target="far") + seeds("lam_gl_vowl", target="out")
    (table,) = tables_of(*paths)
    directions = [
        grid.header[0][0][0] for grid in emotion_grids(table, paper=False)
    ]
    assert directions == ["left → right"] * 2 + ["right → left"] * 2


def test_the_paper_stands_beside_its_emotions(seeds):
    paths = []
    for system in ("lam_gl", "lam_gl_vowl"):
        paths += seeds(system, encoder="whisper", **PAPER)
    (table,) = tables_of(*paths)
    scores, differences = emotion_grids(table, paper=True)
    assert scores.header[0] == [("msp_podcast → biic_podcast", 8)]
    assert scores.header[1][:2] == [("neutral", 1), ("paper", 1)]
    numbers = texts(scores)["whisper, vowels (Vowl)"][1::2]
    assert numbers == ["74.83", "75.02", "74.19", "70.46"]
    assert len(differences.header[1]) == 4


def test_an_emotion_without_rows_stays_empty(seeds):
    rows = make_rows(6, takes=1, emotions=(0, 1))
    keys = {"rows": rows}
    paths = seeds("lam_gl", **keys) + seeds("lam_gl_vowl", HALF, **keys)
    (table,) = tables_of(*paths)
    scores, differences = emotion_grids(table, paper=False)
    assert texts(scores)["enc, utterance (Uttr)"][2:] == ["", ""]
    row = texts(differences)["enc, vowels (Vowl)"]
    assert row[2:] == ["", ""]
    assert row[0].endswith("p 0.151")  # of two tests, 2 x 0.0755868


@pytest.fixture
def analysis(tmp_path) -> Analysis:
    stability = {"group": 0.855, "best": 1.0, "worst": 0.5, "layers": {}}
    vowels = {1: (0.3, 0.5), 2: (0.9, 0.5), 3: (0.1, 0.7), 4: (0.2, 0.6)}
    rows = [
        {
            "layer": layer,
            "emotion": emotion,
            "segment": "vowels",
            "measure": measure,
            "value": value,
        }
        for layer, values in vowels.items()
        for emotion, value in zip(("neutral", "all"), values, strict=True)
        for measure in ("centroid", "pairwise")
    ]
    for row in rows:  # the other measure says something else
        if row["measure"] == "pairwise":
            row["value"] = 1 - row["value"]
    selection = {"measure": "centroid", "use_target_labels": True}
    selection |= {"group": [1, 2, 4], "best": [2], "worst": [1, 3, 4]}
    selection |= {"stability": stability}
    return Analysis(COLUMN, tmp_path, selection, rows)


def test_selected_layers(analysis):
    (grid,) = layer_grids([], [analysis], paper=False)
    assert grid.number == 1
    assert grid.header == [[("left → right", 1)], [("enc", 1)]]
    assert texts(grid) == {
        "most similar (GL)": ["1, 2, 4 (86 %)"],
        "best (BL)": ["2 (100 %)"],
        "least similar (WL)": ["1, 3, 4 (50 %)"],
        "most similar on vowels (Vowl)": ["1, 2, 4"],  # 0.9, 0.3 and 0.2
    }
    assert "Similarity: centroid, mean over the emotions." in grid.caption
    assert len(noted(grid, "In brackets")) == 1


def test_layers_selected_without_labels(analysis):
    # Of all rows together 0.7, 0.6, and of the two with 0.5 the lower one.
    analysis.selection.update(use_target_labels=False, stability=None)
    (grid,) = layer_grids([], [analysis], paper=False)
    assert texts(grid)["most similar on vowels (Vowl)"] == ["1, 3, 4"]
    assert texts(grid)["best (BL)"] == ["2"]
    assert grid.notes == []
    assert "centroid, without target labels." in grid.caption


def test_segments_take_the_mean_over_the_emotions(analysis):
    # Means of neutral and sad: 0.55, 0.5, 0.5, 0.2.
    sad = dict(zip((1, 2, 3, 4), (0.8, 0.1, 0.9, 0.2), strict=True))
    own = [r for r in analysis.similarity if r["emotion"] == "neutral"]
    analysis.similarity.extend(
        row | {"emotion": "sad", "value": sad[row["layer"]]} for row in own
    )
    (grid,) = layer_grids([], [analysis], paper=False)
    assert texts(grid)["most similar on vowels (Vowl)"] == ["1, 2, 3"]


def test_anchored_layers(seeds):
    paths = seeds("lam_gl") + seeds("layer_atn") + seeds("cc")
    paths += seeds("layer_drop", layers=[4]) + seeds("lam_gl_cons")
    rule = {"anchor_rule": "group", "anchor_layers": [1, 2, 4]}
    paths += seeds("lam_al", layers=[1, 2, 3, 4, 5])
    paths += seeds("mine", alignment="LayerCoral", **rule)
    (grid,) = layer_grids(tables_of(*paths), [], paper=True)
    assert texts(grid) == {
        "LAM-GL": ["1, 2, 3 (fixed)"],
        "LAM-AL": ["1-4 (fixed)"],
        "Layer-Drop": ["without 1, 2, 3 (fixed)"],
        "LAM-GL, consonants": ["2, 3, 4 (fixed)"],
        "mine": ["1, 2, 4 (group)"],
    }


def test_folds_may_anchor_different_layers(seeds):
    paths = []
    for fold, layers in enumerate(([1, 2, 3], [1, 2, 4], [1, 2, 3])):
        keys = {"anchor_layers": layers, "anchor_rule": "group", "count": 1}
        keys |= {"folds": 3, "fold": fold, "speakers": [f"{fold}a", f"{fold}b"]}
        own = {"anchor_layers": "group"}
        paths += seeds("lam_gl", settings=own, **keys)
    (grid,) = layer_grids(tables_of(*paths), [], paper=False)
    expected = "1, 2, 3 (group, 2 of 3 runs); 1, 2, 4 (group, 1 of 3 runs)"
    assert texts(grid) == {"LAM-GL": [expected]}


def test_the_paper_s_layers_stand_beside_ours(seeds, analysis):
    column = Column("wavlm", *PAPER.values())
    analysis = Analysis(column, Path(), analysis.selection, [])
    paths = seeds("lam_gl", encoder="wavlm", **PAPER)
    paths += seeds("lam_al", encoder="wavlm", **PAPER)
    selected, anchored = layer_grids(tables_of(*paths), [analysis], paper=True)
    assert texts(selected) == {
        "most similar (GL)": ["1, 2, 4 (86 %)", "8, 9, 11"],
        "best (BL)": ["2 (100 %)", "11"],
        "least similar (WL)": ["1, 3, 4 (50 %)", "5, 6, 7"],
        "most similar on vowels (Vowl)": ["", "8, 9, 11"],
        "most similar on consonants (Cons)": ["", "9, 10, 11"],
    }
    assert texts(anchored) == {
        "LAM-GL": ["1, 2, 3 (fixed)", "8, 9, 11"],
        "LAM-AL": ["1-4 (fixed)", "1-12"],
    }


def test_no_layers_no_table(seeds):
    assert layer_grids(tables_of(*seeds("cc")), [], paper=True) == []


def test_markdown_escapes_its_own_characters():
    grid = Grid(
        2,
        "a_b | c",
        [[("x → y", 2)], [("e|1", 1), ("paper", 1)]],
        [[("my*sys", [Entry("1.0 [0.5, 1.5]**", best=True), Entry("")])]],
        ["** p < 0.05"],
    )
    assert to_markdown(grid).splitlines() == [
        r"**Table 2.** a\_b \| c",
        "",
        r"|  | x → y, e\|1 | x → y, e\|1, paper |",
        "|---|---|---|",
        r"| my\*sys | **1.0 [0.5, 1.5]\*\*** |  |",
        "",
        r"\*\* p \< 0.05",
    ]


def check_latex(text: str) -> list[list[list[str]]]:
    """Check the structure; give the cells of each tabular's rows."""
    open_parts = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
        if kind == "begin":
            open_parts.append(name)
        else:
            assert open_parts.pop() == name
    assert open_parts == []
    depth = 0
    for brace in re.findall(r"(?<!\\)[{}]", text):
        depth += 1 if brace == "{" else -1
        assert depth >= 0
    assert depth == 0
    assert text.isascii()
    assert len(re.findall(r"(?<!\\)\$", text)) % 2 == 0
    assert not re.search(
        r"(?<!\\)[%#_^~]", text.replace(r"\textasciitilde", "")
    )
    found = []
    for spec, body in re.findall(
        r"\\begin\{tabular\}\{(\w+)\}(.*?)\\end\{tabular\}", text, re.DOTALL
    ):
        found.append(check_tabular(len(spec), body))
    assert found
    return found


def check_tabular(count: int, body: str) -> list[list[str]]:
    rows = []
    for line in body.strip().splitlines():
        if line in (r"\toprule", r"\midrule", r"\bottomrule"):
            continue
        if line.startswith(r"\cmidrule"):
            ends = [
                (int(a), int(b))
                for a, b in re.findall(r"\\cmidrule\(lr\)\{(\d+)-(\d+)\}", line)
            ]
            assert [n for a, b in ends for n in range(a, b + 1)] == [
                *range(2, count + 1)
            ]
            continue
        assert line.endswith(r" \\")
        assert not line.startswith("[")
        cells = re.split(r"(?<!\\)&", line[:-3])
        spans = [re.search(r"\\multicolumn\{(\d+)\}", cell) for cell in cells]
        assert sum(int(span[1]) if span else 1 for span in spans) == count
        rows.append([cell.strip() for cell in cells])
    return rows


def test_latex_by_hand():
    grid = Grid(
        2,
        "100 % of a_b.",
        [[("x → y", 2)], [("e1", 1), ("e2", 1)]],
        [
            [("Few-shot‡", [Entry("5.0**"), Entry("6.0†", best=True)])],
            [("[mine]", [Entry(""), Entry("7.0*")])],
        ],
        ["* p < 0.1 & more"],
    )
    assert to_latex(grid).splitlines() == [
        r"\begin{table}[htbp]",
        r"\centering\footnotesize\setlength{\tabcolsep}{4pt}",
        r"\caption{100 \% of a\_b.}",
        r"\begin{tabular}{lcc}",
        r"\toprule",
        r" & \multicolumn{2}{c}{x $\rightarrow$ y} \\",
        r"\cmidrule(lr){2-3}",
        r" & e1 & e2 \\",
        r"\midrule",
        r"Few-shot\textsuperscript{\ddag} & 5.0\textsuperscript{**} & "
        r"\textbf{6.0\textsuperscript{\dag}} \\",
        r"\midrule",
        r"{}[mine] &  & 7.0\textsuperscript{*} \\",
        r"\bottomrule",
        r"\end{tabular}",
        r"\par\smallskip",
        r"\begin{minipage}{\linewidth}\footnotesize",
        r"\textsuperscript{*} p $<$ 0.1 \& more\par",
        r"\end{minipage}",
        r"\end{table}",
    ]
    check_latex(to_latex(grid))


def test_latex_escapes_all_that_is_special():
    text = r"\{}~^$&#_%<>|"
    grid = Grid(1, text, [[(text, 1)]], [[(text, [Entry(text)])]], [text])
    assert r"\textbackslash{}\{\}\textasciitilde{}" in to_latex(grid)
    assert r"\textasciicircum{}\$\&\#\_\%$<$$>$\textbar{}" in to_latex(grid)
    check_latex(to_latex(grid))


def grid_of(header: list[list[tuple[str, int]]], text: str = "1.0") -> Grid:
    row = [Entry(f"{text}{n}") for n in range(len(header[-1]))]
    return Grid(2, "Caption.", header, [[("a", row)], [("b", row)]])


def columns_of(grid: Grid) -> list[list[str]]:
    """Last header line of each tabular."""
    found = check_latex(to_latex(grid))
    at = len(grid.header) - 1
    rows = [[e.text for e in row] for group in grid.groups for _, row in group]
    for n in range(2):  # every entry is there once, in order
        entries = [
            cell for tabular in found for cell in tabular[at + 1 + n][1:]
        ]
        assert entries == rows[n]
    return [tabular[at][1:] for tabular in found]


def test_a_tabular_holds_four_columns():
    encoders = [(e, 1) for e in "pqpq"]
    grid = grid_of([[("a", 2), ("b", 2)], encoders])
    assert columns_of(grid) == [["p", "q", "p", "q"]]
    # What one direction spans stays together.
    encoders = [(e, 1) for e in "pqrpqr"]
    grid = grid_of([[("a", 3), ("b", 3)], encoders])
    assert columns_of(grid) == [["p", "q", "r"], ["p", "q", "r"]]
    assert to_latex(grid).count(r"\caption{Caption. (") == 2
    assert r"\caption{Caption. (2 of 2)}" in to_latex(grid)
    # More than four of one direction do not.
    encoders = [(e, 1) for e in "zpqrst"]
    grid = grid_of([[("a", 1), ("b", 5)], encoders])
    assert columns_of(grid) == [["z"], ["p", "q", "r", "s"], ["t"]]


def test_the_paper_s_number_stays_beside_ours():
    line = [("w", 1), ("p", 1), ("paper", 1), ("q", 1), ("paper", 1)]
    grid = grid_of([[("a", 5)], line])
    assert columns_of(grid) == [["w", "p", "paper"], ["q", "paper"]]


def test_long_entries_take_more_tabulars():
    line = [(e, 1) for e in "pqrs"]
    text = "+12.5 [-10.9, +26.9], p 0.00"
    grid = grid_of([[("a", 2), ("b", 2)], line], text)
    assert columns_of(grid) == [["p", "q"], ["r", "s"]]
    grid = grid_of([[("a", 2), ("b", 2)], line], "x" * 200)
    assert columns_of(grid) == [["p"], ["q"], ["r"], ["s"]]


@pytest.fixture
def study(seeds, analysis, tmp_path):
    """Tables 1 to 3 of two protocols, written."""
    paths = []
    for system in ("lam_gl", "cc", "few_shot", "layer_atn", "lam_gl_vowl"):
        for encoder in ("wavlm", "whisper", "a_b"):
            wrong = () if system == "lam_gl" else HALF
            paths += seeds(system, wrong, encoder=encoder, **PAPER)
    paths += seeds(
        "within", source="biic_podcast", target="biic_podcast", encoder="wavlm"
    )
    paths += seeds("cc", HALF, normalise="none", experiment="raw")
    tables = tables_of(*paths)
    grids = headline(tables) + layer_grids(tables, [analysis], paper=True)
    for table in tables:
        grids += score_grids(table, True) + emotion_grids(table, True)
    write_tables(tmp_path / "study", grids, tables, paper=True)
    return tables, grids, tmp_path / "study"


def test_a_study_leaves_nine_files(study):
    _, grids, folder = study
    names = [f"table{n}.{e}" for n in (1, 2, 3) for e in ("csv", "md", "tex")]
    assert sorted(path.name for path in folder.iterdir()) == names
    for number in (1, 2, 3):
        own = [grid for grid in grids if grid.number == number]
        text = (folder / f"table{number}.md").read_text(encoding="utf-8")
        assert text.count(f"**Table {number}.** ") == len(own)
        text = (folder / f"table{number}.tex").read_text(encoding="utf-8")
        assert len(check_latex(text)) >= len(own)
        assert text == "\n".join(map(to_latex, own))


def test_table_2_as_csv(study):
    _, _, folder = study
    lines = read_csv(folder / "table2.csv")
    assert len(lines) == 5 * 3 + 1 + 1
    (line,) = (
        line
        for line in lines
        if (line["system"], line["encoder"]) == ("cc", "whisper")
    )
    paths = line.pop("results").split(";")
    assert [Path(path).parent.name for path in paths] == list("01234")
    assert line == {
        "table": "1",
        "normalise": "domain",
        "protocol": "transductive",
        "folds": "0",
        "split_seed": "0",
        "select_on": "last",
        "target_rows": "all",
        "system": "cc",
        "name": "CC",
        "encoder": "whisper",
        "source": "msp_podcast",
        "target": "biic_podcast",
        "uar": "0.875000",
        "low": "0.731300",
        "high": "1.000000",
        "seeds": "5",
        "speakers": "6",
        "n_test": "24",
        "shots": "0",
        "target_labels_used": "0",
        "difference": "0.125000",
        "difference_low": "-0.018700",
        "difference_high": "0.268700",
        "p_two_sided": "0.075587",
        "p_greater": "0.037793",
        "p_holm": "0.075587",  # of two baselines
        "mark": "*",
        "cautions": "few speakers;few seeds",
        "paper_uar": "0.518700",
    }
    by_system = {
        (line["table"], line["system"], line["encoder"]): line for line in lines
    }
    line = by_system["1", "lam_gl", "wavlm"]
    assert (line["difference"], line["mark"]) == ("", "")
    assert line["paper_uar"] == "0.602100"
    line = by_system["1", "within", "wavlm"]
    assert (line["source"], line["p_holm"]) == ("msp_podcast", "")
    assert (line["difference"], line["paper_uar"]) == ("0.000000", "")
    line = by_system["1", "few_shot", "a_b"]
    assert (line["shots"], line["target_labels_used"]) == ("5", "20")
    assert line["paper_uar"] == ""
    line = by_system["2", "cc", "enc"]
    assert (line["normalise"], line["difference"]) == ("none", "")


def test_a_comparison_brings_its_own_cautions(seeds, tmp_path):
    paths = seeds("lam_gl", speakers=10, count=4)
    tables = tables_of(*paths, *seeds("cc", WHOLE, speakers=10, count=10))
    write_tables(tmp_path, score_grids(tables[0], False), tables, False)
    found = [line["cautions"] for line in read_csv(tmp_path / "table2.csv")]
    assert found == ["few seeds", "few seeds"]
    tables[0].differences.clear()
    write_tables(tmp_path, score_grids(tables[0], False), tables, False)
    found = [line["cautions"] for line in read_csv(tmp_path / "table2.csv")]
    assert found == ["", "few seeds"]


def test_table_3_as_csv(study):
    _, _, folder = study
    lines = read_csv(folder / "table3.csv")
    assert len(lines) == 2 * 3 * 4
    (line,) = (
        line
        for line in lines
        if (line["system"], line["encoder"], line["emotion"])
        == ("lam_gl_vowl", "wavlm", "happy")
    )
    assert line["uar"] == "0.916667"
    assert (line["low"], line["high"]) == ("0.820867", "1.000000")
    assert line["difference"] == "-0.083333"
    assert line["p_two_sided"] == "0.075587"
    assert line["p_holm"] == "0.302347"
    assert line["paper_uar"] == "0.742100"


def test_table_1_as_csv(study):
    _, _, folder = study
    lines = read_csv(folder / "table1.csv")
    assert lines[0] == {
        "grid": "1",
        "row": "most similar (GL)",
        "column": "left → right, enc",
        "layers": "1, 2, 4 (86 %)",
    }
    column = "msp_podcast → biic_podcast, wavlm, paper"
    line = {"grid": "2", "row": "LAM-GL", "column": column}
    assert line | {"layers": "8, 9, 11"} in lines


def test_without_the_paper_there_are_none_of_its_numbers(study, tmp_path):
    tables, _, _ = study
    write_tables(tmp_path / "own", score_grids(tables[0], False), tables, False)
    text = (tmp_path / "own/table2.md").read_text()
    assert "paper" not in text
    assert "60.21" not in text
    lines = read_csv(tmp_path / "own/table2.csv")
    assert {line["paper_uar"] for line in lines} == {""}


def test_tables_of_an_earlier_study_are_removed(study):
    tables, grids, folder = study
    (folder / "report.html").write_text("kept")
    before = (folder / "table2.md").read_bytes()
    own = [grid for grid in grids if grid.number == 2]
    write_tables(folder, own, tables, paper=True)
    names = ["report.html", "table2.csv", "table2.md", "table2.tex"]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert (folder / "table2.md").read_bytes() == before
    write_tables(folder, [], tables, paper=True)
    assert [path.name for path in folder.iterdir()] == ["report.html"]


def test_csv_quotes_what_it_must(study):
    _, _, folder = study
    text = (folder / "table1.csv").read_text(encoding="utf-8")
    widths = {len(row) for row in csv.reader(io.StringIO(text))}
    assert widths == {4}
