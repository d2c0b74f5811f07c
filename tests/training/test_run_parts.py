"""Runs made of runs: seeds averaged, sources left out, a first run."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
import yaml
from conftest import EMOTIONS, HPARAMS, read_table
from domain_rows import rows
from runs import results_of
from speechbrain.utils.run_opts import RunOptions

from lam_sb.errors import UserError
from lam_sb.evaluation.calibration import fit_temperature, with_temperature
from lam_sb.evaluation.results import read_run, write_predictions
from lam_sb.files import write_checked
from lam_sb.losses.confusion import MinimumClassConfusion
from lam_sb.run import load_run
from lam_sb.run_parts import FIRST, parts_of, set_emotions


def posteriors_of(folder):
    rows = read_table(folder / "predictions.csv")
    return np.array([[float(row[e]) for e in EMOTIONS] for row in rows])


def test_seeds_are_averaged(train_on, tmp_path):
    folder = train_on("left", "right", seeds_averaged=2, seed=3)
    seeds = [folder / f"seed_{n}" for n in (6, 7)]
    means = [posteriors_of(path) for path in seeds]
    assert not np.allclose(*means)
    assert np.allclose(posteriors_of(folder), np.mean(means, 0), atol=2e-9)
    results, parts = results_of(folder), [results_of(path) for path in seeds]
    shares = [part["layer_share"]["1"] for part in parts]
    assert results["layer_share"]["1"] == pytest.approx(np.mean(shares))
    assert (results["seed"], results["seeds_averaged"]) == (3, 2)
    assert results["seconds"] >= sum(part["seconds"] for part in parts)
    # Each is what a run of that seed gives.
    alone = train_on("left", "right", seed=7, output_root=tmp_path / "alone")
    assert np.array_equal(posteriors_of(alone), means[1])
    assert results_of(alone)["settings_hash"] == parts[1]["settings_hash"]


def test_a_run_of_runs_goes_on_where_it_was(train_on):
    folder = train_on("left", "right", seeds_averaged=2)
    before = posteriors_of(folder)
    shutil.rmtree(folder / "seed_1")
    shutil.rmtree(folder / "save/seed_1")
    (folder / "results.json").unlink()
    kept = (folder / "save/seed_0/tested.safetensors").stat().st_mtime_ns
    train_on("left", "right", seeds_averaged=2)
    assert np.array_equal(posteriors_of(folder), before)
    weights = folder / "save/seed_0/tested.safetensors"
    assert weights.stat().st_mtime_ns == kept


def test_posteriors_are_calibrated_on_left_out_sources(train_on):
    keys = {"calibrate": "temperature", "seeds_averaged": 2}
    folder = train_on("[left, third]", "right", **keys)
    plain = train_on(
        "[left, third]", "right", seeds_averaged=2, experiment="plain"
    )
    left_out = {}
    for corpus, rest in (("left", "third"), ("third", "left")):
        path = folder / f"without_{corpus}/results.json"
        found = json.loads(path.read_text())
        assert (found["source"], found["target"]) == (rest, corpus)
        assert found["seeds_averaged"] == 2
        left_out[corpus] = read_run(path)
    results = results_of(folder)
    temperature = fit_temperature(
        [(run.labels, run.posteriors) for run in left_out.values()]
    )
    assert results["temperature"] == pytest.approx(temperature)
    expected = with_temperature(posteriors_of(plain), temperature)
    assert np.allclose(posteriors_of(folder), expected, atol=1e-8)
    before = results_of(plain)
    assert (before["temperature"], before["uncalibrated"]) == (None, None)
    assert results["uar"] == before["uar"]
    for key in ("ece", "brier", "confidence"):
        assert results["uncalibrated"][key] == pytest.approx(before[key])
    assert results["ece"] != before["ece"]


def test_lam_plus_confuses_no_classes_of_the_target(train_on):
    keys = {"seeds_averaged": 1, "max_steps": 30, "gamma": 20, "lr": 0.01}
    folder = train_on("left", "right", "lam_plus", **keys)
    results = results_of(folder)
    assert results["alignment"] == "MinimumClassConfusion"
    assert results["normalise"] == "residual"
    keys |= {"gamma": 0, "experiment": "plain"}
    plain = train_on("left", "right", "lam_plus", **keys)
    confusions = [
        MinimumClassConfusion()(torch.tensor(posteriors_of(path) + 1e-9).log())
        for path in (folder, plain)
    ]
    assert confusions[0] < confusions[1] - 0.01


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"source": "left"}, "takes two or more"),
        (
            {"source": "[left, third]", "bound": "oracle"},
            "calibrate: temperature has no meaning for a bound",
        ),
        (
            {"source": "[left, third]", "target_test": "mine.json"},
            "target_test names a manifest of your own",
        ),
        (
            {"source": "left", "calibrate": "none", "bound": "within"}
            | {"normalise": "residual"},
            "normalise: residual has no meaning for a bound",
        ),
        (
            {"source": "left", "calibrate": "none", "seeds_averaged": 4}
            | {"seed": 2**30},
            r"it takes one from 0 to 1073741823",
        ),
    ],
)
def test_what_cannot_be_made_of_runs_is_refused(keys, said, train_on):
    keys = {"protocol": "speakers", "calibrate": "temperature"} | keys
    with pytest.raises(UserError, match=said):
        train_on(keys.pop("source"), "right", **keys)


def test_other_labels_for_each_seed_are_not_averaged(train_on):
    keys = {"target_shots": 1, "hold_out_shots": True, "seeds_averaged": 2}
    with pytest.raises(UserError, match="each seed draws other target labels"):
        train_on("left", "right", "few_shot", **keys)


def test_a_left_out_source_is_read_by_its_own_manifests(three, wavlm, tmp_path):
    keys = {"data_folder": str(three), "output_root": str(tmp_path)}
    keys |= {"encoder_source": str(wavlm), "target": "right"}
    keys |= {"source": "left+third", "calibrate": "temperature"}
    hparams, _ = load_run(
        str(HPARAMS / "small/layer_atn.yaml"), RunOptions(), keys
    )
    first, second = parts_of(hparams, "temperature")
    folder = f"{tmp_path}/manifests/transductive-0-0-0"
    assert first["source_train"] == f"{folder}/third/train.json"
    assert first["target_train"] == f"{folder}/left/test.json"
    assert second["target_test"] == f"{folder}/third/test.json"
    assert second["valid"] == f"{folder}/left/valid.json"


def test_a_temperature_of_unfinished_runs_is_mended(train_on):
    keys = {"calibrate": "temperature", "max_steps": 2}
    folder = train_on("[left, third]", "right", **keys)
    path = folder / "without_left/results.json"
    whole = json.loads(path.read_text())
    before = results_of(folder)
    # As if it had been looked at before it was finished.
    other = before | {"temperature": 9.0, "ece": 0.0, "finished": False}
    write_checked(folder / "results.json", other)
    train_on("[left, third]", "right", **keys)
    mended = results_of(folder)
    for key in ("temperature", "ece", "finished", "uncalibrated"):
        assert mended[key] == before[key]
    assert whole["finished"] is True


def relabel(three, tmp_path):
    """Corpora whose target has other labels."""
    data = tmp_path / "relabelled"
    data.mkdir()
    for name in ("left", "third"):
        (data / name).symlink_to(three / name)
    shutil.copytree(three / "right", data / "right")
    path = data / "right/labels.csv"
    turned = dict(zip(EMOTIONS, EMOTIONS[1:] + EMOTIONS[:1], strict=True))
    lines = path.read_text().splitlines()
    swapped = []
    for line in lines:
        words = [turned.get(word, word) for word in line.split(",")]
        swapped.append(",".join(words))
    path.write_text("\n".join(swapped) + "\n")
    return data


@pytest.mark.parametrize("protocol", ["transductive", "speakers"])
def test_residual_means_read_no_label_of_the_target(
    protocol, train_on, three, tmp_path
):
    keys = {"normalise": "residual", "protocol": protocol, "max_steps": 1}
    folder = train_on("left", "right", **keys)
    data = relabel(three, tmp_path)
    other = tmp_path / "other"
    again = train_on(
        "left", "right", data_folder=data, output_root=other, **keys
    )
    assert np.array_equal(posteriors_of(folder), posteriors_of(again))
    tables = [read_table(path / "predictions.csv") for path in (folder, again)]
    for row, turned in zip(*tables, strict=True):
        assert row["label"] != turned["label"]
    # The first run has tested the training rows too.
    tested, named = (
        {row["id"] for row in read_table(path / "predictions.csv")}
        for path in (folder, folder / "first")
    )
    assert tested < named if protocol == "speakers" else tested == named
    settings = yaml.safe_load((folder / "first/settings.yaml").read_text())
    assert settings["normalise"] == FIRST
    expected = "target_train" + " + test_rows" * (protocol == "transductive")
    assert results_of(folder)["adapts_on"] == f"{expected} + test_speakers"


@pytest.mark.parametrize(
    ("system", "keys"),
    [
        ("layer_atn", {"hold_out_shots": True}),
        ("few_shot", {"target_shots": 1, "hold_out_shots": True}),
        ("layer_atn", {"target": "[right, third]"}),
        ("layer_atn", {"select_on": "target", "protocol": "speakers"}),
        ("ensemble", {}),
    ],
)
def test_a_first_run_tests_every_row_that_is_read(system, keys, train_on):
    keys = {"normalise": "residual", "target": "right"} | keys
    if system != "ensemble":
        keys["max_steps"] = 1
    target = keys.pop("target")
    folder = train_on("left", target, system, **keys)
    first = folder / "first"
    if target != "right":
        folder, first = folder / "third", first / "third"
    tested, named = (
        {row["id"] for row in read_table(path / "predictions.csv")}
        for path in (folder, first)
    )
    assert tested <= named
    if "hold_out_shots" in keys:
        assert tested < named


def test_the_targets_emotions_are_those_of_the_first_run(tmp_path):
    source, train, test = rows(8), rows(6, seed=1), rows(4, seed=2)
    both = rows(6, seed=1)
    both.ids, both.labels = train.ids + test.ids, torch.arange(10) % 4
    both.speakers = both.clusters = ["s"] * 10
    posteriors = np.random.default_rng(0).dirichlet(np.ones(4), size=10)
    (tmp_path / "first").mkdir()
    write_predictions(
        tmp_path / "first/predictions.csv", both, posteriors, "right"
    )
    write_checked(tmp_path / "first/results.json", {"targets": ["right"]})
    hparams = {
        **{"output_folder": tmp_path, "save_folder": tmp_path / "save"},
        "targets": ["right"],
    }
    set_emotions(hparams, [[source]], [[train, test]])
    assert source.emotions.argmax(1).tolist() == source.labels.tolist()
    assert torch.equal(source.emotions.sum(1), torch.ones(8).double())
    for part, expected in ((train, posteriors[:6]), (test, posteriors[6:])):
        assert np.allclose(part.emotions, expected, atol=1e-8)


def test_debug_is_one_plain_run(three, wavlm, tmp_path):
    keys = {"data_folder": str(three), "output_root": str(tmp_path)}
    keys |= {"encoder_source": str(wavlm), "source": "left", "target": "right"}
    options = RunOptions(debug=True)
    hparams, _ = load_run(str(HPARAMS / "small/lam_plus.yaml"), options, keys)
    assert parts_of(hparams, hparams["calibrate"]) == []
