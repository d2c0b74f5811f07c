from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from lam_sb.study.report.findings import Findings
from lam_sb.study.report.printed import Cell, make_frame
from lam_sb.study.report.provenance import Links
from lam_sb.study.report.report import make_environment, write_report

HOSTILE = "<script>alert('1')</script> & \"more\""


@pytest.fixture
def render():
    """Render a line that calls a macro, and parse it as strictly as XML is."""

    def render(line: str, **values) -> ElementTree.Element:
        environment = make_environment([], Links(Path("here"), []))
        imports = (
            '{% from "macros.html" import count, figure, frame_table with '
            "context %}"
        )
        template = environment.from_string(imports + line)
        return ElementTree.fromstring(template.render(values))

    return render


def test_text_is_escaped_and_markup_is_not(render):
    written = render('<p title="{{ x }}">{{ x }}<b>bold</b></p>', x=HOSTILE)
    assert written.text == HOSTILE
    assert written.get("title") == HOSTILE
    assert [child.tag for child in written] == ["b"]


@pytest.mark.parametrize("bad", ["\x00", "\x1b", "\udcff", "\ufffe"])
def test_what_xml_cannot_hold_is_replaced(bad, tmp_path):
    path = write_report(tmp_path, Findings("made_up", f"a{bad}b"))
    html = path.read_text(encoding="utf-8").removeprefix("<!DOCTYPE html>\n")
    title = ElementTree.fromstring(html).find("head/title")
    assert title.text == "a\ufffdb"


def test_what_a_template_lacks_is_an_error(render):
    with pytest.raises(Exception, match="nobody"):
        render("<p>{{ nobody }}</p>")


def test_a_table_has_caption_scopes_and_a_scrolling_region(render):
    frame = make_frame(
        {("r", 1): Cell("1"), ("r", 2): Cell("2", bold=True)},
        {"r": ("a", "first"), "s": ("b", "second")},
        {1: ("both", "a"), 2: ("both", "b"), 3: ("c", "")},
    )
    whole = render(
        "{% set caption %}By <b>{{ x }}</b>{% endset %}"
        '{{ frame_table(frame, caption, corner="system", class="wide", '
        'notes=["a note"], label="By a & b", row_links={"first": "#x"}) }}',
        frame=frame,
        x="a & b",
    )
    region = whole.find("div")
    assert region.get("role") == "region"
    assert region.get("tabindex") == "0"
    assert region.get("aria-label") == "By a & b"
    assert "".join(whole.find(".//caption").itertext()) == "By a & b"
    assert whole.find(".//table").get("class") == "wide"
    lines = whole.findall(".//thead/tr")
    corner, both, last = lines[0]
    assert (corner.text, corner.get("rowspan")) == ("system", "2")
    assert (both.get("scope"), both.get("colspan")) == ("colgroup", "2")
    assert (last.get("scope"), last.get("colspan")) == ("col", None)
    assert [cell.get("scope") for cell in lines[1]] == ["col"] * 3
    groups = whole.findall(".//tbody")
    assert [len(group) for group in groups] == [1, 1]
    assert [cell.tag for cell in groups[0][0]] == ["th", "td", "td", "td"]
    assert groups[0][0][0].get("scope") == "row"
    assert groups[0][0][0].find("a").get("href") == "#x"
    assert groups[1][0][0].text == "second"
    assert groups[0][0][1].text == "1"
    assert groups[0][0][2].find("b").text == "2"
    assert whole.find("p").text == "a note"
    plain = render('{{ frame_table(frame, "a < b") }}', frame=frame)
    assert plain.find("div").get("aria-label") == "a < b"


@pytest.mark.parametrize(
    ("shade", "kind", "depth"),
    [
        (0.5, "above", "0.275"),
        (1, "above", "0.550"),
        (7, "above", "0.550"),
        (-0.5, "below", "0.275"),
    ],
)
def test_shades_stay_light_enough_to_read(render, shade, kind, depth):
    frame = make_frame(
        {(0, 0): Cell("12.3", shade=shade)}, {0: ("", "r")}, {0: ("c",)}
    )
    cell = render('{{ frame_table(frame, "x") }}', frame=frame).find(".//td")
    assert (cell.text, cell.get("class")) == ("12.3", f"shade {kind}")
    assert cell.get("style") == f"--depth: {depth}"


def test_no_shade_no_colour(render):
    frame = make_frame({(0, 0): Cell("0.0")}, {0: ("", "r")}, {0: ("c",)})
    cell = render('{{ frame_table(frame, "x") }}', frame=frame).find(".//td")
    assert cell.attrib == {}


def test_a_figure_holds_its_image_and_what_it_shows(render):
    whole = render(
        '{% call figure("Caption.", "png", content, alt, 70) %}'
        "<details><summary>More</summary></details>{% endcall %}",
        content=b"abc",
        alt=HOSTILE,
    )
    assert [child.tag for child in whole] == ["figcaption", "img", "details"]
    assert whole.find("img").attrib == {
        "src": "data:image/png;base64,YWJj",
        "alt": HOSTILE,
        "width": "70",
    }


def test_one_is_one_and_others_are_many(render):
    line = '<p>{{ count(1, "run") }}, {{ count(2, "run") }}</p>'
    assert render(line).text == "1 run, 2 runs"


def test_a_page_leads_to_its_parts_and_loads_nothing(tmp_path):
    findings = Findings("made_up", HOSTILE, problems=["a problem"])
    written = write_report(tmp_path, findings).read_text(encoding="utf-8")
    assert written.startswith("<!DOCTYPE html>\n")
    whole = ElementTree.fromstring(written.removeprefix("<!DOCTYPE html>\n"))
    assert whole.get("lang") == "en"
    assert whole.find("head/title").text == HOSTILE
    assert whole.find("body/header/h1").text == HOSTILE
    metas = [meta.attrib for meta in whole.findall("head/meta")]
    assert {"charset": "utf-8"} in metas
    assert any("default-src 'none'" in m.get("content", "") for m in metas)
    skip = whole.find("body/a")
    assert whole.find(f".//*[@id='{skip.get('href')[1:]}']").tag == "main"
    link = whole.find(".//nav//a")
    heading = whole.find(f".//*[@id='{link.get('href')[1:]}']")
    assert heading.text == link.text == "Read this first"
    style = whole.find("head/style").text
    assert "url(" not in style
    assert "@import" not in style
    for medium in ("prefers-color-scheme: dark", "max-width", "print"):
        assert f"@media {medium}" in style or f"@media ({medium}" in style
