"""A run stopped, gone on with, or started again."""

from __future__ import annotations

import json
import shutil

import pytest
from conftest import EMOTIONS, read_table, write_table
from runs import folder_of, outcome, results_of, run, same_weights

import train
from lam_sb.errors import UserError


def interrupted(*args, **kwargs):
    """Stand for what Ctrl-C ends."""
    raise KeyboardInterrupt


def test_three_epochs_and_three_more_equal_six(arguments, monkeypatch):
    straight = run(arguments(number_of_epochs=6, experiment="straight"))
    with monkeypatch.context() as patch:
        patch.setattr(train.LamBrain, "posteriors", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train.main(arguments(number_of_epochs=3, experiment="halved"))
    halved = run(arguments(number_of_epochs=6, experiment="halved"))
    assert same_weights(straight, halved)
    one, two = outcome(straight), outcome(halved)
    for result in (one[0], two[0]):
        del result["experiment"], result["settings_hash"], result["files"]
    assert one == two
    tables = [(f / "layer_weights.csv").read_text() for f in (straight, halved)]
    assert tables[0] == tables[1]


@pytest.fixture
def three_epochs(arguments, tmp_path_factory):
    """Folder of a run of three epochs; the same for all tests."""
    given = arguments(
        output_root=tmp_path_factory.getbasetemp() / "three_epochs",
        number_of_epochs=3,
        experiment="straight",
    )
    done = (folder_of(given) / "results.json").is_file()
    return folder_of(given) if done else run(given)


@pytest.mark.parametrize("steps", [2, 7, 9])
def test_a_kill_in_mid_epoch_continues_bit_for_bit(
    steps, three_epochs, arguments, monkeypatch
):
    halved = arguments(
        "small/lam_gl.yaml",
        "--ckpt_interval_steps=1",
        number_of_epochs=3,
        experiment="halved",
    )
    done = 0
    fit_batch = train.LamBrain.fit_batch

    def killed(self, batch):
        nonlocal done
        done += 1
        if done > steps:
            raise KeyboardInterrupt
        return fit_batch(self, batch)

    monkeypatch.setattr(train.LamBrain, "fit_batch", killed)
    with pytest.raises(KeyboardInterrupt):
        train.main(halved)
    monkeypatch.undo()
    folder = run(halved)
    assert same_weights(three_epochs, folder)
    assert outcome(three_epochs)[1] == outcome(folder)[1]


def stopped_after(epochs, monkeypatch, given):
    """Kill a run before its test, or in the epoch after so many."""
    save = train.LamBrain._save_epoch

    def killed(self, epoch, loss):
        save(self, epoch, loss)
        if epoch == epochs:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train.LamBrain, "_save_epoch", killed)
        with pytest.raises(KeyboardInterrupt):
            train.main(given)


EARLY = {
    "select_on": "source",
    "max_steps": None,
    "min_steps": 0,
    "number_of_epochs": 12,
}


@pytest.mark.parametrize("killed_after", [2, 4])
@pytest.mark.parametrize("lr", [0.001, 0.3])
def test_early_stopping_counts_the_epochs_before_a_kill(
    killed_after, lr, arguments, monkeypatch
):
    keys = EARLY | {"patience": 2, "lr": lr}
    straight = run(arguments(**keys, experiment="straight"))
    epochs = results_of(straight)["epochs"]
    given = arguments(**keys, experiment="halved")
    stopped_after(min(killed_after, epochs), monkeypatch, given)
    assert outcome(run(given))[1] == outcome(straight)[1]
    assert results_of(folder_of(given))["epochs"] == epochs


def test_a_run_at_work_is_not_ended_earlier(arguments, monkeypatch):
    keys = EARLY | {"patience": 10}
    stopped_after(4, monkeypatch, arguments(**keys))
    shorter = arguments(**keys | {"number_of_epochs": 3})
    with pytest.raises(UserError, match=r"trained for 4 epochs; .* after 3"):
        train.main(shorter)
    folder = folder_of(arguments(**keys))
    assert not (folder / "results.json").exists()
    assert [*(folder / "save").glob("CKPT*")]
    assert results_of(run(arguments(**keys)))["epochs"] == 12


def test_a_look_at_a_run_at_work_is_no_finished_result(arguments, monkeypatch):
    keys = EARLY | {"patience": 10, "number_of_epochs": 4}
    straight = run(arguments(**keys, experiment="straight"))
    given = arguments(**keys, experiment="halved")
    stopped_after(4, monkeypatch, given)
    folder = run([*given, "--test_only"])
    assert results_of(folder)["finished"] is False
    run(given)
    assert results_of(folder)["finished"] is True
    assert outcome(folder)[1] == outcome(straight)[1]


def test_other_settings_in_the_same_folder_are_refused(arguments):
    folder = run(arguments())
    before = (folder / "results.json").read_bytes()
    with pytest.raises(UserError) as refused:
        train.main(arguments(gamma=50, lr=0.5))
    message = str(refused.value)
    assert "gamma: 0.5 there, 50 now" in message
    assert "lr: 0.001 there, 0.5 now" in message
    assert "--experiment NAME" in message
    assert "seed" not in message
    assert (folder / "results.json").read_bytes() == before


def test_a_result_of_other_data_is_left_as_it_is(arguments, corpora, tmp_path):
    folder = run(arguments())
    before = (folder / "results.json").read_bytes()
    # A corpus that moved is the same, and its finished result stays.
    moved = shutil.copytree(corpora, tmp_path / "moved")
    run(arguments(data_folder=moved))
    assert (folder / "results.json").read_bytes() == before
    table = moved / "left/labels.csv"
    rows = read_table(table)
    turned = dict(zip(EMOTIONS, EMOTIONS[1:] + EMOTIONS[:1], strict=True))
    for row in rows:
        row["emotion"] = turned[row["emotion"]]
    write_table(table, rows)
    with pytest.raises(UserError, match="the labels of source_train") as error:
        train.main(arguments(data_folder=moved))
    assert "--experiment NAME" in str(error.value)
    # Nor does another target of that name take the old one's place.
    table = moved / "right/labels.csv"
    write_table(table, read_table(table)[:-8])
    given = {"target_folder": moved / "right"}
    with pytest.raises(UserError, match=r"target_test \(48 there, 40 now"):
        train.main(arguments("small/lam_gl.yaml", "--test_only", **given))
    assert (folder / "results.json").read_bytes() == before


def test_mixed_precision_trains(arguments):
    made = arguments("small/lam_gl.yaml", "--precision=bf16")
    results = json.loads((run(made) / "results.json").read_text())
    assert 0 <= results["uar"] <= 1
    with pytest.raises(UserError, match="precision: 'bf16' there, None now"):
        run(arguments())
