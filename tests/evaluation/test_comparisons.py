from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import pytest
from made_up import Row, make_rows, make_run, make_seeds

from lam_sb.evaluation.catalogue import family_of, name_of
from lam_sb.evaluation.comparisons import (
    Column,
    cautions,
    make_tables,
)
from lam_sb.evaluation.results import read_run

COLUMN = Column("enc", "left", "right")
# P(T > sqrt 5) with 5 degrees of freedom, by the formula for odd ones: with
# theta = atan(sqrt 5 / sqrt 5) = pi / 4, 1/2 - (theta + sin theta cos theta
# (1 + 2/3 cos^2 theta)) / pi = 1/2 - (pi / 4 + 2 / 3) / pi.
P_ROOT_5 = 1 / 4 - 2 / (3 * math.pi)


def tables_of(*paths: Path, encoders=None):
    return make_tables([read_run(path) for path in paths], encoders)


@pytest.fixture
def seeds(tmp_path):
    return partial(make_seeds, tmp_path)


HALF = [("s00", 0), ("s01", 0), ("s02", 0)]  # neutral of three speakers of six
ALL = [(f"s{n:02d}", 0) for n in range(12)]  # neutral of every speaker


def test_a_difference_by_hand(seeds):
    # LAM-GL is faultless, CC misses neutral of 3 speakers of 6: UAR 7/8.
    # Without one of the 3 the recall is 3/5 and the difference 0.1, without
    # one of the others 2/5 and 0.15: SE^2 = 5/6 x 6 x 0.025^2 = 1/320, 5 df,
    # t = 0.125 / sqrt(1/320) = sqrt 5. Equal seeds add nothing.
    (table,), problems = tables_of(*seeds("lam_gl"), *seeds("cc", HALF))
    assert problems == []
    assert table.systems == ["cc", "lam_gl"]
    assert table.columns == [COLUMN]
    assert table.scores["cc", COLUMN].estimate.value == 7 / 8
    found = table.differences["cc", COLUMN]
    assert found.comparison.estimate.value == 1 / 8
    assert found.comparison.estimate.standard_error**2 == pytest.approx(1 / 320)
    assert found.comparison.estimate.df == pytest.approx(5)
    assert found.comparison.p_greater == pytest.approx(P_ROOT_5)
    assert found.p_holm == pytest.approx(P_ROOT_5)  # 0.0378
    assert found.mark == "**"
    assert ("lam_gl", COLUMN) not in table.differences


def test_holm_over_the_baselines_of_a_column(seeds):
    # Two equal ones: 2 x 0.0378 = 0.0756, which leaves one star. Three:
    # 0.113, none.
    paths = seeds("lam_gl") + seeds("cc", HALF) + seeds("pc", HALF)
    (table,), _ = tables_of(*paths)
    for system in ("cc", "pc"):
        found = table.differences[system, COLUMN]
        assert found.p_holm == pytest.approx(2 * P_ROOT_5)
        assert found.mark == "*"
    (table,), _ = tables_of(*paths, *seeds("pc_avg", HALF))
    for system in ("cc", "pc", "pc_avg"):
        found = table.differences[system, COLUMN]
        assert found.p_holm == pytest.approx(3 * P_ROOT_5)
        assert found.mark == ""


def test_families_are_apart(seeds):
    # An ablation, a control, a segment, a bound and another system: none of
    # them changes the baseline's p, and each is alone in its family.
    paths = seeds("lam_gl") + seeds("cc", HALF)
    others = ["lam_al", "layer_atn", "lam_gl_vowl", "mine"]
    for system in (*others, "within"):
        paths += seeds(system, HALF)
    (table,), _ = tables_of(*paths)
    found = table.differences
    assert found["cc", COLUMN].p_holm == pytest.approx(P_ROOT_5)
    for system in others:  # two-sided, without stars
        assert found[system, COLUMN].p_holm == pytest.approx(2 * P_ROOT_5)
        assert found[system, COLUMN].mark == ""
    assert math.isnan(found["within", COLUMN].p_holm)
    assert found["within", COLUMN].mark == ""


@pytest.mark.parametrize("speakers", [5, 6])
@pytest.mark.parametrize("count", [4, 5])
def test_few_speakers_or_seeds_get_no_marks(speakers, count, seeds):
    paths = seeds("lam_gl", speakers=speakers, count=count)
    paths += seeds("cc", ALL, speakers=speakers, count=count)
    (table,), _ = tables_of(*paths)
    found = table.differences["cc", COLUMN]
    assert found.p_holm == 0
    assert found.mark == "**" * (speakers == 6 and count == 5)


def test_the_smaller_number_of_seeds_counts(seeds):
    (table,), problems = tables_of(
        *seeds("lam_gl", count=6), *seeds("cc", ALL, count=4)
    )
    assert problems == []
    found = table.differences["cc", COLUMN]
    assert found.comparison.estimate.num_seeds == 4
    assert (found.p_holm, found.mark) == (0, "")
    assert table.scores["lam_gl", COLUMN].estimate.num_seeds == 6
    assert table.scores["cc", COLUMN].estimate.num_seeds == 4


def test_one_speaker_has_no_interval_and_no_test(seeds):
    (table,), _ = tables_of(
        *seeds("lam_gl", speakers=1), *seeds("cc", ALL, speakers=1)
    )
    assert math.isnan(table.scores["cc", COLUMN].estimate.low)
    found = table.differences["cc", COLUMN]
    assert found.comparison.estimate.value == 1 / 4
    assert math.isnan(found.p_holm)
    assert found.mark == ""


def test_a_missing_class(seeds):
    # Nobody is sad; without s01, nobody is angry either.
    rows = make_rows(6, takes=1, emotions=(0, 1))
    rows = sorted([*rows, Row("s01_2_0", "s01", "s01", 2)])
    (table,), _ = tables_of(*seeds("cc", [("s01", 2)], rows=rows))
    estimate = table.scores["cc", COLUMN].estimate
    assert estimate.value == pytest.approx(2 / 3)  # recalls 1, 1 and 0
    assert estimate.missing_class_deletions == 1
    assert "class missing" in cautions(estimate)


def test_unknown_speakers_are_clustered_as_the_predictions_say(seeds):
    rows = [
        Row(f"{n}_{label}", "unknown", f"podcast_{n}", label)
        for n in range(3)
        for label in range(4)
    ]
    (table,), _ = tables_of(*seeds("cc", rows=rows))
    assert table.scores["cc", COLUMN].estimate.num_clusters == 3


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("normalise", "source"),
        ("protocol", "speakers"),
        ("split_seed", 1),
        ("select_on", "source"),
        ("target_rows", "four"),
    ],
)
def test_each_protocol_has_its_table(key, value, seeds):
    paths = seeds("lam_gl") + seeds("cc", HALF)
    paths += seeds("cc", ALL, **{key: value, "experiment": "other"})
    (table, other), problems = tables_of(*paths)
    assert problems == []
    assert other.protocol == table.protocol | {key: value}
    assert table.scores["cc", COLUMN].estimate.value == 7 / 8
    assert other.scores["cc", COLUMN].estimate.value == 3 / 4
    assert other.differences == {}


def test_folds_are_put_together(seeds):
    # Those of the difference by hand, three speakers a fold.
    paths = seeds("lam_gl") + seeds("cc", HALF)
    (whole,), _ = tables_of(*paths)
    paths = []
    for fold, names in enumerate(
        (["s00", "s03", "s04"], ["s01", "s02", "s05"])
    ):
        keys = {"speakers": names, "folds": 2, "fold": fold}
        paths += seeds("lam_gl", **keys) + seeds("cc", HALF, **keys)
    (table,), problems = tables_of(*paths)
    assert problems == []
    assert table.protocol == whole.protocol | {"folds": 2}
    assert table.systems == whole.systems
    for system in table.systems:
        score = table.scores[system, COLUMN]
        assert score.estimate == whole.scores[system, COLUMN].estimate
        assert len(score.runs) == 10
    assert (
        table.differences["cc", COLUMN].comparison
        == whole.differences["cc", COLUMN].comparison
    )


def test_a_seed_without_all_folds_is_named_and_left_out(seeds):
    keys = {"folds": 2, "fold": 0, "speakers": ["a", "b"]}
    paths = seeds("cc", count=3, **keys)
    keys = {"folds": 2, "fold": 1, "speakers": ["c", "d"]}
    paths += seeds("cc", count=2, **keys)
    (table,), (problem,) = tables_of(*paths)
    assert table.scores["cc", COLUMN].estimate.num_seeds == 2
    assert str(paths[2]) in problem
    assert "of seed 2 there are the folds [0], not [0, 1]" in problem


def test_a_run_with_other_settings_is_named_and_left_out(seeds, tmp_path):
    paths = seeds("cc", HALF, count=2)
    odd = make_run(
        tmp_path, "cc", "left", "right", 2, settings={"lr": 0.5, "new": 1}
    )
    (table,), (problem,) = tables_of(*paths, odd)
    score = table.scores["cc", COLUMN]
    assert [run.path for run in score.runs] == paths
    assert str(odd) in problem
    assert f"other settings than {paths[0]} (lr, new)" in problem


def test_settings_that_nobody_wrote_are_no_others(seeds, tmp_path):
    paths = seeds("cc", HALF, count=2)
    paths[0].with_name("settings.yaml").unlink()
    (table,), problems = tables_of(*paths)
    assert problems == []
    odd = make_run(tmp_path, "cc", "left", "right", 2, settings={"lr": 0.5})
    (table,), (problem,) = tables_of(*paths, odd)
    assert table.scores["cc", COLUMN].estimate.num_seeds == 2
    assert f"other settings than {paths[1]} (lr)" in problem


def test_a_run_that_is_there_twice_is_named(seeds):
    paths = seeds("cc", count=2)
    (table,), (problem,) = tables_of(*paths, paths[1])
    assert table.scores["cc", COLUMN].estimate.num_seeds == 1
    assert "of seed 1 there are the folds [0, 0], not [0]" in problem


def test_an_oracle_choice_of_weights_is_in_no_table(seeds):
    paths = seeds("cc", select_on="target", count=1)
    tables, (problem,) = tables_of(*paths)
    assert tables == []
    assert problem.startswith(
        f"{paths[0]}: left out, for with select_on: target"
    )


def test_a_test_set_without_labels_is_in_no_table(seeds, tmp_path):
    rows = [Row("1", "a", "a", None)]
    path = make_run(tmp_path, "pc", "left", "right", 0, rows=rows)
    (table,), (problem,) = tables_of(path, *seeds("cc"))
    assert table.systems == ["cc"]
    assert problem == f"{path}: the labels of its test set are unknown."


def test_seeds_are_scored_on_the_rows_that_all_tested(tmp_path):
    # Seed 0 misses s00's neutral row, which seed 1 was not tested on.
    rows = make_rows(3, takes=1)
    guesses = [1, *(row.label for row in rows[1:])]
    keys = {"rows": rows, "predictions": guesses}
    paths = [make_run(tmp_path, "cc", "left", "right", 0, **keys)]
    keys = {"rows": rows[1:], "predictions": guesses[1:]}
    paths += [make_run(tmp_path, "cc", "left", "right", 1, **keys)]
    (table,), problems = tables_of(*paths)
    assert problems == []
    score = table.scores["cc", COLUMN]
    assert len(score.predictions.ids) == 11
    assert score.predictions.predictions.shape == (2, 11)
    assert score.estimate.value == 1


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (Row("s00_0_0", "s00", "s00", 3), "their labels are not the same"),
        (Row("s00_0_0", "s00", "x", 0), "their clusters are not the same"),
    ],
)
def test_seeds_that_do_not_agree_are_named(row, problem, tmp_path):
    rows = make_rows(3, takes=1)
    paths = [
        make_run(tmp_path, "cc", "left", "right", 0, rows=rows),
        make_run(tmp_path, "cc", "left", "right", 1, rows=[row, *rows[1:]]),
    ]
    tables, (found,) = tables_of(*paths)
    assert tables == []
    assert problem in found
    assert str(paths[0]) in found


def test_systems_without_a_shared_row_are_named(seeds):
    paths = seeds("lam_gl", speakers=["a", "b"])
    paths += seeds("cc", speakers=["c", "d"])
    (table,), (problem,) = tables_of(*paths)
    assert table.differences == {}
    assert "LAM-GL and cc, left → right, enc: " in problem


def test_within_stands_in_each_column_of_its_target(seeds):
    paths = seeds("lam_gl") + seeds("lam_gl", source="far")
    paths += seeds("lam_gl", source="right", target="left")
    paths += seeds("lam_gl", encoder="enc2")
    paths += seeds("layer_atn", HALF, source="right", bound="within")
    (table,), problems = tables_of(*paths)
    assert problems == []
    here = [COLUMN, Column("enc", "far", "right")]
    assert [c for s, c in table.scores if s == "within"] == here
    assert "layer_atn" not in table.systems
    assert Column("enc", "right", "right") not in table.columns
    for column in here:
        found = table.differences["within", column]
        assert found.comparison.estimate.value == 1 / 8


def test_within_without_any_source_is_a_column_of_its_own(seeds):
    (table,), _ = tables_of(*seeds("within", source="right"))
    assert table.columns == [Column("enc", "right", "right")]


@pytest.mark.parametrize(
    ("system", "keys", "row", "family", "name"),
    [
        ("layer_atn", {}, "layer_atn", "controls", "Layer-Atn"),
        (
            *("layer_atn", {"bound": "oracle"}, "oracle", "bounds"),
            "Layer-Atn, oracle",
        ),
        ("cc", {"bound": "oracle"}, "cc_oracle", "bounds", "cc_oracle"),
        ("few_shot", {}, "few_shot", "baselines", "Few-shot"),
        (
            *("few_shot", {"shots": 0}, "few_shot_0", "baselines"),
            "Few-shot, no target label",
        ),
        ("mine", {}, "mine", "others", "mine"),
        ("lam_gl", {}, "lam_gl", "reference", "LAM-GL"),
    ],
)
def test_what_uses_other_labels_has_a_row_of_its_own(
    system, keys, row, family, name, seeds
):
    (table,), _ = tables_of(*seeds(system, **keys))
    assert table.systems == [row]
    assert family_of(row) == family
    assert name_of(row) == name


def test_a_second_experiment_has_a_row_of_its_own(seeds):
    paths = seeds("lam_gl") + seeds("lam_gl", HALF, experiment="again")
    paths += seeds("cc", HALF) + seeds("cc", HALF, experiment="more")
    (table,), problems = tables_of(*paths)
    assert problems == []
    assert table.systems == ["cc", "lam_gl", "lam_gl (again)", "cc (more)"]
    assert name_of("cc (more)") == "CC (more)"
    # They are a family of their own, two tests, two-sided.
    assert table.differences["cc", COLUMN].p_holm == pytest.approx(P_ROOT_5)
    for system in ("lam_gl (again)", "cc (more)"):
        found = table.differences[system, COLUMN]
        assert found.p_holm == pytest.approx(4 * P_ROOT_5)


def test_rows_and_columns_are_in_order(seeds):
    paths = []
    for system in ("within", "mine", "layer_drop", "lam_bl", "lam_gl", "pc"):
        paths += seeds(system, count=1)
    paths += seeds("lam_gl", count=1, source="right", target="left")
    (table,), _ = tables_of(*paths)
    systems = ["pc", "lam_gl", "lam_bl", "layer_drop", "within", "mine"]
    assert table.systems == systems
    assert table.columns == [COLUMN, Column("enc", "right", "left")]


def test_encoders_are_named(seeds):
    paths = seeds("cc", count=1, encoder="some/where/wavlm-base-plus")
    (table,), _ = tables_of(*paths)
    assert table.columns[0].encoder == "wavlm-base-plus"
    names = {"some/where/wavlm-base-plus": "wavlm"}
    (table,), _ = tables_of(*paths, encoders=names)
    assert table.columns[0].encoder == "wavlm"
    assert table.columns[0].label == "left → right, wavlm"


def test_columns_of_a_direction_stand_side_by_side(tmp_path):
    paths = [
        make_run(tmp_path, "cc", source, target, 0, encoder=encoder)
        for encoder in ("x", "y")
        for source, target in (("a", "b"), ("b", "a"))
    ]
    tables, _ = make_tables(map(read_run, paths))
    assert tables[0].columns == [
        Column("x", "a", "b"),
        Column("y", "a", "b"),
        Column("x", "b", "a"),
        Column("y", "b", "a"),
    ]
