"""Labels of the target, in systems that may see some or none."""

from __future__ import annotations

import json

import pytest
from conftest import EMOTIONS, read_table
from runs import relabelled, same_weights

from lam_sb.errors import UserError


@pytest.mark.parametrize("system", ["few_shot", "pc", "ensemble"])
def test_target_labels_change_nothing(system, train_system, demo, tmp_path):
    keys = {"target_shots": 0} if system == "few_shot" else {}
    true, folder = train_system(system, **keys)
    keys |= {"data_folder": relabelled(demo, tmp_path), "experiment": "other"}
    keys["manifest_folder"] = tmp_path / "manifests"
    other, changed = train_system(system, **keys)
    assert true["shots"] == other["shots"] == 0
    assert true["target_labels_used"] == 0
    tables = [read_table(f / "predictions.csv") for f in (folder, changed)]
    assert tables[0] != tables[1]
    for row in [*tables[0], *tables[1]]:
        del row["label"]
    assert tables[0] == tables[1]  # only the truth was changed
    if system != "ensemble":
        assert same_weights(folder, changed)


@pytest.mark.parametrize("protocol", ["speakers", "transductive"])
def test_five_shots_are_twenty_labels_that_nobody_is_tested_on(
    protocol, train_system, tmp_path
):
    keys = {"protocol": protocol, "manifest_folder": tmp_path / "manifests"}
    used, tested = [], []
    for seed in (0, 1):
        results, folder = train_system("few_shot", seed=seed, **keys)
        table = read_table(folder / "predictions.csv")
        assert results["shots"] == 5
        assert results["target_labels_used"] == len(results["shot_ids"]) == 20
        used.append(results["shot_ids"])
        tested.append({row["id"] for row in table})
        assert tested[-1].isdisjoint(results["shot_ids"])
        manifest = json.loads(
            (
                tmp_path
                / "manifests/biic_podcast"
                / ("train.json" if protocol == "speakers" else "test.json")
            ).read_text()
        )
        assert [manifest[i]["emo"] for i in results["shot_ids"]] == [
            e for e in EMOTIONS for _ in range(5)
        ]
        if protocol == "transductive":
            left = round(0.2 * results["n_train_target"])
            assert results["n_test"] == len(manifest) - left
    assert used[0] != used[1]  # another draw
    assert tested[0] == tested[1]
    _, folder = train_system("cc", hold_out_shots=True, **keys)
    everyone = {r["id"] for r in read_table(folder / "predictions.csv")}
    assert everyone == tested[0]
    _, none = train_system(
        "few_shot", target_shots=0, experiment="none", **keys
    )
    _, five = train_system("few_shot", experiment="five", **keys)
    assert same_weights(none, five)  # shots only move the prototypes
    tables = [read_table(f / "predictions.csv") for f in (none, five)]
    assert tables[0] != tables[1]


def test_bounds_use_target_labels_and_say_so(train_system, tmp_path):
    within, _ = train_system("layer_atn", bound="within", experiment="within")
    assert within["source"] == within["target"] == "biic_podcast"
    assert within["target_labels_used"] > within["n_train_source"]
    assert within["bound"] == "within"
    oracle, told = train_system(
        "layer_atn", bound="oracle", experiment="oracle"
    )
    plain, untold = train_system("layer_atn")
    assert oracle["target_labels_used"] == oracle["n_train_target"]
    assert plain["target_labels_used"] == 0
    assert not same_weights(told, untold)
    assert oracle["n_test"] == within["n_test"] == plain["n_test"]
    voted, _ = train_system("ensemble", bound="oracle", experiment="voted")
    assert voted["target_labels_used"] == oracle["n_train_target"]
    for bound in ("within", "oracle"):
        with pytest.raises(UserError, match="tested here; use protocol"):
            train_system(
                "layer_atn",
                bound=bound,
                protocol="transductive",
                experiment=f"{bound}_refused",
                manifest_folder=tmp_path / "manifests",
            )
