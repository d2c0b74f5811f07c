from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from itertools import pairwise
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
import pytest
from made_up import make_rows, make_run

from lam_sb.evaluation.breakdowns import best_baseline, by_speaker
from lam_sb.evaluation.catalogue import name_of
from lam_sb.evaluation.comparisons import Column, make_tables
from lam_sb.evaluation.metrics import interval
from lam_sb.evaluation.results import read_run
from lam_sb.study.report.findings import Findings
from lam_sb.study.report.layer_tables import Analysis
from lam_sb.study.report.report import write_report
from lam_sb.study.runner import Failure

HOSTILE = "<script>alert('1')</script>&\"<b>"
SYSTEMS = (
    *("cc", "ensemble", "lam_gl", "lam_gl_vowl", "lam_al"),
    *("layer_atn", "layer_drop", HOSTILE),
)
HEADINGS = {"h1", "h2", "h3", "h4"}
PARTS = [
    *("warnings", "headline", "scores", "emotions", "layers", "similarity"),
    *("anchors", "shares", "curves", "confusion", "gender", "speakers"),
    *("protocol", "corpora", "runs"),
]


class Page:
    """A written report, parsed as strictly as XML is."""

    def __init__(self, path):
        self.path = path
        self.text = path.read_text(encoding="utf-8")
        html = self.text.removeprefix("<!DOCTYPE html>\n")
        self.root = ElementTree.fromstring(html)
        self.sections = {
            section.find("h2").get("id"): section
            for section in self.root.findall(".//main/section")
        }

    def tables(self, name):
        return self.sections[name].findall(".//table")


def words(element):
    return "".join(element.itertext())


def rows_of(table):
    """Entries by row, as elements."""
    return {words(line[0]): line[1:] for line in table.findall("tbody/tr")}


def make_study(root, systems=SYSTEMS, seeds=3, **results):
    return [
        make_run(
            *(root, system, source, target, seed),
            experiment=f"e{n}{results.get('normalise', '')}",
            wrong=0.1 + 0.05 * n,
            **results,
        )
        for n, system in enumerate(systems)
        for source, target in (("a", "b"), ("b", "a"))
        for seed in range(seeds)
    ]


def findings_of(paths, **more):
    tables, problems = make_tables(map(read_run, paths))
    return Findings("made_up", "A study", tables, problems, **more)


def write(folder, paths, **more):
    return Page(write_report(folder, findings_of(paths, **more)))


def make_analysis(root):
    root.mkdir()
    (root / "figure1.png").write_bytes(b"\x89PNG")
    selection = {
        "measure": "centroid",
        "use_target_labels": False,
        "group": [1, 2, 3],
        "best": [1],
        "worst": [2, 3, 4],
        "scores": {"1": 0.9, "2": 0.8125, "3": 0.7, "4": 0.5},
        "stability": {"group": 0.95, "best": 1.0, "worst": 0.5, "layers": {}},
    }
    return Analysis(Column("enc", "a", "b"), root, selection, [])


PREPARED = {
    "steps": [
        {
            "step": "listed",
            "dropped": {},
            "kept": {"Train": {"sad": 5, "none": 2}, "Test": {"sad": 4}},
        },
        {
            "step": "audio",
            "dropped": {"missing": 1, "empty": 1},
            "kept": {"Train": {"sad": 4, "none": 1}, "Test": {"sad": 4}},
        },
    ],
    "splits": {"train": {"sad": 4, "none": 1}, "valid": {}, "test": {"sad": 4}},
}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study with everything: its findings, and the page."""
    root = tmp_path_factory.mktemp("study")
    genders = {
        row.id: "female" if int(row.speaker[1:]) % 2 else "male"
        for row in make_rows()
    }
    log = root / "logs" / "a log.txt"
    log.parent.mkdir()
    log.write_text("stopped")
    findings = findings_of(
        make_study(root / "runs"),
        analyses=[make_analysis(root / "analysis")],
        genders={"a": genders},
        preparation={"a": PREPARED},
        failed=[
            Failure(f"train.py --system '{HOSTILE}'", "disk full", log),
            Failure("train.py", "made with other settings"),
        ],
    )
    return findings, Page(write_report(root / "page", findings))


def check_sound(page):
    """What holds for every page."""
    names = [e.get("id") for e in page.root.iter() if e.get("id")]
    assert len(names) == len(set(names))
    levels = [int(e.tag[1]) for e in page.root.iter() if e.tag in HEADINGS]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in pairwise(levels))
    assert not page.root.findall(".//script")
    for element in page.root.iter():
        for value in element.attrib.values():
            assert not re.search(r"(^|[^:])//|http", value)
        href = element.get("href")
        if href and href.startswith("#"):
            assert href[1:] in names
        elif href:
            assert (page.path.parent / unquote(href)).is_file()
    for image in page.root.findall(".//img"):
        assert len(image.get("alt")) > 20
        assert image.get("src").startswith("data:image/")
    for figure in page.root.findall(".//figure"):
        assert [child.tag for child in figure][:2] == ["figcaption", "img"]
    regions = page.root.findall(".//div[@role='region']")
    labels = [region.get("aria-label") for region in regions]
    assert len(labels) == len(set(labels))
    for table in page.root.findall(".//table"):
        assert words(table.find("caption"))
        assert all(e.get("scope") for e in table.findall(".//th"))
    for word in ("nan", "None", "inf"):
        assert not re.search(rf"\b{word}\b", words(page.root.find("body")))


def test_the_page_is_sound_and_has_all_parts_in_order(study):
    _, page = study
    check_sound(page)
    assert list(page.sections) == PARTS
    assert words(page.root.find(".//h1")) == "A study"
    summary = words(page.root.find("body/header"))
    for part in ("48 runs of 8 systems", "1 encoder (enc)", "3 seeds each"):
        assert part in summary
    assert "2 directions (a → b, b → a)" in summary


def test_embedded_figures_hold_no_address(study):
    _, page = study
    count = 0
    for image in page.root.findall(".//img"):
        kind, data = image.get("src").split(";base64,")
        if kind == "data:image/svg+xml":
            svg = ElementTree.fromstring(base64.b64decode(data))
            values = [v for e in svg.iter() for v in e.attrib.values()]
            assert not any("http" in value for value in values)
            count += 1
    # One headline; by column anchors, epochs, curves and speakers.
    assert count == 1 + 4 * 2


def test_equal_findings_give_equal_bytes(study):
    findings, page = study
    written = page.path.read_bytes()
    assert write_report(page.path.parent, findings).read_bytes() == written


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
                assert words(item) == f"seed {seed}: {uar:.1f}"
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
    assert list(rows) == ["a → b, enc", "b → a, enc"]
    alt = page.sections["headline"].find(".//img").get("alt")
    for column in found.columns:
        for n, system in enumerate(("layer_atn", "layer_drop")):
            value = found.differences[system, column].comparison.estimate.value
            text = f"{100 * value:+.1f} ["
            assert words(rows[column.label][n]).startswith(text)
            assert text in alt
    said = words(page.sections["headline"].find("ul"))
    assert "of 2 columns" in said
    assert "a look, no claim" in said


def test_warnings_say_what_failed_and_what_is_too_little(study):
    _, page = study
    warnings = page.sections["warnings"]
    assert words(warnings.find(".//code")) == f"train.py --system '{HOSTILE}'"
    assert unquote(warnings.find(".//a").get("href")) == "../logs/a log.txt"
    assert "2 runs gave no result" in words(warnings)
    assert "disk full" in words(warnings)
    assert "made with other settings" in words(warnings)
    assert "Few speakers" in words(warnings)
    assert "which is a look and no claim" in words(warnings)


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


@pytest.mark.parametrize(
    "name", ["headline", "scores", "emotions", "gender", "protocol"]
)
def test_every_score_leads_to_its_runs(study, name):
    _, page = study
    links = [
        cell.find(".//a")
        for table in page.tables(name)
        if "seconds" not in words(table.find("thead"))
        for cell in table.findall(".//td")
        if re.match(r"[+-]?\d+\.\d( \[|$)", words(cell))
    ]
    assert links
    for link in links:
        assert re.search(r"^#runs-|results\.json$", link.get("href"))


def test_many_problems_are_listed_in_full(tmp_path):
    problems = [f"problem {n} \udcff\x00" for n in range(25)]
    findings = Findings("made_up", "A study", problems=problems)
    page = Page(write_report(tmp_path, findings))
    check_sound(page)
    warnings = page.sections["warnings"]
    assert len(warnings.findall("./div/ul/li")) == 10
    assert len(warnings.findall(".//details/ul/li")) == 15
    assert "problem 24 \ufffd\ufffd" in words(warnings)


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
    used, counts, times, rules = page.tables("protocol")
    assert [words(e) for e in rows_of(used)["LAM-GL, vowels"]][:2] == [
        "[1, 2, 4]",
        "LayerCoral, vowels, weight 0.5",
    ]
    assert list(rows_of(counts)) == [
        "a → b, enc: all systems",
        "b → a, enc: all systems",
    ]
    assert [words(e) for e in rows_of(times)["CC"]] == ["6", "75", "12.5"]
    assert len(rows_of(rules)) == len(SYSTEMS)


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


def test_protocols_are_never_mixed(tmp_path):
    systems = ("cc", "lam_gl", "lam_al", "layer_atn", "layer_drop")
    paths = make_study(tmp_path / "runs", systems, 2)
    paths += make_study(tmp_path / "runs", systems, 2, normalise="source")
    page = write(tmp_path / "page", paths)
    check_sound(page)
    for name, section in page.sections.items():
        headings = [words(heading) for heading in section.findall("h3")]
        if name != "warnings":
            assert headings == ["normalise: domain", "normalise: source"]
        captions = section.findall(".//caption") + section.findall(
            ".//figcaption"
        )
        for caption in map(words, captions):
            found = set(re.findall(r"normalise: (\w+)", caption))
            assert len(found) <= 1
    scores = [words(t.find("caption")) for t in page.tables("scores")]
    assert ["normalise: domain" in caption for caption in scores] == [
        *(True, True, False, False),
    ]
    lists = [e.get("id") for e in page.root.iter("details") if e.get("id")]
    assert len(lists) == 2 * len(systems) * 2


def test_one_run_is_linked_itself(tmp_path):
    paths = [
        make_run(tmp_path / "runs", system, "a", "b", 0, experiment="a b#?%:")
        if system == "cc"
        else make_run(tmp_path / "runs", system, "a", "b", 0)
        for system in ("cc", "lam_gl", "layer_atn")
    ]
    page = write(tmp_path / "page", paths)
    check_sound(page)
    link = rows_of(page.tables("scores")[0])["CC"][0].find("a").get("href")
    path = (page.path.parent / unquote(link)).resolve()
    assert json.loads(path.read_text())["system"] == "cc"


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


def test_a_study_without_runs_says_so(tmp_path):
    page = write(tmp_path, [])
    check_sound(page)
    assert "There are no finished runs." in words(page.root.find(".//header"))
    assert not page.sections


@pytest.mark.parametrize(
    ("systems", "absent"),
    [
        (["cc", "layer_atn"], {"headline", "emotions"}),
        (
            ["ensemble"],
            {"headline", "emotions", "layers", "anchors", "shares", "curves"},
        ),
        ([HOSTILE], {"headline", "emotions", "anchors", "speakers"}),
        (["lam_gl"], {"headline", "emotions"}),
    ],
)
def test_parts_that_nothing_is_known_of_are_left_out(tmp_path, systems, absent):
    paths = make_study(tmp_path / "runs", systems, 2)
    page = write(tmp_path / "page", paths)
    check_sound(page)
    assert not absent & set(page.sections)
    assert {"scores", "protocol", "runs"} <= set(page.sections)


def test_runs_without_logs_have_no_curves(tmp_path):
    paths = make_study(tmp_path / "runs", ["lam_gl", "layer_atn"], 2)
    for path in paths:
        for name in ("history.csv", "layer_weights.csv"):
            path.with_name(name).unlink()
    page = write(tmp_path / "page", paths)
    check_sound(page)
    assert "curves" not in page.sections
    assert page.tables("shares")
    assert not page.sections["shares"].findall(".//img")


def test_one_speaker_has_no_interval(tmp_path):
    paths = [
        make_run(tmp_path / "runs", system, "a", "b", 0, speakers=1)
        for system in ("cc", "lam_gl", "layer_atn", "layer_drop")
    ]
    page = write(tmp_path / "page", paths)
    check_sound(page)
    assert "no interval" in words(page.sections["warnings"])


def test_the_tables_are_written_too(study):
    _, page = study
    names = {path.name for path in page.path.parent.iterdir() if path.is_file()}
    assert {"report.html", "table1.md", "table2.tex", "table3.csv"} <= names
    assert not [name for name in names if name.endswith(".tmp")]
