from __future__ import annotations

import re
from dataclasses import replace

from study_tables import check_latex

from lam_sb.study.report.printed import (
    Cell,
    PrintedTable,
    make_frame,
    to_latex,
    to_markdown,
)


def table_of(columns, rows, caption="Caption.", notes=(), number=2):
    """Make a table of header lines by column and of cells by group and name."""
    cells = {
        (row, n): cell
        for row, own in rows.items()
        for n, cell in enumerate(own)
    }
    frame = make_frame(
        cells, {row: row for row in rows}, dict(enumerate(columns))
    )
    return PrintedTable(number, caption, frame, notes=[*notes])


def test_markdown_escapes_its_own_characters():
    table = table_of(
        [("x → y", "e|1"), ("x → y", "paper")],
        {("", "my*sys"): [Cell("1.0 [0.5, 1.5]**", bold=True), Cell("53.60")]},
        "a_b | c [x](y)",
        ["** p < 0.05"],
    )
    caption, _, head, _, row, *note = to_markdown(table).splitlines()
    assert caption == r"**Table 2.** a\_b \| c [x]\(y)"
    cells = [re.split(r" *(?<!\\)\| *", line)[1:-1] for line in (head, row)]
    assert cells == [
        ["", r"x → y, e\|1", r"x → y, e\|1, paper"],
        [r"my\*sys", r"**1.0 [0.5, 1.5]\*\***", "53.60"],
    ]
    assert note == ["", r"\*\* p \< 0.05"]


def test_a_table_made_from_another_has_no_number():
    table = table_of([("x",)], {("", "r"): [Cell("1")]})
    assert to_markdown(replace(table, is_main=False)).startswith("Caption.")


def test_latex_by_hand():
    grid = table_of(
        [("x → y", "e1"), ("x → y", "e2")],
        {
            ("a", "Few-shot‡"): [Cell("5.0**"), Cell("6.0†", bold=True)],
            ("b", "[mine]"): [Cell(), Cell("7.0*")],
        },
        "100 % of a_b.",
        ["* p < 0.1 & more"],
    )
    assert to_latex(grid).splitlines() == [
        r"\begin{table}[htbp]",
        r"\centering\footnotesize\setlength{\tabcolsep}{4pt}",
        r"\caption{100 \% of a\_b.}",
        r"\begin{tabular}{lcc}",
        r"\toprule",
        r" & \multicolumn{2}{c}{x $\rightarrow$ y} \\",
        r"\cmidrule(lr){2-3}",
        r" & e1 & e2 \\",
        r"\midrule",
        r"Few-shot\textsuperscript{\ddag} & 5.0\textsuperscript{**} & "
        r"\textbf{6.0\textsuperscript{\dag}} \\",
        r"\midrule",
        r"{}[mine] &  & 7.0\textsuperscript{*} \\",
        r"\bottomrule",
        r"\end{tabular}",
        r"\par\smallskip",
        r"\begin{minipage}{\linewidth}\footnotesize",
        r"\textsuperscript{*} p $<$ 0.1 \& more\par",
        r"\end{minipage}",
        r"\end{table}",
    ]
    check_latex(to_latex(grid))


def test_latex_escapes_all_that_is_special():
    text = r"\{}~^$&#_%<>|"
    grid = table_of([(text,)], {("", text): [Cell(text)]}, text, [text])
    assert r"\textbackslash{}\{\}\textasciitilde{}" in to_latex(grid)
    assert r"\textasciicircum{}\$\&\#\_\%$<$$>$\textbar{}" in to_latex(grid)
    check_latex(to_latex(grid))


def grid_of(columns: str, text: str = "1.0") -> PrintedTable:
    """Make a table of columns such as "a:p a:q b:p" with two rows."""
    heads = [tuple(column.split(":")) for column in columns.split()]
    row = [Cell(f"{text}{n}") for n in range(len(heads))]
    return table_of(heads, {("", "a"): row, ("", "b"): row})


def columns_of(grid: PrintedTable) -> list[list[str]]:
    """Last header line of each tabular."""
    found = check_latex(to_latex(grid))
    for n, row in enumerate(grid.frame.to_numpy()):
        # Every cell is there once, in order.
        cells = [cell for tabular in found for cell in tabular[2 + n][1:]]
        assert cells == [cell.text for cell in row]
    return [tabular[1][1:] for tabular in found]


def test_a_tabular_holds_four_columns():
    grid = grid_of("a:p a:q b:p b:q")
    assert columns_of(grid) == [["p", "q", "p", "q"]]
    # What one direction spans stays together.
    grid = grid_of("a:p a:q a:r b:p b:q b:r")
    assert columns_of(grid) == [["p", "q", "r"], ["p", "q", "r"]]
    assert to_latex(grid).count(r"\caption{Caption. (") == 2
    assert r"\caption{Caption. (2 of 2)}" in to_latex(grid)
    # More than four of one direction do not.
    grid = grid_of("a:z b:p b:q b:r b:s b:t")
    assert columns_of(grid) == [["z"], ["p", "q", "r", "s"], ["t"]]


def test_the_paper_s_number_stays_beside_ours():
    grid = grid_of("a:w a:p a:paper a:q a:paper")
    assert columns_of(grid) == [["w", "p", "paper"], ["q", "paper"]]


def test_long_cells_take_more_tabulars():
    text = "+12.5 [-10.9, +26.9], p 0.00"
    grid = grid_of("a:p a:q b:r b:s", text)
    assert columns_of(grid) == [["p", "q"], ["r", "s"]]
    grid = grid_of("a:p a:q b:r b:s", "x" * 200)
    assert columns_of(grid) == [["p"], ["q"], ["r"], ["s"]]


def test_latex_has_a_rule_between_groups_of_rows():
    rows = [("a", "p"), ("a", "q"), ("b", "r"), ("c", "s"), ("c", "t")]
    grid = table_of([("x",)], {row: [Cell("1")] for row in rows})
    body = to_latex(grid).split(r"\midrule")[1:]
    names = [re.findall(r"^(\w) &", part, re.MULTILINE) for part in body]
    assert names == [["p", "q"], ["r"], ["s", "t"]]
