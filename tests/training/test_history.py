"""What each epoch gave: kept, described, written."""

from __future__ import annotations

import pytest
from conftest import read_table

from lam_sb.training.history import (
    HISTORY_COLUMNS,
    LAYER_COLUMNS,
    History,
)


def layer(number: int, alpha: float, share: float) -> dict:
    others = {"coral": 2.5, "floor": 0.5}
    others |= {"trace_source": 3.0, "trace_target": 4.0}
    return {"layer": number, "alpha": alpha, "share": share} | others


@pytest.fixture
def history() -> History:
    """Three epochs of layers 2 and 5."""
    made = History()
    for epoch, (loss, uar, alpha) in enumerate(
        [(0.9, 0.25, 0.5), (0.4, 0.75, 0.25), (0.6, 0.5, 0.125)], start=1
    ):
        layers = [layer(2, alpha, alpha / 2), layer(5, 1 - alpha, 0.875)]
        made.current = {"layers": layers, "gradient_ratio": 0.1}
        losses = {"train_loss": 1.5, "valid_loss": loss}
        entry = {"epoch": epoch, "steps": 7 * epoch, "valid_uar": uar}
        assert made.finish_epoch(entry | losses)["layers"] == layers
        assert made.current == {}
    return made


def test_it_knows_the_best_and_the_last_epochs(history):
    assert history.best_epoch() == 2
    assert history.last_epochs(14) == [2, 3]  # of 7 steps each
    assert history.last_epochs(8) == [2, 3]
    assert history.last_epochs(7) == [3]
    assert history.last_epochs(1) == [3]
    assert history.last_epochs(99) == [1, 2, 3]


def test_of_many_short_epochs_some_are_printed():
    made, printed = History(), []
    for epoch in range(1, 501):
        made.finish_epoch({"epoch": epoch, "steps": 2 * epoch})
        if made.is_printed(max_steps=1000, steps_per_epoch=2):
            printed.append(epoch)
        assert made.is_printed(max_steps=None, steps_per_epoch=2)
    assert printed == [*range(20, 501, 20)]


def test_what_was_learned_is_the_mean_over_the_chosen_epochs(history):
    assert history.describe([2, 3]) == {
        "layer_weights": {"2": (0.25 + 0.125) / 2, "5": (0.75 + 0.875) / 2},
        "layer_share": {"2": (0.125 + 0.0625) / 2, "5": 0.875},
        "valid_uar": (0.75 + 0.5) / 2,
        "epochs": 3,
        "steps": 21,
        "best_epoch": 2,
    }
    one = history.describe([1])
    assert one["layer_weights"] == {"2": 0.5, "5": 0.5}
    assert one["valid_uar"] == 0.25
    assert one["epochs"] == 3


def test_it_is_written_as_two_tables(history, tmp_path):
    history.write(tmp_path)
    table = read_table(tmp_path / "history.csv")
    assert tuple(table[0]) == HISTORY_COLUMNS
    assert [tuple(row.values()) for row in table] == [
        ("1", "7", "1.5", "0.9", "0.25"),
        ("2", "14", "1.5", "0.4", "0.75"),
        ("3", "21", "1.5", "0.6", "0.5"),
    ]
    table = read_table(tmp_path / "layer_weights.csv")
    assert tuple(table[0]) == LAYER_COLUMNS
    assert [(row["epoch"], row["layer"], row["alpha"]) for row in table] == [
        *(("1", "2", "0.5"), ("1", "5", "0.5")),
        *(("2", "2", "0.25"), ("2", "5", "0.75")),
        *(("3", "2", "0.125"), ("3", "5", "0.875")),
    ]
    assert table[0]["coral"] == "2.5"
    assert table[0]["trace_target"] == "4.0"


def test_a_checkpoint_brings_it_back(history, tmp_path):
    history.current = {"gradient_ratio": 0.3}
    history.save(tmp_path / "history")
    again = History()
    again.load(tmp_path / "history", end_of_epoch=False)
    assert again.epochs == history.epochs
    assert again.current == {"gradient_ratio": 0.3}


def test_the_gradient_ratio_is_measured_once_in_fifty_steps():
    history, measured = History(), []
    for epoch in range(1, 15):
        begins = 12 * (epoch - 1)
        if history.is_ratio_due(begins):
            measured.append(epoch)
            history.current["gradient_ratio"] = 0.5
        entry = {"epoch": epoch, "steps": 12 * epoch}
        history.finish_epoch(entry | {"train_loss": 1.0, "valid_loss": 1.0})
    # The first ends at step 12; the sixth begins at 60, the seventh at 72.
    assert measured == [1, 7, 13]
