"""Rows of one table differ in their systems alone, or it is said."""

from __future__ import annotations

import math
from functools import partial

import pytest
from conftest import HPARAMS
from made_up import make_run, make_seeds
from speechbrain.utils.run_opts import RunOptions

from lam_sb.evaluation.comparisons import Column, make_tables
from lam_sb.evaluation.results import read_run
from lam_sb.evaluation.run_settings import differing_keys
from lam_sb.run import load_run
from lam_sb.study.report.notes import differing_note
from lam_sb.study.report.score_tables import score_tables

COLUMN = Column("enc", "left", "right")
ALL = [(f"s{n:02d}", 0) for n in range(12)]  # neutral of every speaker
TRAIN = {"rows": 8, "ids": "i", "labels": "l"}
DATA = {"store": "enc-1", "source_train": TRAIN, "target_test": TRAIN}


def tables_of(*paths):
    return make_tables([read_run(path) for path in paths])


@pytest.fixture
def seeds(tmp_path):
    return partial(make_seeds, tmp_path)


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"settings": {"lr": 0.5}}, "lr: 0.5, not 0.001"),
        ({"settings": {"label_map": {"w": "sad"}}}, None),  # of one alone
        ({"number_of_epochs": 1}, "number_of_epochs: 1, not 70"),
        (
            {"settings": {"data": DATA | {"store": "enc-2"}}},
            "the feature store (enc-1 there, enc-2 now)",
        ),
        (
            {
                "settings": {
                    "data": DATA | {"source_train": TRAIN | {"labels": "m"}}
                }
            },
            "the labels of source_train",
        ),
        ({"settings": {"mix_layers": "top", "head": "!new:mine"}}, None),
        (
            {"settings": {"head": "!new:H\n  dim: !ref <dim>\n  blocks: 9"}},
            "head !new:H blocks: 9, not 2",
        ),
        ({"settings": {"head": "!new:H\n  heads: 9\n  blocks: 2"}}, None),
        ({"settings": {"head": "!new:G\n  blocks: 9"}}, None),
        ({"settings": {"data": None}}, "data of CC unknown"),
    ],
)
def test_a_row_that_differs_in_more_than_its_system_gets_no_star(
    keys, text, seeds
):
    head = "!new:H\n  dim: !ref <dim>\n  blocks: 2"
    settings = {"data": DATA, "head": head}
    own = {"number_of_epochs": 70, "settings": settings}
    lam_gl = seeds("lam_gl", **own)
    given = own | keys
    given["settings"] = own["settings"] | keys.get("settings", {})
    (table,), problems = tables_of(*lam_gl, *seeds("cc", ALL, **given))
    assert problems == []
    found = table.differences["cc", COLUMN]
    if text is None:
        assert table.differing == {}
        assert found.mark == "**"
        return
    assert table.differing == {("cc", COLUMN): [text]}
    assert found.mark == ""
    assert math.isnan(found.p_holm)
    uars, differences = score_tables(table, paper=False)
    for printed in (uars, differences):
        assert printed.caption.startswith(
            f"{printed.title} Not comparable: beside the system, these rows "
            f"differ from LAM-GL and get no marks: CC ({text})."
        )


def test_rows_that_are_alike_are_corrected_without_those_that_are_not(seeds):
    paths = seeds("lam_gl") + seeds("cc", ALL)
    paths += seeds("pc", ALL, settings={"max_steps": 1})
    paths += seeds("pc_atn", ALL, settings={"lr": 0.5})
    (table,), _ = tables_of(*paths)
    assert table.differences["cc", COLUMN].mark == "**"
    assert {key[0] for key in table.differing} == {"pc_atn"}
    note = differing_note(table, table.scores)
    assert note.endswith("get no marks: PC-Atn (lr: 0.5, not 0.001).")


def test_without_lam_gl_the_first_row_is_what_others_differ_from(seeds):
    paths = seeds("cc") + seeds("pc", settings={"lr": 0.5})
    (table,), _ = tables_of(*paths)
    note = differing_note(table, table.scores)
    assert "differ from CC and get no marks: PC (lr: 0.5" in note


def test_seeds_of_a_row_share_their_data_and_length(seeds, tmp_path):
    own = {"number_of_epochs": 70, "settings": {"data": DATA}}
    paths = seeds("cc", count=2, **own)
    make = partial(make_run, tmp_path, "cc", "left", "right")
    other = DATA | {"target_test": TRAIN | {"labels": "m"}}
    paths.append(make(2, number_of_epochs=70, settings={"data": other}))
    paths.append(make(3, number_of_epochs=1, settings={"data": DATA}))
    (table,), problems = tables_of(*paths)
    assert table.scores["cc", COLUMN].estimate.num_seeds == 2
    assert [text.rpartition("(")[2] for text in problems] == [
        "the labels of target_test).",
        "number_of_epochs).",
    ]


def test_folds_have_data_of_their_own(seeds):
    paths = []
    for fold, name in enumerate("ab"):
        data = DATA | {"source_train": TRAIN | {"ids": name}}
        keys = {"folds": 2, "fold": fold, "settings": {"data": data}}
        for system in ("lam_gl", "cc"):
            paths += seeds(system, speakers=[name], count=1, **keys)
    (table,), problems = tables_of(*paths)
    assert problems == []
    assert table.differing == {}


def test_each_fold_has_the_anchors_that_were_selected_on_it(seeds):
    paths = []
    for fold, name in enumerate("ab"):
        layers = [fold + 1, fold + 3]
        settings = {"anchor_layers": "worst", "anchored_layers": layers}
        keys = {"folds": 2, "fold": fold, "settings": settings}
        paths += seeds("lam_wl", speakers=[name], count=3, **keys)
    (table,), problems = tables_of(*paths)
    assert problems == []
    assert table.scores["lam_wl", COLUMN].estimate.num_seeds == 3
    text = paths[-1].with_name("settings.yaml").read_text()
    changed = text.replace("- 4\n", "- 3\n")
    assert changed != text
    paths[-1].with_name("settings.yaml").write_text(changed)
    problems = tables_of(*paths)[1]
    assert "settings than" in problems[0]
    assert problems[0].endswith("(anchored_layers).")


def test_alignment_of_another_strength_is_said(seeds):
    paths = seeds("lam_gl", ALL) + seeds("lam_bl", settings={"gamma": 3})
    paths += seeds("layer_atn")  # aligns nothing
    (table,), _ = tables_of(*paths)
    assert table.differing == {("lam_bl", COLUMN): ["gamma: 3, not 0.5"]}
    assert table.differences["lam_bl", COLUMN].mark == ""
    assert table.differences["layer_atn", COLUMN].mark == "†"


def test_settings_that_are_gone_may_differ_in_anything(seeds):
    lam_gl, cc, pc = seeds("lam_gl"), seeds("cc", ALL), seeds("pc", ALL)
    cc[2].with_name("settings.yaml").unlink()
    (table,), problems = tables_of(*lam_gl, *cc, *pc)
    assert problems == []
    assert table.differing == {("cc", COLUMN): ["settings of CC unknown"]}
    found = {key[0]: table.differences[key].mark for key in table.differences}
    assert found == {"cc": "", "pc": "**"}
    lam_gl[0].with_name("settings.yaml").unlink()
    (table,), _ = tables_of(*lam_gl, *pc)
    assert table.differing == {("pc", COLUMN): ["settings of LAM-GL unknown"]}


def test_a_bound_trains_on_other_labels_and_may(seeds):
    lam_gl = seeds("lam_gl", settings={"data": DATA})
    data = DATA | {"source_train": TRAIN | {"ids": "j"}}
    other = {"data": data, "source_options": {"a": 1}}
    for keys, differs in ((other, False), (other | {"lr": 1}, True)):
        name = f"within{differs}"
        within = seeds("within", settings=keys, experiment=name)
        (table,), _ = tables_of(*lam_gl, *within)
        assert (("within", COLUMN) in table.differing) == differs


@pytest.mark.parametrize(
    "system", ["few_shot", "ensemble", "pc_avg", "lam_gl_vowl", "layer_drop"]
)
def test_our_own_systems_differ_in_nothing_else(system, encoders, tmp_path):
    keys = {"data_folder": "x", "output_root": str(tmp_path)}
    keys |= {"encoder_source": str(encoders["wavlm"])}
    lam_gl, other = (
        load_run(str(HPARAMS / f"{name}_wavlm.yaml"), RunOptions(), keys)[1]
        for name in ("lam_gl", system)
    )
    assert differing_keys(lam_gl, other, "none") == {}
    other["weight_decay"] = lam_gl["weight_decay"] = 0
    lam_gl["batch_size"] = other["batch_size"] = 3
    other["split_seed"] = 9
    assert list(differing_keys(lam_gl, other, "none")) == ["split_seed"]
