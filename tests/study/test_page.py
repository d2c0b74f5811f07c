from __future__ import annotations

from xml.etree import ElementTree

import pytest
from lam_sb.study.report.page import (
    Html,
    bullets,
    details,
    figure,
    heat,
    image,
    join,
    page,
    paragraphs,
    row,
    table,
    tag,
    text,
)

HOSTILE = "<script>alert('1')</script> & \"more\""


def parse(html):
    return ElementTree.fromstring(html)


def test_text_is_escaped_and_html_is_not():
    element = parse(tag("p", HOSTILE, tag("b", "bold"), None, title=HOSTILE))
    assert element.text == HOSTILE
    assert element.get("title") == HOSTILE
    assert [child.tag for child in element] == ["b"]
    assert text(Html("<b>x</b>")) == "<b>x</b>"


@pytest.mark.parametrize("bad", ["\x00", "\x1b[0m", "\udcff", "\ufffe"])
def test_what_xml_cannot_hold_is_replaced(bad):
    written = tag("p", f"a{bad[0]}b")
    assert parse(written.encode("utf-8")).text == "a\ufffdb"


def test_attributes_may_be_left_out_or_have_dashes():
    written = tag("img", alt="", class_="x", aria_label="y", id=None, hidden=0)
    element = parse(written)
    assert element.attrib == {
        "alt": "",
        "class": "x",
        "aria-label": "y",
        "hidden": "0",
    }
    assert parse(tag("p", id=False)).attrib == {}


def test_parts_are_joined_with_what_stands_between():
    assert join(["a<", None, tag("b", "c")], ", ") == "a&lt;, <b>c</b>"
    assert join([]) == ""


def test_lists_and_paragraphs_hold_each_item():
    items = parse(bullets(["a", tag("b", "c")]))
    assert ["".join(item.itertext()) for item in items] == ["a", "c"]
    lines = parse(tag("div", paragraphs(["a", "b"], "note")))
    assert [line.get("class") for line in lines] == ["note", "note"]


def test_a_table_has_caption_scopes_and_a_scrolling_region():
    whole = parse(
        table(
            join(["By ", tag("b", "a & b")]),
            [[("both", 2), ("c", 1)], [("a", 1), ("b", 1), ("", 1)]],
            [
                [row("first", ["1", tag("b", "2"), tag("td", "3", id="x")])],
                [row("second", ["4", "5", "6"])],
            ],
            ["a note"],
            "system",
            label="By a & b",
        )
    )
    region = whole.find("div")
    assert region.get("role") == "region"
    assert region.get("tabindex") == "0"
    assert region.get("aria-label") == "By a & b"
    plain = parse(table("a < b", [[("a", 1)]], []))
    assert plain.find("div").get("aria-label") == "a < b"
    assert "".join(whole.find(".//caption").itertext()) == "By a & b"
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
    assert groups[0][0][3].get("id") == "x"
    assert whole.find("p").text == "a note"


@pytest.mark.parametrize(
    ("depth", "written"), [(0, 0), (0.5, 0.275), (1, 0.55), (7, 0.55), (-1, 0)]
)
def test_heat_stays_light_enough_to_read(depth, written):
    cell = parse(heat("12.3", depth, "above"))
    assert (cell.text, cell.get("class")) == ("12.3", "heat above")
    assert cell.get("style") == f"--depth: {written:.3f}"


def test_a_figure_holds_its_image_and_what_it_shows():
    whole = parse(
        figure("Caption.", image(b"abc", "png", HOSTILE, 70), details("More"))
    )
    assert [child.tag for child in whole] == ["figcaption", "img", "details"]
    assert whole.find("img").attrib == {
        "src": "data:image/png;base64,YWJj",
        "alt": HOSTILE,
        "width": "70",
    }


def test_a_page_leads_to_its_parts_and_loads_nothing():
    written = page(
        HOSTILE, tag("p", "lead"), [("one", "One", tag("p", "content"))]
    )
    assert written.startswith("<!DOCTYPE html>\n")
    whole = parse(written.removeprefix("<!DOCTYPE html>\n"))
    assert whole.get("lang") == "en"
    assert whole.find("head/title").text == HOSTILE
    assert whole.find("body/header/h1").text == HOSTILE
    metas = [meta.attrib for meta in whole.findall("head/meta")]
    assert {"charset": "utf-8"} in metas
    assert any("default-src 'none'" in m.get("content", "") for m in metas)
    skip = whole.find("body/a")
    assert whole.find(f".//*[@id='{skip.get('href')[1:]}']").tag == "main"
    link = whole.find(".//nav//a")
    assert whole.find(f".//*[@id='{link.get('href')[1:]}']").text == "One"
    assert "url(" not in whole.find("head/style").text
