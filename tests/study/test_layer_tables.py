from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from made_up import make_seeds
from study_tables import (
    COLUMN,
    PAPER,
    noted,
    tables_of,
    texts,
)

from lam_sb.evaluation.comparisons import Column
from lam_sb.study.report.layer_tables import (
    Analysis,
    anchor_tables,
    selection_tables,
)
from lam_sb.study.report.printed import header_lines


@pytest.fixture
def seeds(tmp_path):
    return partial(make_seeds, tmp_path / "results")


@pytest.fixture
def analysis(tmp_path) -> Analysis:
    stability = {"group": 0.855, "best": 1.0, "worst": 0.5, "layers": {}}
    selection = {"measure": "centroid", "use_target_labels": True}
    selection |= {"group": [1, 2, 4], "best": [2], "worst": [1, 3, 4]}
    selection |= {"stability": stability}
    vowels = {"group": [2, 3, 4], "best": [3], "worst": [1, 2, 4]}
    selection["vowels"] = vowels | {"stability": {"group": 0.7}}
    return Analysis(COLUMN, tmp_path, selection)


def test_selected_layers(analysis):
    (grid,) = selection_tables([analysis], paper=False)
    assert grid.number == 1
    assert header_lines(grid.frame) == [[("left → right", 1)], [("enc", 1)]]
    assert texts(grid) == {
        "most similar (GL)": ["1, 2, 4 (86 %)"],
        "best (BL)": ["2 (100 %)"],
        "least similar (WL)": ["1, 3, 4 (50 %)"],
        "most similar on vowels (Vowl)": ["2, 3, 4 (70 %)"],
    }
    assert "Similarity: centroid, mean over the emotions." in grid.caption
    assert len(noted(grid, "In brackets")) == 1


def test_layers_selected_without_labels(analysis):
    analysis.selection.update(use_target_labels=False, stability=None)
    analysis.selection["vowels"]["stability"] = None
    (grid,) = selection_tables([analysis], paper=False)
    assert texts(grid)["most similar on vowels (Vowl)"] == ["2, 3, 4"]
    assert texts(grid)["best (BL)"] == ["2"]
    assert grid.notes == []
    assert "centroid, without target labels." in grid.caption


def test_anchored_layers(seeds):
    paths = seeds("lam_gl") + seeds("layer_atn") + seeds("cc")
    paths += seeds("layer_drop", layers=[4]) + seeds("lam_gl_cons")
    rule = {"anchor_rule": "group", "anchor_layers": [1, 2, 4]}
    paths += seeds("lam_al", layers=[1, 2, 3, 4, 5])
    paths += seeds("mine", alignment="LayerCoral", **rule)
    (table,) = tables_of(*paths)
    (grid,) = anchor_tables(table, paper=True)
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
    (table,) = tables_of(*paths)
    (grid,) = anchor_tables(table, paper=False)
    expected = "1, 2, 3 (group, 2 of 3 runs); 1, 2, 4 (group, 1 of 3 runs)"
    assert texts(grid) == {"LAM-GL": [expected]}


def test_the_paper_s_layers_stand_beside_ours(seeds, analysis):
    column = Column("wavlm", *PAPER.values())
    analysis = Analysis(column, Path(), analysis.selection)
    paths = seeds("lam_gl", encoder="wavlm", **PAPER)
    paths += seeds("lam_al", encoder="wavlm", **PAPER)
    (table,) = tables_of(*paths)
    (selected,) = selection_tables([analysis], paper=True)
    (anchored,) = anchor_tables(table, paper=True)
    assert texts(selected) == {
        "most similar (GL)": ["1, 2, 4 (86 %)", "8, 9, 11"],
        "best (BL)": ["2 (100 %)", "11"],
        "least similar (WL)": ["1, 3, 4 (50 %)", "5, 6, 7"],
        "most similar on vowels (Vowl)": [
            "2, 3, 4 (70 %)",
            "8, 9, 11 (Table 3)",
        ],
        "most similar on consonants (Cons)": ["", "9, 10, 11 (Table 3)"],
    }
    assert texts(anchored) == {
        "LAM-GL": ["1, 2, 3 (fixed)", "8, 9, 11"],
        "LAM-AL": ["1-4 (fixed)", "1-12"],
    }


def test_no_layers_no_table(seeds):
    (table,) = tables_of(*seeds("cc"))
    assert anchor_tables(table, paper=True) == []
    assert selection_tables([], paper=True) == []
