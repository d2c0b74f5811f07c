from __future__ import annotations

import csv
import io
from functools import partial
from pathlib import Path

import pytest
from made_up import make_seeds
from study_tables import COLUMN, HALF, PAPER, WHOLE, check_latex, tables_of

from lam_sb.study.report.calibration_tables import calibration_tables
from lam_sb.study.report.emotion_tables import emotion_tables
from lam_sb.study.report.layer_tables import (
    Analysis,
    anchor_tables,
    selection_tables,
)
from lam_sb.study.report.printed import to_latex
from lam_sb.study.report.score_tables import control_tables, score_tables
from lam_sb.study.report.table_files import write_tables


@pytest.fixture
def seeds(tmp_path):
    return partial(make_seeds, tmp_path / "results")


def read_csv(path: Path) -> list[dict]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def analysis(tmp_path) -> Analysis:
    selection = {"measure": "centroid", "use_target_labels": True}
    selection |= {"group": [1, 2, 4], "best": [2], "worst": [1, 3, 4]}
    selection |= {"stability": {"group": 0.855, "best": 1.0, "worst": 0.5}}
    return Analysis(COLUMN, tmp_path, selection)


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
    grids = selection_tables([analysis], paper=True)
    for table in tables:
        grids += control_tables(table) + anchor_tables(table, True)
        grids += score_tables(table, True) + emotion_tables(table, True)
        grids += calibration_tables(table)
    write_tables(tmp_path / "study", grids, tables, paper=True)
    return tables, grids, tmp_path / "study"


def test_a_study_leaves_nine_files(study):
    _, grids, folder = study
    names = [f"table{n}.{e}" for n in (1, 2, 3) for e in ("csv", "md", "tex")]
    assert sorted(path.name for path in folder.iterdir()) == names
    for number in (1, 2, 3):
        own = [grid for grid in grids if grid.number == number]
        text = (folder / f"table{number}.md").read_text(encoding="utf-8")
        main = [grid for grid in own if grid.is_main]
        assert text.count(f"**Table {number}.** ") == len(main)
        assert all(grid.title.split("(")[0] in text for grid in own)
        text = (folder / f"table{number}.tex").read_text(encoding="utf-8")
        assert len(check_latex(text)) >= len(own)
        assert text == "\n\n".join(map(to_latex, own)) + "\n"


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
    assert line.pop("beside") == ""  # other targets of the same runs
    assert line == {
        "table": "1",
        "normalise": "domain",
        "protocol": "transductive",
        "folds": "0",
        "split_seed": "0",
        "select_on": "last",
        "target_rows": "all",
        "hold_out_shots": "False",
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
        # All rows have a confidence of 0.7; 3 of 24 are wrong.
        "ece": "0.175000",
        "brier": "0.270000",  # 0.12 where right, 1.32 where wrong
        "confidence": "0.700000",
        "accuracy": "0.875000",
        "uar_surest_25": "0.875000",
        "uar_surest_50": "0.875000",
        "uar_surest_75": "0.875000",
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
    write_tables(tmp_path, score_tables(tables[0], False), tables, False)
    found = [line["cautions"] for line in read_csv(tmp_path / "table2.csv")]
    assert found == ["few seeds", "few seeds"]
    tables[0].differences.clear()
    write_tables(tmp_path, score_tables(tables[0], False), tables, False)
    found = [line["cautions"] for line in read_csv(tmp_path / "table2.csv")]
    assert found == ["", "few seeds"]


def test_surest_rows_without_a_class_are_a_caution(seeds, tmp_path):
    # Of the 24 rows of six speakers, the surest quarter is neutral.
    confidences = [0.9, 0.6, 0.6, 0.6] * 6
    tables = tables_of(*seeds("lam_gl", confidences=confidences))
    write_tables(tmp_path, score_tables(tables[0], False), tables, False)
    (line,) = read_csv(tmp_path / "table2.csv")
    assert line["cautions"] == (
        "few speakers;few seeds;class missing in surest 25 %"
    )


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
        "table": "1",
        "row": "most similar (GL)",
        "column": "left → right, enc",
        "layers": "1, 2, 4 (86 %)",
    }
    column = "msp_podcast → biic_podcast, wavlm, paper"
    line = {"table": "2", "row": "LAM-GL", "column": column}
    assert line | {"layers": "8, 9, 11"} in lines


def test_without_the_paper_there_are_none_of_its_numbers(study, tmp_path):
    tables, _, _ = study
    own = score_tables(tables[0], False)
    write_tables(tmp_path / "own", own, tables, False)
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
