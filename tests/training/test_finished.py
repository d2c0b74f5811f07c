"""A finished run keeps what it tests: started again, or asked for more."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from runs import contents, folder_of, outcome, results_of, run
from safetensors.torch import load_file

import train
from lam_sb.errors import UserError
from lam_sb.files import write_checked
from lam_sb.tensors import save_tensors
from lam_sb.training import checkpoints
from lam_sb.training.weights import EpochWeights, weights_hash

TESTED = ["finished.json", "tested.safetensors"]
KEPT = ["finished.json", "inference.safetensors", "tested.safetensors"]


@pytest.fixture
def no_training(monkeypatch):
    def fit_batch(*args):
        raise AssertionError("it trains")

    monkeypatch.setattr(train.LamBrain, "fit_batch", fit_batch)


@pytest.fixture
def unbroken(arguments, tmp_path_factory) -> Path:
    """Folder of a finished run; the same for all tests, which only read."""
    root = tmp_path_factory.getbasetemp() / "finished"
    given = arguments(output_root=root)
    done = (folder_of(given) / "results.json").is_file()
    return folder_of(given) if done else run(given)


@pytest.fixture
def finished(unbroken, arguments) -> Path:
    """Folder of a finished run of `arguments()`."""
    return shutil.copytree(unbroken, folder_of(arguments()))


def saved(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "save").iterdir())


def test_only_what_is_tested_is_kept(unbroken):
    assert saved(unbroken) == KEPT
    kept = weights_hash(unbroken / "save")
    assert results_of(unbroken)["weights_hash"] == kept
    finished = json.loads((unbroken / "save/finished.json").read_text())
    limits = {"number_of_epochs": 2, "patience": 10, "epochs": 2}
    assert {key: finished[key] for key in limits} == limits
    assert [e["epoch"] for e in finished["history"][0]] == [1, 2]


@pytest.mark.parametrize("options", [(), ("--test_only",)])
def test_started_again_it_trains_nothing_and_stays(
    options, finished, arguments, no_training
):
    before = contents(finished)
    run(arguments("small/lam_gl.yaml", *options))
    assert contents(finished) == before


@pytest.mark.parametrize("options", [(), ("--test_only",)])
def test_its_results_come_again_from_what_it_keeps(
    options, unbroken, finished, arguments, no_training
):
    predictions = (finished / "predictions.csv").read_bytes()
    for name in ("predictions.csv", "results.json", "history.csv"):
        (finished / name).unlink()
    run(arguments("small/lam_gl.yaml", *options))
    assert outcome(finished) == outcome(unbroken)
    assert (finished / "predictions.csv").read_bytes() == predictions
    names = ("history.csv", "layer_weights.csv")
    for one, two in ((finished / n, unbroken / n) for n in names):
        assert one.read_bytes() == two.read_bytes()


def test_the_tested_numbers_are_those_of_the_weights_on_disk(
    finished, arguments
):
    """Another file of weights gives other posteriors."""
    before = (finished / "predictions.csv").read_bytes()
    (finished / "results.json").unlink()
    path = finished / "save/tested.safetensors"
    kept = load_file(path)
    last = max(name for name in kept if name.endswith("classifier.9.bias"))
    kept[last] += torch.tensor([0.5, 0.0, 0.0, 0.0]).half()
    save_tensors(path, kept, {"base": 2})
    run(arguments("small/lam_gl.yaml", "--test_only"))
    assert (finished / "predictions.csv").read_bytes() != before


@pytest.mark.parametrize("key", ["number_of_epochs", "patience"])
@pytest.mark.parametrize("results", [True, False])
@pytest.mark.parametrize("value", [1, 40])
def test_asked_for_other_training_it_says_what_to_do(
    key, value, results, arguments
):
    source = {"select_on": "source", "number_of_epochs": 2, "patience": 2}
    folder = run(arguments(**source))
    if not results:
        (folder / "results.json").unlink()
    before = contents(folder)
    with pytest.raises(UserError) as error:
        train.main(arguments(**source | {key: value}))
    allowed = f"{key} 2, not {value}: it keeps only what it tests"
    assert f"{folder} is finished, with {allowed}" in str(error.value)
    assert f"Use --{key} 2, or --experiment NAME" in str(error.value)
    assert contents(folder) == before


@pytest.mark.parametrize("key", ["max_steps", "min_steps"])
def test_other_steps_are_other_settings(key, finished, arguments):
    before = contents(finished)
    with pytest.raises(UserError) as error:
        train.main(arguments(**{key: 4}))
    assert "It is finished, and keeps only what it tests." in str(error.value)
    assert "--experiment NAME" in str(error.value)
    assert contents(finished) == before


def test_a_limit_that_stopped_nothing_may_be_another(arguments, monkeypatch):
    folder = run(arguments(max_steps=7, number_of_epochs=100))
    before = contents(folder)
    assert results_of(folder)["steps"] == 7
    for epochs in (2, 200):
        run(arguments(max_steps=7, number_of_epochs=epochs))
    assert contents(folder) == before


def test_without_its_weights_it_is_not_shortened(finished, arguments):
    shutil.rmtree(finished / "save")
    before = contents(finished)
    with pytest.raises(UserError, match="number_of_epochs 2, not 1"):
        train.main(arguments(number_of_epochs=1))
    assert contents(finished) == before  # said before training


def test_of_a_run_at_work_test_only_keeps_the_checkpoint(
    unbroken, arguments, monkeypatch
):
    with pytest.raises(UserError, match="no trained weights"):
        train.main(arguments("small/lam_gl.yaml", "--test_only"))
    fit_batch, calls = train.LamBrain.fit_batch, []

    def killed(self, batch):
        calls.append(1)
        if len(calls) > 7:  # in the second epoch of five steps
            raise KeyboardInterrupt
        return fit_batch(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(train.LamBrain, "fit_batch", killed)
        with pytest.raises(KeyboardInterrupt):
            train.main(arguments())
    folder = run(arguments("small/lam_gl.yaml", "--test_only"))
    assert results_of(folder)["steps"] == 5
    assert any(name.startswith("CKPT") for name in saved(folder))
    assert "finished.json" not in saved(folder)
    run(arguments())
    assert outcome(folder) == outcome(unbroken)
    assert saved(folder) == KEPT


def die_at(monkeypatch, module, name: str, call: int) -> None:
    """Stop in place of a call of a function, counted from 1."""
    function, calls = getattr(module, name), []

    def dying(*args, **kwargs):
        calls.append(1)
        if len(calls) == call:
            raise KeyboardInterrupt
        return function(*args, **kwargs)

    monkeypatch.setattr(module, name, dying)


@pytest.mark.parametrize(
    ("module", "name", "call"),
    [
        (EpochWeights, "keep_tested", 1),
        (train.LamBrain, "posteriors", 1),  # all that is kept is written
        (train.LamBrain, "posteriors", 2),
        (train.run_results, "leave_results", 1),
        (train.run_results, "keep_only_tested", 1),  # the results are left
    ],
)
def test_interrupted_at_its_end_it_is_as_unbroken(
    module, name, call, unbroken, arguments, monkeypatch
):
    with monkeypatch.context() as patch:
        die_at(patch, module, name, call)
        with pytest.raises(KeyboardInterrupt):
            train.main(arguments())
    folder = run(arguments())
    assert outcome(folder) == outcome(unbroken)
    one, two = (f / "predictions.csv" for f in (folder, unbroken))
    assert one.read_bytes() == two.read_bytes()
    assert contents(folder / "save") == contents(unbroken / "save")


@pytest.mark.parametrize("left", ["CKPT", "weights"])
def test_interrupted_while_it_clears_up_it_is_as_unbroken(
    left, unbroken, arguments, monkeypatch
):
    rmtree, made = shutil.rmtree, []

    def dying(path, **kwargs):
        path = Path(path)
        if path.name.startswith(left) and not (path / "CKPT.yaml").exists():
            made.append(path)
            raise KeyboardInterrupt
        rmtree(path, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.shutil, "rmtree", dying)
        with pytest.raises(KeyboardInterrupt):
            train.main(arguments())
    assert made[0].is_dir()
    folder = run(arguments())
    assert outcome(folder) == outcome(unbroken)
    assert contents(folder / "save") == contents(unbroken / "save")


def test_a_run_of_the_version_before_loses_nothing(arguments, monkeypatch):
    """It has a result of float32 weights, and its checkpoint."""
    with monkeypatch.context() as patch:
        patch.setattr(
            train.run_results, "keep_only_tested", lambda hparams: None
        )
        folder = run(arguments(number_of_epochs=2))
    for name in TESTED:
        (folder / "save" / name).unlink()
    results = results_of(folder)
    del results["weights_hash"], results["checksum"]
    write_checked(folder / "results.json", results)
    before = contents(folder)
    with monkeypatch.context() as patch:
        die_at(patch, train.LamBrain, "fit_batch", 1)
        run(arguments(number_of_epochs=2))
    after = contents(folder)
    assert {name: after[name] for name in before} == before
    run(arguments(number_of_epochs=3))  # with a checkpoint, it can go on
    assert results_of(folder)["epochs"] == 3
    assert saved(folder) == KEPT


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("save/tested.safetensors", "tested.safetensors is damaged"),
        ("save/finished.json", "finished.json is damaged"),
        ("settings.yaml", r"settings.yaml, .* is missing or damaged"),
    ],
)
@pytest.mark.parametrize("size", [0, 100])
def test_a_damaged_file_is_named(name, message, size, finished, arguments):
    path = finished / name
    path.write_bytes(path.read_bytes()[:size])
    before = contents(finished)
    with pytest.raises(UserError, match=message):
        train.main(arguments())
    assert contents(finished) == before


def test_weights_of_unknown_settings_are_not_tested_as_others(
    finished, arguments
):
    (finished / "settings.yaml").unlink()
    with pytest.raises(UserError, match="is missing or damaged"):
        train.main(arguments(gamma=0.01, lr=0.5))


@pytest.mark.parametrize("name", ["results.json", "predictions.csv"])
@pytest.mark.parametrize("size", [None, 50])
def test_a_table_that_is_lost_is_written_again(name, size, finished, arguments):
    whole, before = (finished / name).read_bytes(), outcome(finished)
    (finished / name).unlink()
    if size:
        (finished / name).write_bytes(whole[:size])
    run(arguments())
    assert outcome(finished) == before
