"""Another train logger of SpeechBrain's than that of train_log.txt."""

from __future__ import annotations

import pytest
from conftest import HPARAMS, read_table
from runs import run
from tensorboard.backend.event_processing.event_accumulator import (
    EventAccumulator,
)


def test_tensorboard_takes_the_place_of_the_log(arguments, tmp_path):
    text = (
        f"base: {HPARAMS / 'small/lam_gl.yaml'}\n"
        "train_logger: "
        "!new:speechbrain.utils.train_logger.TensorboardLogger\n"
        "    save_dir: !ref <output_folder>/tensorboard\n"
    )
    (tmp_path / "board.yaml").write_text(text)
    given = arguments(number_of_epochs=2)
    folder = run([str(tmp_path / "board.yaml"), *given[1:]])
    board = EventAccumulator(str(folder / "tensorboard")).Reload()
    history = read_table(folder / "history.csv")
    losses = [event.value for event in board.Scalars("loss/valid")]
    expected = [float(row["valid_loss"]) for row in history]
    assert losses == pytest.approx(expected, rel=1e-5)
    assert {"UAR/valid", "coral 1/valid", "loss/train"} <= {
        *board.Tags()["scalars"]
    }
    assert not (folder / "train_log.txt").exists()
