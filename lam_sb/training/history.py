"""What each epoch gave, kept in checkpoints and written as tables."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

import numpy as np
from speechbrain.utils.checkpoints import (
    mark_as_loader,
    mark_as_saver,
    register_checkpoint_hooks,
)

from lam_sb.errors import UserError
from lam_sb.files import DamagedError, read_checked, write_checked, write_csv
from lam_sb.training.finite import finite

FINISHED = "finished.json"
RATIO_STEPS = 50
PRINTED_EPOCHS = 25  # about, of a run whose number of steps is fixed
HISTORY_COLUMNS = ("epoch", "steps", "train_loss", "valid_loss", "valid_uar")
LAYER_COLUMNS = (
    *("epoch", "layer", "alpha", "share", "coral", "floor"),
    *("trace_source", "trace_target"),
)


@register_checkpoint_hooks
class History:
    """What each epoch gave; a checkpoint keeps it, so that a resumed run does.

    ``epochs`` holds one entry a finished epoch, ``current`` the unfinished one.
    """

    def __init__(self):
        self.epochs: list[dict] = []
        self.current: dict = {}

    @mark_as_saver
    def save(self, path: Path) -> None:
        """Write as JSON."""
        Path(path).write_text(json.dumps([self.epochs, self.current]))

    @mark_as_loader
    def load(self, path: Path, end_of_epoch: bool) -> None:
        """Read what `save` wrote."""
        self.epochs, self.current = json.loads(Path(path).read_text())

    def write_finished(self, folder: str | Path, **length: int) -> None:
        """Write into a run's ``save`` what a finished one needs of its history.

        Arguments
        ---------
        folder : str | Path
            Gets finished.json.
        **length : int
            Values by the keys that say how far it was trained at most.
        """
        content = {**length, "epochs": len(self.epochs)}
        content["history"] = [self.epochs, self.current]
        write_checked(Path(folder) / FINISHED, content)

    def is_ratio_due(self, steps: int) -> bool:
        """Tell whether the gradient ratio, as slow as a step, is measured now.

        In the first epoch, and in each that begins `RATIO_STEPS` steps or more
        after the end of the last with one.
        """
        measured = [e["steps"] for e in self.epochs if "gradient_ratio" in e]
        return not measured or steps - measured[-1] >= RATIO_STEPS

    def finish_epoch(self, entry: dict) -> dict:
        """Close the current epoch with its number, steps, losses and UAR.

        Raises
        ------
        UserError
            A loss is not finite.
        """
        for name in ("train_loss", "valid_loss"):
            what = f"after {entry.get('steps')} steps its {name} is"
            finite(entry.get(name, 0.0), entry["epoch"], what)
        self.epochs.append(entry | self.current)
        self.current = {}
        return self.epochs[-1]

    def best_epoch(self) -> int:
        """Epoch of the lowest validation loss."""
        return min(self.epochs, key=lambda e: e["valid_loss"])["epoch"]

    def last_epochs(self, steps: int) -> list[int]:
        """Epochs that ended within the last optimiser steps, one at least."""
        end = self.epochs[-1]["steps"]
        return [
            entry["epoch"]
            for entry in self.epochs
            if entry["steps"] > end - steps or entry is self.epochs[-1]
        ]

    def describe(self, chosen: Sequence[int]) -> dict:
        """Say what was learned, and for how long.

        Arguments
        ---------
        chosen : Sequence[int]
            Epochs whose weights are tested.

        Returns
        -------
        dict
            Part of results.json; of the chosen epochs the mean validation UAR
            and, by layer number, the mean weight and share.
        """
        entries = [self.epochs[epoch - 1] for epoch in chosen]
        layers = [e["layers"] for e in entries]
        means = {
            column: {
                str(rows[0]["layer"]): float(np.mean([r[column] for r in rows]))
                for rows in zip(*layers, strict=True)
            }
            for column in ("alpha", "share")
        }
        return {
            "layer_weights": means["alpha"],
            "layer_share": means["share"],
            "valid_uar": mean(e["valid_uar"] for e in entries),
            "epochs": len(self.epochs),
            "steps": self.epochs[-1]["steps"],
            "best_epoch": self.best_epoch(),
        }

    def is_printed(self, max_steps: int | None, steps_per_epoch: int) -> bool:
        """Tell whether the last epoch has a line on the console.

        Of many short ones some have, about 25; train_log.txt has them all.
        """
        entry = self.epochs[-1]
        if max_steps is None or entry["steps"] >= max_steps:
            return True
        epochs = math.ceil(max_steps / steps_per_epoch)
        return entry["epoch"] % math.ceil(epochs / PRINTED_EPOCHS) == 0

    def write(self, folder: Path) -> None:
        """Write history.csv and layer_weights.csv.

        Arguments
        ---------
        folder : Path
            Gets history.csv, a line for each epoch, and layer_weights.csv, a
            line for each mixed layer in each epoch.
        """
        rows = [
            {"epoch": entry["epoch"]} | row
            for entry in self.epochs
            for row in entry.get("layers", ())
        ]
        write_csv(folder / "history.csv", HISTORY_COLUMNS, self.epochs)
        write_csv(folder / "layer_weights.csv", LAYER_COLUMNS, rows)


def read_finished(folder: str | Path) -> dict:
    """Read what `History.write_finished` wrote; empty if it is not there.

    Raises
    ------
    UserError
        It is damaged.
    """
    path = Path(folder) / FINISHED
    try:
        return read_checked(path) if path.is_file() else {}
    except DamagedError as error:
        raise UserError(
            f"{error}. Remove {path.parent} to train anew."
        ) from error


def tested_rules(select_on: str) -> list[str]:
    """Ways of choosing the weights whose scores results.json holds.

    The result's own first; then those that need no target label, where they
    are known.

    Example
    -------
    >>> tested_rules("last"), tested_rules("target")
    (['last', 'source'], ['target', 'last'])
    """
    rules = [*dict.fromkeys((select_on, "last", "source"))]
    if select_on == "target":
        rules.remove("source")  # the validation set was the target's
    return rules
