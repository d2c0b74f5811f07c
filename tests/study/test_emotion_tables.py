from __future__ import annotations

from functools import partial

import pytest
from made_up import make_rows, make_seeds
from study_tables import (
    COLUMN,
    HALF,
    PAPER,
    cells_of,
    group_names,
    tables_of,
    texts,
)

from lam_sb.corpora.manifests import EMOTIONS
from lam_sb.evaluation.results import read_run
from lam_sb.study.report.emotion_tables import emotion_tables
from lam_sb.study.report.printed import header_lines


@pytest.fixture
def seeds(tmp_path):
    return partial(make_seeds, tmp_path / "results")


def test_emotions_by_hand(seeds):
    (table,) = tables_of(*seeds("lam_gl"), *seeds("lam_gl_vowl", HALF))
    scores, differences = emotion_tables(table, paper=False)
    assert (scores.number, differences.number) == (3, 3)
    header = [[("left → right", 4)], [(emotion, 1) for emotion in EMOTIONS]]
    assert header_lines(scores.frame) == header
    assert header_lines(differences.frame) == header
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
    best = [cell.bold for cell in cells_of(scores)]
    assert best == [True, True, True, True, False, False, True, True]
    cell = ("lam_gl_vowl", COLUMN)
    assert [c.score for c in cells_of(differences)] == [cell] * 4


def test_one_vs_rest_is_that_of_results_json(seeds):
    paths = seeds("lam_gl", count=1) + seeds("lam_gl_cons", HALF, count=1)
    (table,) = tables_of(*paths)
    scores, _ = emotion_tables(table, paper=False)
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
    scores, differences = emotion_tables(table, paper=False)
    found = {name: row[0][-5:] for name, row in texts(differences).items()}
    assert found == {
        "enc, vowels (Vowl)": "0.605",
        "enc, consonants (Cons)": "0.605",
        "enc2, vowels (Vowl)": "0.302",
    }
    assert [len(group) for group in group_names(scores)] == [3, 2]


def test_each_direction_has_its_grids(seeds):
    paths = seeds("lam_gl") + seeds("lam_gl_vowl")
    back = {"source": "right", "target": "left"}
    paths += seeds("lam_gl", **back) + seeds("lam_gl_cons", **back)
    paths += seeds("lam_gl", target="far") + seeds("lam_gl_vowl", target="out")
    (table,) = tables_of(*paths)
    grids = emotion_tables(table, paper=False)
    directions = [header_lines(grid.frame)[0][0][0] for grid in grids]
    assert directions == ["left → right"] * 2 + ["right → left"] * 2


def test_the_paper_stands_beside_its_emotions(seeds):
    paths = []
    for system in ("lam_gl", "lam_gl_vowl"):
        paths += seeds(system, encoder="whisper", **PAPER)
    (table,) = tables_of(*paths)
    scores, differences = emotion_tables(table, paper=True)
    assert header_lines(scores.frame)[0] == [("msp_podcast → biic_podcast", 8)]
    assert header_lines(scores.frame)[1][:2] == [("neutral", 1), ("paper", 1)]
    numbers = texts(scores)["whisper, vowels (Vowl)"][1::2]
    assert numbers == ["74.83", "75.02", "74.19", "70.46"]
    assert len(header_lines(differences.frame)[1]) == 4


def test_an_emotion_without_rows_stays_empty(seeds):
    rows = make_rows(6, takes=1, emotions=(0, 1))
    keys = {"rows": rows}
    paths = seeds("lam_gl", **keys) + seeds("lam_gl_vowl", HALF, **keys)
    (table,) = tables_of(*paths)
    scores, differences = emotion_tables(table, paper=False)
    assert texts(scores)["enc, utterance (Uttr)"][2:] == ["", ""]
    row = texts(differences)["enc, vowels (Vowl)"]
    assert row[2:] == ["", ""]
    assert row[0].endswith("p 0.151")  # of two tests, 2 x 0.0755868
