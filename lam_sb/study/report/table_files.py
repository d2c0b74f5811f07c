"""Files of Tables 1 to 3: Markdown, LaTeX, and CSV with six digits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lam_sb.corpora.manifests import EMOTIONS
from lam_sb.evaluation.breakdowns import coverage_curve, mean_calibration
from lam_sb.evaluation.calibration import COVERAGES
from lam_sb.evaluation.catalogue import name_of
from lam_sb.evaluation.comparisons import Key, Score, ScoreTable, cautions
from lam_sb.evaluation.one_vs_rest import emotion_scores
from lam_sb.evaluation.statistics import Comparison, Estimate
from lam_sb.files import whole_file
from lam_sb.study.report import printed
from lam_sb.study.report.paper import paper_emotion_uar, paper_uar


def write_tables(
    folder: Path,
    to_print: Sequence[printed.PrintedTable],
    tables: Sequence[ScoreTable],
    paper: bool,
) -> None:
    """Write Tables 1 to 3, as far as they are printed, in three formats.

    Tables of an earlier study are removed. CSV holds fractions of all tables of
    scores, with the paper's own numbers if asked for.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number in (1, 2, 3):
        own = [table for table in to_print if table.number == number]
        texts = dict.fromkeys(("md", "tex", "csv"))
        if own:
            if number == 1:
                frame = layer_frame(own)
            else:
                make = score_frame if number == 2 else emotion_frame
                frame = make(tables, paper)
            texts["md"] = "\n\n".join(map(printed.to_markdown, own)) + "\n"
            texts["tex"] = "\n\n".join(map(printed.to_latex, own)) + "\n"
            texts["csv"] = frame.to_csv(
                index=False, float_format="%.6f", lineterminator="\n"
            )
        for ending, text in texts.items():
            path = folder / f"table{number}.{ending}"
            path.unlink(missing_ok=True) if text is None else _write(path, text)


def _write(path: Path, text: str) -> None:
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def layer_frame(to_print: Sequence[printed.PrintedTable]) -> pd.DataFrame:
    """Lay out table1.csv: a row for each cell that is not empty."""
    return pd.DataFrame(
        {"table": n, "row": name, "column": column, "layers": cell.text}
        for n, table in enumerate(to_print, start=1)
        for (_, name), cells in table.frame.iterrows()
        for column, cell in zip(
            printed.column_names(table.frame), cells, strict=True
        )
        if cell.text
    )


def score_frame(tables: Sequence[ScoreTable], paper: bool) -> pd.DataFrame:
    """Lay out table2.csv: a row for each table, system and column.

    UARs are fractions; ``difference`` is LAM-GL minus the system. ``ece`` to
    ``uar_surest_75`` are those of `mean_calibration` and `coverage_curve`.
    """
    rows = []
    for table, key, place in _keys(tables):
        score, difference = table.scores[key], table.differences.get(key)
        comparison = difference and difference.comparison
        doubts = cautions(score.estimate)
        doubts += cautions(comparison.estimate) if comparison else []
        p_values = {
            "p_greater": comparison and comparison.p_greater,
            "p_holm": difference and difference.p_holm,
            "mark": difference and difference.mark,
        }
        values = _values(score, score.estimate, comparison)
        doubts += table.differing.get(key, [])
        sure, lacking = _calibration(score)
        origin = _origin(score, doubts + lacking, paper and paper_uar(*key))
        rows.append(place | values | p_values | sure | origin)
    return pd.DataFrame(rows)


def emotion_frame(tables: Sequence[ScoreTable], paper: bool) -> pd.DataFrame:
    """Lay out table3.csv: a row for each table, system, column and emotion.

    UARs are fractions; ``difference`` is the segment minus the utterance.
    """
    by_emotion = {id(table): emotion_scores(table) for table in tables}
    rows = []
    for table, key, place in _keys(tables):
        for emotion in EMOTIONS:
            one = by_emotion[id(table)].get((*key, emotion))
            if one is None:
                continue
            score, doubts = table.scores[key], cautions(one.estimate)
            doubts += table.differing.get(key, [])
            number = paper and paper_emotion_uar(*key, emotion)
            rows.append(
                place
                | {"emotion": emotion}
                | _values(score, one.estimate, one.comparison)
                | {"p_holm": one.p_holm}
                | _origin(score, doubts, number)
            )
    return pd.DataFrame(rows)


def _keys(
    tables: Sequence[ScoreTable],
) -> Iterator[tuple[ScoreTable, Key, dict]]:
    """Give each score's table and key, and the values that say where it is."""
    for number, table in enumerate(tables, start=1):
        for system in table.systems:
            for column in table.columns:
                if (system, column) in table.scores:
                    place = {"table": number} | table.protocol
                    place |= {"system": system, "name": name_of(system)}
                    yield table, (system, column), place | column._asdict()


def _values(score: Score, uar: Estimate, comparison: Comparison | None) -> dict:
    """Give a UAR, what it rests on, and its difference."""
    low, high = np.clip([uar.low, uar.high], 0, 1).tolist()
    used = [run.results["target_labels_used"] for run in score.runs]
    difference = comparison and comparison.estimate
    return {
        "uar": uar.value,
        "low": low,
        "high": high,
        "seeds": score.estimate.num_seeds,
        "speakers": score.estimate.num_clusters,
        "n_test": len(score.predictions.ids),
        "shots": score.runs[0].results["shots"],
        "target_labels_used": max(used),
        "difference": difference and difference.value,
        "difference_low": difference and difference.low,
        "difference_high": difference and difference.high,
        "p_two_sided": comparison and comparison.p_two_sided,
    }


def _calibration(score: Score) -> tuple[dict, list[str]]:
    """Give how sure a system is, and which of its surest rows lack a class."""
    surest = coverage_curve(score, COVERAGES)
    values = mean_calibration(score)
    values |= surest["uar"].add_prefix("uar_surest_").to_dict()
    lacking = surest.index[surest["lacks"]]
    return values, [f"class missing in surest {p} %" for p in lacking]


def _origin(score: Score, doubts: Sequence[str], paper: float | None) -> dict:
    return {
        "cautions": ";".join(dict.fromkeys(doubts)),
        "paper_uar": paper / 100 if paper else None,
        "results": ";".join(run.path.as_posix() for run in score.runs),
    }
