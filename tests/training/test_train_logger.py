"""Another train logger than that of train_log.txt."""

from __future__ import annotations

import json

import pytest
from conftest import HPARAMS, read_table
from runs import run

LOGGER = """
import json
from speechbrain.utils.train_logger import TrainLogger


class ScalarLogger(TrainLogger):
    def __init__(self, path):
        self.path, self.lines = path, []

    def log_stats(self, stats_meta, train_stats=None, valid_stats=None, **_):
        # As TensorBoard's add_scalar does with each.
        parts = {**stats_meta, **train_stats}, valid_stats
        self.lines.append([{k: float(v) for k, v in p.items()} for p in parts])
        with open(self.path, "w") as file:
            json.dump(self.lines, file)
"""


def test_a_logger_of_scalars_is_given_numbers_alone(arguments, tmp_path):
    """Such as SpeechBrain's TensorboardLogger."""
    (tmp_path / "scalar_logger.py").write_text(LOGGER)
    text = (
        f"base: {HPARAMS / 'small/lam_gl.yaml'}\n"
        "train_logger: !new:scalar_logger.ScalarLogger\n"
        "    path: !ref <output_folder>/scalars.json\n"
    )
    (tmp_path / "board.yaml").write_text(text)
    given = arguments(number_of_epochs=2)
    folder = run([str(tmp_path / "board.yaml"), *given[1:]])
    lines = json.loads((folder / "scalars.json").read_text())
    history = read_table(folder / "history.csv")
    assert len(lines) == len(history) == 2
    for (said, valid), row in zip(lines, history, strict=True):
        assert said["epoch"] == float(row["epoch"])
        assert valid["loss"] == pytest.approx(float(row["valid_loss"]))
        assert {"UAR", "coral 1", "floor 2", "trace_source 1"} <= valid.keys()
    layers = read_table(folder / "layer_weights.csv")
    coral = {(r["epoch"], r["layer"]): float(r["coral"]) for r in layers}
    assert lines[1][1]["coral 2"] == pytest.approx(coral["2", "2"])
    assert not (folder / "train_log.txt").exists()
