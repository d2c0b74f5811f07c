"""Files of Tables 1 to 3: Markdown, LaTeX, and CSV with full digits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lam_sb.corpora.manifests import EMOTIONS
from lam_sb.evaluation.catalogue import name_of
from lam_sb.evaluation.comparisons import Key, Score, ScoreTable, cautions
from lam_sb.evaluation.metrics import Comparison, Estimate
from lam_sb.evaluation.one_vs_rest import emotion_scores
from lam_sb.files import whole_file
from lam_sb.study.report.paper import paper_emotion_uar, paper_uar
from lam_sb.study.report.printed import (
    PrintedTable,
    column_names,
    row_groups,
    to_latex,
    to_markdown,
)


def write_tables(
    folder: Path,
    printed: Sequence[PrintedTable],
    tables: Sequence[ScoreTable],
    paper: bool,
) -> None:
    """Write the tables of a study as Markdown, LaTeX and CSV.

    Arguments
    ---------
    folder : Path
        Gets table<n>.md, .tex and .csv of each number n that is printed;
        those of an earlier study are removed.
    printed : Sequence[PrintedTable]
        In order.
    tables : Sequence[ScoreTable]
        What table2.csv and table3.csv hold, as fractions.
    paper : bool
        Whether they hold the paper's own numbers too.

    Raises
    ------
    UserError
        A file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number in (1, 2, 3):
        own = [table for table in printed if table.number == number]
        texts = dict.fromkeys(("md", "tex", "csv"))
        if own:
            texts["md"] = "\n\n".join(map(to_markdown, own)) + "\n"
            texts["tex"] = "\n\n".join(map(to_latex, own)) + "\n"
            texts["csv"] = _to_csv(_frame(number, own, tables, paper))
        for ending, text in texts.items():
            path = folder / f"table{number}.{ending}"
            if text is None:
                path.unlink(missing_ok=True)
                continue
            with whole_file(path) as temporary:
                temporary.write_text(text, encoding="utf-8", newline="")


def _frame(
    number: int,
    own: Sequence[PrintedTable],
    tables: Sequence[ScoreTable],
    paper: bool,
) -> pd.DataFrame:
    if number == 1:
        return layer_frame(own)
    return (score_frame if number == 2 else emotion_frame)(tables, paper)


def _to_csv(frame: pd.DataFrame) -> str:
    return frame.to_csv(index=False, float_format="%.6f", lineterminator="\n")


def layer_frame(printed: Sequence[PrintedTable]) -> pd.DataFrame:
    """Lay out table1.csv: a row for each cell that is not empty."""
    return pd.DataFrame(
        {"grid": n, "row": name, "column": column, "layers": cell.text}
        for n, table in enumerate(printed, start=1)
        for group in row_groups(table.frame)
        for name, cells in group
        for column, cell in zip(column_names(table.frame), cells, strict=True)
        if cell.text
    )


def score_frame(tables: Sequence[ScoreTable], paper: bool) -> pd.DataFrame:
    """Lay out table2.csv: a row for each table, system and column.

    UARs are fractions; ``difference`` is LAM-GL minus the system.
    """
    rows = []
    for place, table, key in _keys(tables):
        score, difference = table.scores[key], table.differences.get(key)
        doubts = cautions(score.estimate)
        if difference:
            doubts += cautions(difference.comparison.estimate)
        rows.append(
            place
            | _uar_values(score.estimate)
            | _run_values(score)
            | _difference_values(difference and difference.comparison)
            | {
                "p_greater": difference and difference.comparison.p_greater,
                "p_holm": difference and difference.p_holm,
                "mark": difference and difference.mark,
                "cautions": ";".join(dict.fromkeys(doubts)),
                "paper_uar": _fraction(paper and paper_uar(*key)),
                "results": _paths(score),
            }
        )
    return pd.DataFrame(rows)


def emotion_frame(tables: Sequence[ScoreTable], paper: bool) -> pd.DataFrame:
    """Lay out table3.csv: a row for each table, system, column and emotion.

    UARs are fractions; ``difference`` is the segment minus the utterance.
    """
    by_emotion = {id(table): emotion_scores(table) for table in tables}
    rows = []
    for place, table, key in _keys(tables):
        for emotion in EMOTIONS:
            score = by_emotion[id(table)].get((*key, emotion))
            if score is None:
                continue
            number = paper and paper_emotion_uar(*key, emotion)
            rows.append(
                place
                | {"emotion": emotion}
                | _uar_values(score.estimate)
                | _run_values(table.scores[key])
                | _difference_values(score.comparison)
                | {
                    "p_holm": score.p_holm,
                    "cautions": ";".join(cautions(score.estimate)),
                    "paper_uar": _fraction(number),
                    "results": _paths(table.scores[key]),
                }
            )
    return pd.DataFrame(rows)


def _keys(
    tables: Sequence[ScoreTable],
) -> Iterator[tuple[dict, ScoreTable, Key]]:
    """Give the values that say where a score stands, its table and key."""
    for number, table in enumerate(tables, start=1):
        for system in table.systems:
            for column in table.columns:
                if (system, column) in table.scores:
                    place = {"table": number} | table.protocol
                    place |= {"system": system, "name": name_of(system)}
                    yield place | column._asdict(), table, (system, column)


def _uar_values(estimate: Estimate) -> dict:
    low, high = np.clip([estimate.low, estimate.high], 0, 1).tolist()
    return {"uar": estimate.value, "low": low, "high": high}


def _run_values(score: Score) -> dict:
    used = [run.results["target_labels_used"] for run in score.runs]
    return {
        "seeds": score.estimate.num_seeds,
        "speakers": score.estimate.num_clusters,
        "n_test": len(score.predictions.ids),
        "shots": score.runs[0].results["shots"],
        "target_labels_used": max(used),
    }


def _difference_values(comparison: Comparison | None) -> dict:
    estimate = comparison and comparison.estimate
    return {
        "difference": estimate and estimate.value,
        "difference_low": estimate and estimate.low,
        "difference_high": estimate and estimate.high,
        "p_two_sided": comparison and comparison.p_two_sided,
    }


def _fraction(percent: float | None) -> float | None:
    return percent / 100 if percent else None


def _paths(score: Score) -> str:
    return ";".join(run.path.as_posix() for run in score.runs)
