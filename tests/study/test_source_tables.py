"""Sources by targets, and one source against all, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from made_up import make_rows, make_run
from study_tables import check_latex, group_names, tables_of, texts

from lam_sb.evaluation.predictions import Predictions
from lam_sb.evaluation.results import read_run
from lam_sb.evaluation.statistics import (
    interval,
    mean_over,
)
from lam_sb.study.report.printed import to_latex, to_markdown
from lam_sb.study.report.source_tables import FIXED, source_tables

LABELS = [row.label for row in make_rows(6)]


def guesses(wrong, seed):
    """Every so many rows, in another place for each seed, are wrong."""
    shifted = [(label + 1) % 4 for label in LABELS]
    return [
        other if (n + seed) % wrong == 0 else label
        for n, (label, other) in enumerate(zip(LABELS, shifted, strict=True))
    ]


@pytest.fixture
def study(tmp_path):
    """Two systems on targets x and y, from a, b and both, of three seeds."""
    paths = []
    for target, more in (("x", 0), ("y", 1)):
        for source, wrong in (("a", 2), ("b", 3), ("a+b", 5)):
            for system, better in (("layer_atn", 0), ("lam_plus", 2)):
                keys = {"normalise": "residual"} if better else {}
                paths += [
                    make_run(
                        tmp_path,
                        system,
                        source,
                        target,
                        seed,
                        predictions=guesses(wrong + better + more, seed),
                        **keys,
                    )
                    for seed in range(3)
                ]
    return paths


def pooled(paths, **wanted):
    """Predictions of all runs that have some values in results.json."""
    runs = [read_run(path) for path in paths]
    chosen = [
        run
        for run in runs
        if all(run.results[k] in v for k, v in wanted.items())
    ]
    first = chosen[0]
    order = np.argsort(first.ids)
    rows = np.stack([run.predictions[np.argsort(run.ids)] for run in chosen])
    return Predictions(
        first.ids[order], first.labels[order], first.clusters[order], rows
    )


def written(estimate, sign=""):
    value, low, high = (
        100 * x for x in (estimate.value, estimate.low, estimate.high)
    )
    if not sign:
        low, high = max(low, 0), min(high, 100)
    return f"{value:{sign}.1f} [{low:{sign}.1f}, {high:{sign}.1f}]"


def test_lam_plus_stands_beside_what_is_standardised_otherwise(study):
    (table,) = tables_of(*study)
    assert table.protocol["normalise"] != "residual"
    assert {system for system, _ in table.scores} == {"layer_atn", "lam_plus"}
    assert table.differing == {}


def test_another_systems_normalise_is_another_table(study, tmp_path):
    other = make_run(tmp_path, "cc", "a", "x", 0, normalise="speaker")
    assert len(tables_of(*study, other)) == 2


def test_sources_by_targets(study):
    (table,) = tables_of(*study)
    matrix, uars, differences = source_tables(table)
    rows = texts(matrix)
    for system, name in (("layer_atn", "Layer-Atn"), ("lam_plus", "LAM-Plus")):
        for source in ("a", "b", "a+b"):
            expected = [
                interval(
                    pooled(
                        study, system=[system], source=[source], target=[target]
                    )
                )
                for target in ("x", "y")
            ]
            assert rows[f"{name}, {source}"] == [*map(written, expected)]
    assert len(rows) == 6
    assert group_names(uars) == [
        ["LAM-Plus, one source", "Layer-Atn, one source"],
        ["LAM-Plus, all sources", "Layer-Atn, all sources"],
    ]
    assert list(texts(differences)) == [
        "LAM-Plus, one source",
        "Layer-Atn, one source",
        "LAM-Plus, all sources",
    ]


def test_one_source_is_the_mean_of_all_and_is_compared_with_layer_atn(study):
    (table,) = tables_of(*study)
    _, uars, differences = source_tables(table)
    by_target = {}
    for n, target in enumerate(("x", "y")):
        one = [
            pooled(study, system=["lam_plus"], source=[s], target=[target])
            for s in ("a", "b")
        ]
        every = pooled(
            study, system=["layer_atn"], source=["a+b"], target=[target]
        )
        found = texts(uars)["LAM-Plus, one source"][n]
        assert found == written(mean_over(one))
        by_target[target] = mean_over(one, every)
        found = texts(differences)["LAM-Plus, one source"][n]
        assert found == written(by_target[target], "+")
    mean = np.mean([e.value for e in by_target.values()])
    found = texts(differences)["LAM-Plus, one source"][2]
    assert found.startswith(f"{100 * mean:+.1f} [")
    assert FIXED in differences.notes


def test_one_source_a_target_is_no_matrix(study):
    paths = [path for path in study if read_run(path).results["source"] == "a"]
    (table,) = tables_of(*paths)
    assert source_tables(table) == []


def test_without_layer_atn_from_all_there_are_no_differences(study):
    paths = [
        path for path in study if read_run(path).results["system"] == "lam_plus"
    ]
    (table,) = tables_of(*paths)
    assert len(source_tables(table)) == 2


def test_they_print(study):
    (table,) = tables_of(*study)
    for printed in source_tables(table):
        assert "LAM-Plus" in to_markdown(printed)
        check_latex(to_latex(printed))
