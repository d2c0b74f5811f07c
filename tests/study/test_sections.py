from __future__ import annotations

import base64
from dataclasses import replace
from urllib.parse import unquote

import numpy as np
import pytest
from made_up import make_rows, make_run, make_seeds
from pages import (
    HOSTILE,
    SYSTEMS,
    Page,
    check_sound,
    make_analysis,
    make_whole_study,
    rows_of,
    words,
    write,
)

from lam_sb.evaluation.breakdowns import (
    best_baseline,
    by_speaker,
    mean_calibration,
)
from lam_sb.evaluation.catalogue import name_of
from lam_sb.evaluation.comparisons import Column, make_tables
from lam_sb.evaluation.results import read_run
from lam_sb.evaluation.statistics import interval
from lam_sb.study.report.findings import Findings
from lam_sb.study.report.report import write_report
from lam_sb.study.report.sections import layer_shares


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return make_whole_study(tmp_path_factory.mktemp("study"))


def test_table_2_holds_the_estimates_and_leads_to_the_runs(study):
    findings, page = study
    (found,) = findings.tables
    scores = rows_of(page.tables("scores")[0])
    assert len(scores) == len(SYSTEMS) - 1  # vowels stand in Table 3
    for system, name in (("cc", "CC"), ("lam_gl", "LAM-GL"), (HOSTILE,) * 2):
        for column, entry in zip(found.columns, scores[name], strict=True):
            cell = found.scores[system, column]
            link = entry.find("a")
            assert words(entry).startswith(f"{100 * cell.estimate.value:.1f} [")
            listed = page.root.find(f".//*[@id='{link.get('href')[1:]}']")
            assert listed.tag == "details"
            assert words(listed.find("summary")).startswith(f"{name}: ")
            items = listed.findall("ul/li")
            for run, item in zip(cell.runs, items, strict=True):
                uar = 100 * run.results["uar"]
                seed = run.results["seed"]
                assert words(item) == f"seed {seed}: {uar:.1f} ({uar:.1f})"
                path = page.path.parent / unquote(item.find("a").get("href"))
                assert path.resolve() == run.path.resolve()


def test_the_best_is_bold(study):
    findings, page = study
    (found,) = findings.tables
    scores = rows_of(page.tables("scores")[0])
    for n, column in enumerate(found.columns):
        bold = [k for k, v in scores.items() if v[n].find(".//b") is not None]
        best = max(
            (system for system in SYSTEMS if system != "lam_gl_vowl"),
            key=lambda s, c=column: found.scores[s, c].estimate.value,
        )
        assert bold == [name_of(best)]


def test_the_headline_is_lam_gl_minus_its_controls(study):
    findings, page = study
    (found,) = findings.tables
    (table,) = page.tables("headline")
    rows = rows_of(table)
    assert list(rows) == ["Layer-Atn", "Layer-Drop"]
    alt = page.sections["headline"].find(".//img").get("alt")
    for n, column in enumerate(found.columns):
        for system in ("layer_atn", "layer_drop"):
            value = found.differences[system, column].comparison.estimate.value
            text = f"{100 * value:+.1f} ["
            assert words(rows[name_of(system)][n]).startswith(text)
            assert text in alt
    said = words(page.sections["headline"].find("ul"))
    assert "of 2 columns" in said
    assert "a look, no claim" in said


def test_what_preparing_kept_is_counted_by_emotion(study):
    _, page = study
    lines = [
        [words(cell) for cell in line]
        for line in page.sections["corpora"].findall(".//tbody/tr")
    ]
    assert lines == [  # neutral happy angry sad, another or none, all, dropped
        ["listed", "0", "0", "0", "9", "2", "11", ""],
        ["audio", "0", "0", "0", "8", "1", "9", "missing 1, empty 1"],
        ["train", "0", "0", "0", "4", "1", "5", ""],
        ["test", "0", "0", "0", "4", "0", "4", ""],
    ]


def test_figure_1_is_embedded_and_put_in_words(study):
    _, page = study
    (figure,) = page.sections["similarity"].findall("figure")
    image = figure.find("img")
    content = base64.b64decode(image.get("src").split(",")[1])
    assert content == b"\x89PNG"
    assert "layer 2 0.812" in image.get("alt")
    caption = words(figure.find("figcaption"))
    assert "[1, 2, 3] (again in 95 % of resamples" in caption


def test_figure_1_of_several_encoders_is_embedded_once(tmp_path):
    one = make_analysis(tmp_path / "one")
    other = replace(one, column=Column("other", "a", "b"))
    missing = replace(one, folder=tmp_path / "none")
    findings = Findings("x", "x", analyses=[one, other, missing])
    page = Page(write_report(tmp_path / "page", findings))
    check_sound(page)
    (figure,) = page.sections["similarity"].findall("figure")
    caption = words(figure.find("figcaption"))
    assert "a → b, enc, by centroid" in caption
    assert "a → b, other, by centroid" in caption


def test_anchors_are_compared_with_the_controls(study):
    findings, page = study
    (found,) = findings.tables
    tables = page.tables("anchors")
    for column, table in zip(found.columns, tables, strict=True):
        rows = rows_of(table)
        assert list(rows) == [
            *("LAM-GL [1, 2, 3]", "LAM-AL [1, 2, 3, 4]"),
            *("LAM-GL, vowels [1, 2, 4]", "Layer-Atn"),
            "Layer-Drop without [1, 2, 3]",
        ]
        value = found.scores["lam_al", column].estimate.value
        text = words(rows["LAM-AL [1, 2, 3, 4]"][0])
        assert text.startswith(f"{100 * value:.1f} [")


def test_layers_are_shown_by_system_and_epoch(study):
    _, page = study
    share, alpha, *_ = page.tables("shares")
    assert words(share.find("caption")).startswith("Share (%) by layer, a → b")
    assert words(alpha.find("caption")).startswith("Alpha (%) by layer, a → b")
    rows = rows_of(share)
    assert "CC" not in rows  # one layer
    assert [words(e) for e in rows["LAM-GL"]] == ["25.0"] * 4
    bold = [e.find("b") is not None for e in rows["LAM-GL"]]
    assert bold == [True, True, True, False]
    assert not any(e.find("b") is not None for e in rows["Layer-Atn"])
    alts = [i.get("alt") for i in page.sections["shares"].findall(".//img")]
    assert len(alts) == 2
    assert all("LAM-GL after epoch 3: shares from 25.0 %" in a for a in alts)


def test_learning_curves_are_put_in_words(study):
    _, page = study
    alts = [i.get("alt") for i in page.sections["curves"].findall(".//img")]
    assert len(alts) == 2
    for name in ("LAM-GL", "Layer-Atn", "CC"):
        said = f"{name} from 40.0 % at step 10 to 60.0 % at step 30"
        assert all(said in alt for alt in alts)


def test_confusions_are_those_of_the_runs(study):
    findings, page = study
    (found,) = findings.tables
    tables = page.tables("confusion")
    names = [words(t.find("caption")).split(",")[0] for t in tables]
    best = [name_of(best_baseline(found, c)) for c in found.columns]
    assert names == [
        *("LAM-GL", "Layer-Atn", best[0], "LAM-GL", "Layer-Atn", best[1]),
    ]
    runs = found.scores["lam_gl", found.columns[0]].runs
    happy = [run.results["confusion"][1] for run in runs]
    right = sum(line[1] for line in happy) / sum(map(sum, happy))
    rows = rows_of(tables[0])
    assert words(rows[f"happy ({sum(happy[0])})"][1]) == f"{100 * right:.1f}"


def test_sureness_stands_in_tables_and_curves(study):
    findings, page = study
    (found,) = findings.tables
    section = page.sections["calibration"]
    assert words(section).count("expected calibration error") == 1
    alts = [i.get("alt") for i in section.findall(".//img")]
    tables = page.tables("calibration")
    for column, table, alt in zip(found.columns, tables, alts, strict=True):
        rows = rows_of(table)
        assert len(rows) == len(SYSTEMS)
        for system, name in (("cc", "CC"), ("lam_gl", "LAM-GL")):
            score = found.scores[system, column]
            uar = f"{100 * score.estimate.value:.1f}"
            accuracy = f"{100 * mean_calibration(score)['accuracy']:.1f}"
            entries = [words(entry) for entry in rows[name]]
            assert entries[2:4] == ["70.0", accuracy]
            # All rows are equally sure, so the surest are as good as all.
            assert entries[4:] == [uar] * 4
            assert (
                f" {name} {uar} % on 25 % of the rows, {uar} % on 50 %" in alt
            )
        assert alt.startswith(f"UAR of the surest rows, {column.label}: LAM-GL")


def test_points_that_lack_an_emotion_are_not_put_in_words(tmp_path):
    confidences = [0.9, 0.6, 0.6, 0.6] * 6
    paths = make_seeds(tmp_path / "runs", "lam_gl", confidences=confidences)
    page = write(tmp_path / "page", paths)
    check_sound(page)
    alt = page.sections["calibration"].find(".//img").get("alt")
    assert alt == (
        "UAR of the surest rows, left → right, enc: LAM-GL 100.0 % on 50 % of "
        "the rows, 100.0 % on 75 % of the rows, 100.0 % on 100 % of the rows."
    )
    assert "§ The surest rows of a seed" in words(page.sections["calibration"])


def test_genders_are_scored_where_they_are_known(study):
    findings, page = study
    (found,) = findings.tables
    (table,) = page.tables("gender")
    heads = [[words(e) for e in line] for line in table.findall("thead/tr")]
    assert heads == [["system", "b → a, enc"], ["female", "male"]]
    rows = rows_of(table)
    assert len(rows) == len(SYSTEMS)
    column = found.columns[1]
    predictions = found.scores["lam_gl", column].predictions
    women = [n for n, i in enumerate(predictions.ids) if int(i[1:3]) % 2]
    value = interval(predictions.take(np.array(women))).value
    assert words(rows["LAM-GL"][0]).startswith(f"{100 * value:.1f} [")
    said = words(page.sections["gender"])
    assert "a → b, enc: the genders are unknown." in said
    assert "female 24 utterances of 3 speakers" in said
    assert "Fewer than 10 speakers" in said
    assert "An emotion is missing" not in said


def test_a_gender_may_lack_an_emotion_or_be_unknown(tmp_path):
    paths = [make_run(tmp_path / "runs", "cc", "a", "b", 0)]
    genders = {
        row.id: "female" for row in make_rows() if row.label in (0, 1, 2)
    }
    page = write(tmp_path / "page", paths, genders={"b": genders})
    check_sound(page)
    said = words(page.sections["gender"])
    assert "‡ An emotion is missing" in said
    assert "female 36 utterances of 6 speakers, unknown 12." in said
    nobody = write(tmp_path / "page", paths)
    check_sound(nobody)
    assert "gender" not in nobody.sections


def test_speakers_stand_in_a_table_with_their_counts(study):
    findings, page = study
    (found,) = findings.tables
    table = page.tables("speakers")[0]
    rows = rows_of(table)
    assert list(rows) == [f"s{n:02d}" for n in range(6)]
    speakers = by_speaker(found.scores["cc", found.columns[0]].predictions)
    for name, uar in speakers["uar"].items():
        entries = [words(entry) for entry in rows[name]]
        assert entries[2:] == [f"{100 * uar:.1f}", "8", "4"]
    alt = page.sections["speakers"].find(".//img").get("alt")
    assert "LAM-GL is above CC for" in alt


def test_the_protocol_says_what_was_used(study):
    _, page = study
    said = words(page.sections["protocol"])
    for part in ("transductive", "speechbrain 1.0, torch 2.0", "cpu"):
        assert part in said
    used, counts, times = page.tables("protocol")
    assert [words(e) for e in rows_of(used)["LAM-GL, vowels"]][:2] == [
        "[1, 2, 4]",
        "LayerCoral, vowels, weight 0.5",
    ]
    assert list(rows_of(counts)) == [
        "a → b, enc: all systems",
        "b → a, enc: all systems",
    ]
    assert [words(e) for e in rows_of(times)["CC"]] == ["6", "75", "12.5"]


def test_other_counts_get_rows_of_their_own(tmp_path):
    paths = [
        make_run(tmp_path / "runs", "cc", "a", "b", 0),
        make_run(tmp_path / "runs", "lam_gl", "a", "b", 0),
        make_run(tmp_path / "runs", "pc", "a", "b", 0, n_train_source=7),
    ]
    page = write(tmp_path / "page", paths)
    counts = rows_of(page.tables("protocol")[1])
    assert list(counts) == ["a → b, enc: others", "a → b, enc: PC"]
    assert words(counts["a → b, enc: PC"][0]) == "7"


def test_folds_are_listed_apart(tmp_path):
    parts = [make_rows([f"s{n}", f"t{n}"]) for n in range(2)]
    paths = [
        make_run(
            *(tmp_path / "runs", "lam_gl", "a", "b", seed),
            rows=parts[fold],
            folds=2,
            fold=fold,
        )
        for seed in range(2)
        for fold in range(2)
    ]
    page = write(tmp_path / "page", paths)
    check_sound(page)
    items = [words(i) for i in page.sections["runs"].findall(".//li")]
    assert [item.split(":")[0] for item in items] == [
        *("seed 0, fold 0", "seed 0, fold 1"),
        *("seed 1, fold 0", "seed 1, fold 1"),
    ]


def test_shades_say_how_far_layers_are_from_even(tmp_path):
    # Four layers: 0.4 is 0.6 more than even, 0.1 is 0.6 less.
    shares = dict(zip("1234", (0.4, 0.1, 0.25, 0.25), strict=True))
    path = make_run(tmp_path, "lam_gl", "a", "b", 0, layer_share=shares)
    (table,), _ = make_tables([read_run(path)])
    frames, _ = layer_shares(table, table.columns[0])
    (share,) = frames["Share"].to_numpy()
    assert [cell.shade for cell in share] == pytest.approx([1, -1, 0, 0])
    (alpha,) = frames["Alpha"].to_numpy()
    assert [cell.shade for cell in alpha] == [0] * 4
