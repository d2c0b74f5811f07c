"""A report of a made-up study, parsed, and what holds for every page."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

from made_up import make_rows, make_run

from lam_sb.evaluation.comparisons import Column, make_tables
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
    return Analysis(Column("enc", "a", "b"), root, selection)


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


def make_whole_study(root: Path) -> tuple[Findings, Page]:
    """Make a study with everything: its findings, and the page."""
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
