from __future__ import annotations

import base64
import json
import re
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest
from made_up import make_run
from pages import (
    HOSTILE,
    Page,
    check_sound,
    make_study,
    make_whole_study,
    rows_of,
    words,
    write,
)

from lam_sb.study.report.findings import Findings
from lam_sb.study.report.report import write_report

PARTS = [
    *("warnings", "headline", "scores", "emotions", "layers", "similarity"),
    *("anchors", "shares", "curves", "confusion", "calibration", "gender"),
    *("speakers", "protocol", "corpora", "runs"),
]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return make_whole_study(tmp_path_factory.mktemp("study"))


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
    # One headline; by column anchors, epochs, curves, coverage and speakers.
    assert count == 1 + 5 * 2


def test_equal_findings_give_equal_bytes(study):
    findings, page = study
    written = page.path.read_bytes()
    assert write_report(page.path.parent, findings).read_bytes() == written


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


@pytest.mark.parametrize(
    "name", ["headline", "scores", "emotions", "calibration", "gender"]
)
def test_every_score_leads_to_its_runs(study, name):
    _, page = study
    links = [
        cell.find(".//a")
        for table in page.tables(name)
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
