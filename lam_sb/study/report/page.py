"""HTML of a page that stands alone: elements, tables, figures and style.

The page is well-formed XML as well, loads nothing and runs nothing. All text
that is not an `Html` is escaped.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from html import escape

VOID = ("meta", "img", "br", "col")
# Ends its line, so that the file can be read and compared.
BLOCKS = {
    *("meta", "title", "style", "head", "header", "nav", "main", "section"),
    *("h1", "h2", "h3", "p", "ul", "ol", "li", "dl", "dt", "dd", "div"),
    *("table", "caption", "thead", "tbody", "tr", "figure", "figcaption"),
    *("details", "summary", "footer", "body"),
}
# What XML cannot hold, and half characters of file names that are no text.
UNWANTED = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# Nothing may be loaded, whatever the text of a study holds.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def tag(name: str, /, *content: str | None, **attributes: object) -> Html:
    """Make an element.

    Arguments
    ---------
    name : str
        Of the element.
    *content : str | None
        What it holds: `Html` as it is, other text escaped, None left out.
    **attributes : object
        ``class_`` stands for class, ``aria_label`` for aria-label; None and
        False leave an attribute out.

    Returns
    -------
    Html
        The element.

    Example
    -------
    >>> tag("td", "a < b", tag("br"), class_="best", id=None)
    '<td class="best">a &lt; b<br /></td>'
    """
    parts = [name]
    for key, value in attributes.items():
        if value is not None and value is not False:
            key = key.rstrip("_").replace("_", "-")
            value = value if isinstance(value, Html) else text(str(value))
            parts.append(f'{key}="{value}"')
    end = "\n" if name in BLOCKS else ""
    if name in VOID:
        return Html(f"<{' '.join(parts)} />{end}")
    inside = join(content)
    return Html(f"<{' '.join(parts)}>{inside}</{name}>{end}")


def text(value: str) -> Html:
    """Escape text; leave `Html` as it is.

    Arguments
    ---------
    value : str
        Any text; what XML cannot hold becomes a question mark.

    Returns
    -------
    Html
        For content or a quoted attribute.
    """
    if isinstance(value, Html):
        return value
    return Html(escape(UNWANTED.sub("\ufffd", value)))


def join(parts: Iterable[str | None], between: str = "") -> Html:
    """Put parts one after the other.

    Arguments
    ---------
    parts : Iterable[str | None]
        `Html` as it is, other text escaped, None left out.
    between : str
        Stands between them.

    Returns
    -------
    Html
        All of them.
    """
    kept = [text(part) for part in parts if part is not None]
    return Html(text(between).join(kept))


def paragraphs(lines: Iterable[str], class_: str | None = None) -> Html:
    """Make a paragraph of each line.

    Arguments
    ---------
    lines : Iterable[str]
        Text or `Html`.
    class_ : str | None
        Of all of them.

    Returns
    -------
    Html
        The paragraphs.
    """
    return join(tag("p", line, class_=class_) for line in lines)


def bullets(items: Iterable[str]) -> Html:
    """Make a list.

    Arguments
    ---------
    items : Iterable[str]
        Text or `Html`.

    Returns
    -------
    Html
        The list.
    """
    return tag("ul", *(tag("li", item) for item in items))


def row(name: str, entries: Iterable[str]) -> Html:
    """Make a table's row.

    Arguments
    ---------
    name : str
        Of the row.
    entries : Iterable[str]
        Its entries; a ``td`` as it is, anything else becomes one.

    Returns
    -------
    Html
        The row.
    """
    cells = [
        entry
        if isinstance(entry, Html) and entry.startswith("<td")
        else tag("td", entry)
        for entry in entries
    ]
    return tag("tr", tag("th", name, scope="row"), *cells)


def table(
    caption: str,
    header: Sequence[Sequence[tuple[str, int]]],
    groups: Iterable[Iterable[Html]],
    notes: Iterable[str] = (),
    corner: str = "",
    class_: str | None = None,
    label: str | None = None,
) -> Html:
    """Make a table that scrolls by itself where the screen is too narrow.

    Arguments
    ---------
    caption : str
        Above it.
    header : Sequence[Sequence[tuple[str, int]]]
        Lines of (text, columns spanned) over the entries.
    groups : Iterable[Iterable[Html]]
        Rows made by `row`, in groups with a rule between.
    notes : Iterable[str]
        Lines below.
    corner : str
        What the rows are, over their names.
    class_ : str | None
        Of the table.
    label : str | None
        What the scrolling part is called where that is not the caption; each
        of a page has its own.

    Returns
    -------
    Html
        The table and its notes.
    """
    whole = tag(
        "table",
        tag("caption", tag("span", caption)),
        tag("thead", *_header_lines(header, corner)),
        *(tag("tbody", *rows) for rows in groups),
        class_=class_,
    )
    scroll = tag(
        "div",
        whole,
        class_="scroll",
        tabindex=0,
        role="region",
        aria_label=caption if label is None else label,
    )
    return tag("div", scroll, paragraphs(notes, "note"), class_="table")


def _header_lines(
    header: Sequence[Sequence[tuple[str, int]]], corner: str
) -> list[Html]:
    lines = []
    for n, line in enumerate(header):
        cells = [
            tag(
                "th",
                name,
                scope="colgroup" if span > 1 else "col",
                colspan=span if span > 1 else None,
            )
            for name, span in line
        ]
        if n == 0:
            span = len(header) if len(header) > 1 else None
            cells.insert(
                0, tag("th", corner, scope="col", rowspan=span, class_="corner")
            )
        lines.append(tag("tr", *cells))
    return lines


def heat(label: str, depth: float, kind: str = "much") -> Html:
    """Make an entry whose colour says how large it is.

    Arguments
    ---------
    label : str
        What stands there.
    depth : float
        Of the colour, 0 to 1.
    kind : str
        The colour: ``much``, or ``above`` and ``below`` of something even.

    Returns
    -------
    Html
        The ``td``.
    """
    # Above 0.55 the text would no longer stand out from the colour.
    depth = 0.55 * min(max(depth, 0.0), 1.0)
    style = f"--depth: {depth:.3f}"
    return tag("td", label, class_=f"heat {kind}", style=style)


def image(content: bytes, kind: str, alt: str, width: int) -> Html:
    """Embed an image.

    Arguments
    ---------
    content : bytes
        The file.
    kind : str
        ``png`` or ``svg+xml``.
    alt : str
        What it shows, for those who do not see it.
    width : int
        Pixels on a screen that has them.

    Returns
    -------
    Html
        The ``img``.
    """
    data = base64.b64encode(content).decode()
    return tag(
        "img", src=f"data:image/{kind};base64,{data}", alt=alt, width=width
    )


def figure(caption: str, picture: Html, more: str | None = None) -> Html:
    """Make a figure.

    Arguments
    ---------
    caption : str
        Above the picture.
    picture : Html
        As from `image`.
    more : str | None
        Below the picture, its numbers for example.

    Returns
    -------
    Html
        The figure.
    """
    return tag("figure", tag("figcaption", caption), picture, more)


def details(summary: str, *content: str | None, id_: str | None = None) -> Html:
    """Make what is shown on demand.

    Arguments
    ---------
    summary : str
        Always shown.
    *content : str | None
        Shown when opened.
    id_ : str | None
        To link to.

    Returns
    -------
    Html
        The ``details``.
    """
    return tag("details", tag("summary", summary), *content, id=id_)


def page(title: str, lead: Html, parts: Sequence[tuple[str, str, Html]]) -> str:
    """Make the page.

    Arguments
    ---------
    title : str
        Of the page, and its heading.
    lead : Html
        Below the heading.
    parts : Sequence[tuple[str, str, Html]]
        Name to link to, heading and content of each part.

    Returns
    -------
    str
        The file.
    """
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag(
            "meta",
            http_equiv="Content-Security-Policy",
            content=POLICY,
        ),
        tag(
            "meta",
            name="viewport",
            content="width=device-width, initial-scale=1",
        ),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Html(STYLE)),
    )
    links = [
        tag("li", tag("a", heading, href=f"#{name}"))
        for name, heading, _ in parts
    ]
    contents = tag("nav", tag("ol", *links), aria_label="Contents")
    sections = [
        tag("section", tag("h2", heading, id=name), content)
        for name, heading, content in parts
    ]
    body = tag(
        "body",
        tag("a", "Skip to the contents", class_="skip", href="#main"),
        tag("header", tag("h1", title), lead),
        contents,
        tag("main", *sections, id="main", tabindex=-1),
    )
    return "<!DOCTYPE html>\n" + tag("html", head, body, lang="en") + "\n"


STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1c1d21;
  --soft: #575b63; --line: #cfd2d8; --link: #0b57a4; --shade: #f3f4f6;
  --warn: #fff5e2; --edge: #b45f06; }
@media (prefers-color-scheme: dark) { :root { --paper: #15171b;
  --ink: #e7e8ea; --soft: #a9adb6; --line: #41454d; --link: #8ab8ff;
  --shade: #1f2227; --warn: #2b2414; --edge: #e0a040; }
  .much { --hue: 46 140 206; } .below { --hue: 150 120 230; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body { margin: 0 auto; padding: 1rem clamp(0.8rem, 2.5vw, 2rem) 4rem;
  max-width: 79rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans",
  "Liberation Sans", Arial, sans-serif; overflow-wrap: break-word; }
h1, h2, h3 { line-height: 1.2; text-wrap: balance; }
h1 { font-size: 1.8rem; margin: 1rem 0 0.6rem; }
h2 { font-size: 1.35rem; margin: 2.8rem 0 0.6rem; padding-top: 0.8rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1.08rem; margin: 1.8rem 0 0.5rem; }
p, li, dd, figcaption, summary { max-width: 75ch; }
p { margin: 0.5rem 0; }
a { color: var(--link); }
a:focus-visible, summary:focus-visible, .scroll:focus-visible {
  outline: 2px solid var(--link); outline-offset: 2px; }
main:focus { outline: none; }
.skip { position: absolute; left: -99rem; }
.skip:focus { position: static; }
nav ol { columns: 17rem; margin: 1.2rem 0 0; padding: 0.8rem 0.8rem 0.8rem
  2.4rem; background: var(--shade); border-radius: 6px; }
.warning { background: var(--warn); border-left: 4px solid var(--edge);
  padding: 0.4rem 0.9rem; margin: 0.8rem 0; }
.warning ul { padding-left: 1.2rem; margin: 0.4rem 0; }
.note, figcaption { font-size: 0.9rem; color: var(--soft); }
.table { margin: 1.2rem 0 1.6rem; }
.scroll { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; font-size: 0.9rem; line-height: 1.35;
  font-variant-numeric: tabular-nums; border-bottom: 2px solid var(--ink); }
caption { text-align: left; padding-bottom: 0.4rem; }
caption span { position: sticky; left: 0; display: inline-block;
  max-width: min(75ch, 88vw); }
th, td { padding: 0.22rem 0.6rem; text-align: right; white-space: nowrap; }
thead th { border-bottom: 1px solid var(--line); vertical-align: bottom;
  font-weight: 600; }
thead th[colspan] { text-align: center; }
thead tr:first-child th { border-top: 2px solid var(--ink); }
th.corner, th[scope="row"], .words th, .words td { text-align: left; }
th[scope="row"] { font-weight: 400; background: var(--paper); }
.words td { white-space: normal; max-width: 16rem; }
.wide caption span { min-width: min(44rem, 88vw); }
tbody + tbody { border-top: 1px solid var(--line); }
td a { color: inherit; text-decoration: underline dotted 1px var(--soft);
  text-underline-offset: 0.2em; }
td a:hover { color: var(--link); }
.map { font-size: 0.82rem; }
.map th, .map td { padding: 0.2rem; }
.map thead th:not(.corner), .map td { text-align: center; min-width: 2.15rem; }
.heat { background: rgb(var(--hue) / var(--depth));
  -webkit-print-color-adjust: exact; print-color-adjust: exact; }
.much { --hue: 0 114 178; }
.above { --hue: 230 120 0; }
.below { --hue: 120 80 180; }
.side { display: flex; flex-wrap: wrap; gap: 0 1.3rem;
  align-items: flex-start; }
.side > * { max-width: 100%; min-width: 0; }
.side > figure { width: 520px; }
.side .table { margin-bottom: 0.4rem; }
figure { margin: 1rem 0 1.4rem; max-width: 100%; }
img { max-width: 100%; height: auto; display: block; }
img.paper { background: #fff; border-radius: 4px; }
figcaption { margin-bottom: 0.4rem; max-width: 32rem; color: var(--ink); }
details { margin: 0.5rem 0; }
summary { cursor: pointer; }
.runs { columns: 21rem; }
.runs details { break-inside: avoid; margin: 0 0 0.3rem; }
.runs ul { margin: 0.2rem 0; padding-left: 1.6rem; }
details:target > summary { background: var(--warn); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.2rem 1rem; }
dt { font-weight: 600; }
dd { margin: 0; min-width: 0; }
code { font-size: 0.9em; overflow-wrap: anywhere; }
@media (max-width: 40rem) {
  h1 { font-size: 1.5rem; }
  th[scope="row"] { position: sticky; left: 0; white-space: normal;
    min-width: 6.5rem; }
  th, td { padding: 0.22rem 0.45rem; }
  dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: 0.5rem; }
}
@page { size: A4 landscape; margin: 12mm; }
@media print {
  :root { color-scheme: light; --paper: #fff; --ink: #000; --soft: #333;
    --line: #999; --link: #000; --shade: #fff; --warn: #fff; --edge: #000; }
  .much { --hue: 0 114 178; } .below { --hue: 120 80 180; }
  html { font-size: 10pt; }
  body { max-width: none; padding: 0; }
  .skip, nav, section:has(.runs), details:not([open]) { display: none; }
  a, td a { text-decoration: none; color: inherit; }
  h2, h3 { break-after: avoid; }
  h2 { margin-top: 1.4rem; }
  section + section + section { break-before: page; }
  .scroll { overflow: visible; }
  table { font-size: 8.5pt; }
  .map { font-size: 7pt; }
  caption { break-after: avoid; }
  thead { display: table-header-group; }
  tr, figure, .warning { break-inside: avoid; }
  table { break-inside: avoid; }
  .side > figure { max-width: 48%; }
  img { max-height: 155mm; width: auto; }
}
"""
