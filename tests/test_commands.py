"""The commands beside train.py."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import EMOTIONS, HPARAMS, read_table
from runs import relabelled

import lam_sb.commands
from lam_sb import __main__ as commands
from lam_sb.errors import UserError


@pytest.fixture
def analyse(system_keys, encoders, tmp_path) -> Callable[..., Path]:
    """Analyse the demo's corpora; give the analysis folder."""

    def make(family: str = "wavlm", **keys) -> Path:
        path = str(HPARAMS / f"lam_gl_{family}.yaml")
        pairs = system_keys(family) | keys
        given = [f"--{key}={value}" for key, value in pairs.items()]
        commands.main(["analyse", path, *given])
        name = encoders[family].name
        return tmp_path / f"results/analysis/{name}/msp_podcast-biic_podcast"

    return make


def test_layers_are_selected_by_an_analysis_and_anchored(
    train_system, analyse, capsys
):
    with pytest.raises(UserError, match="make them first"):
        train_system("lam_gl", anchor_layers="group")
    folder = analyse()
    out = capsys.readouterr().out
    selection = json.loads((folder / "selection.json").read_text())
    assert f"group: {selection['group']} (in " in out
    assert selection["use_target_labels"] is True
    for rule, count in (("group", 3), ("best", 1), ("worst", 3)):
        results, _ = train_system("lam_gl", anchor_layers=rule, experiment=rule)
        assert results["anchor_rule"] == rule
        assert results["anchor_layers"] == selection[rule]
        assert len(selection[rule]) == count
        assert results["target_labels_used"] == results["n_train_target"]
    left, _ = train_system(
        "layer_drop", anchor_layers="group", experiment="left"
    )
    assert left["layers"] == [
        n for n in range(1, 13) if n not in selection["group"]
    ]
    vowels, _ = train_system(
        "lam_gl_vowl", anchor_layers="worst", experiment="vowels"
    )
    assert vowels["anchor_layers"] == selection["vowels"]["worst"]
    drawn, _ = train_system(
        "lam_gl", anchor_layers="random:3", experiment="random"
    )
    assert drawn["anchor_rule"] == "random:3"
    assert drawn["target_labels_used"] == 0
    with pytest.raises(UserError, match="use_target_labels: True there, False"):
        train_system("lam_gl", anchor_layers="group", use_target_labels=False)


def test_an_analysis_stands_for_the_rows_that_a_run_finds(
    arguments, monkeypatch
):
    """A file that cannot be decoded leaves the features, not the data."""
    kept = {}

    def keep(source, target, *rest):
        kept.update(ids=target[0].ids, data=rest[-1])
        return {"stability": None, "group": [], "best": [], "worst": []}

    encode = lam_sb.commands.encode

    def lose_one(store, rows, device):
        rows, lost = encode(store, rows, device)
        ((corpus, target),) = rows["target_train"].items()
        target = dict([*target.items()][1:])
        return rows | {"target_train": {corpus: target}}, lost

    monkeypatch.setattr("lam_sb.commands.encode", lose_one)
    monkeypatch.setattr("lam_sb.commands.analyse_corpora", keep)
    commands.main(["analyse", *arguments(anchor_layers=None)])
    assert len(kept["ids"]) + 1 == kept["data"]["target_train"]["rows"] == 48


def test_the_analysis_leaves_curves_of_vowels_and_a_figure(analyse):
    analyse("whisper")
    folder = analyse()
    table = read_table(folder / "similarity.csv")
    assert {row["segment"] for row in table} == {
        *("utterance", "vowels", "consonants", "a", "ɛ", "ə", "i", "o", "u")
    }
    assert {row["emotion"] for row in table} == {*EMOTIONS, "all"}
    assert {int(row["layer"]) for row in table} == set(range(1, 13))
    assert {row["measure"].partition(":")[0] for row in table} == {
        *("centroid", "pairwise", "centred")
    }
    for row in table:
        assert -1 <= float(row["value"]) <= 1
        if row["low"]:
            assert -1 <= float(row["low"]) <= float(row["high"]) <= 1
    assert (folder / "figure1.png").stat().st_size > 10_000
    assert (folder / "figure1.pdf").read_bytes().startswith(b"%PDF")


def test_an_analysis_without_target_labels_sees_none(
    analyse, train_system, demo, tmp_path
):
    keys = {"use_target_labels": False, "target_rows": "all"}
    folder = analyse(**keys)
    true = (folder / "similarity.csv").read_text()
    for row in read_table(folder / "similarity.csv"):
        of_both = not row["measure"].endswith(":within_source")
        assert row["emotion"] == "all" or not of_both
    results, _ = train_system("lam_gl", anchor_layers="group", **keys)
    assert results["target_labels_used"] == 0
    data = relabelled(demo, tmp_path)
    analyse(data_folder=data, manifest_folder=tmp_path / "manifests", **keys)
    assert (folder / "similarity.csv").read_text() == true
