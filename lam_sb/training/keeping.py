"""What a run keeps: a checkpoint to resume from, and the weights it tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import speechbrain as sb
import torch
from speechbrain.utils.distributed import if_main_process, run_on_main
from torch.utils.data import DataLoader

from lam_sb.errors import UserError
from lam_sb.tensors import save_tensors
from lam_sb.training.finite import finite
from lam_sb.training.history import read_finished, tested_rules
from lam_sb.training.weights import EpochWeights, weights_hash

KEPT_PROTOTYPES = "prototypes.safetensors"  # of the epochs that are tested


class KeepingBrain(sb.Brain):
    """Saves after each epoch, and tests the weights that it keeps.

    A finished run has them and what each epoch gave, but no checkpoint: it is
    tested again, not trained.
    """

    is_finished = False

    def on_fit_start(self) -> None:
        """Resume from a checkpoint, or read what a finished run keeps."""
        super().on_fit_start()
        if self.checkpointer is None:
            return
        if self.checkpointer.find_checkpoint():
            self._count_again()
            return
        kept = read_finished(self.checkpointer.checkpoints_dir)
        if kept:
            self.history.epochs, self.history.current = kept["history"]
            self.is_finished = True

    def _count_again(self) -> None:
        """Let early stopping know the epochs of a checkpoint.

        SpeechBrain's checkpoints hold the epoch's number, but not which was the
        best.

        Raises
        ------
        UserError
            Under the keys of this run, training would have ended before.
        """
        counter, epochs = self.hparams.epoch_counter, self.history.epochs
        now, counter.best_limit = counter.current, 0
        counter.best_score = float("inf")
        for counter.current, entry in enumerate(epochs, start=1):
            if self.select_on != "last":
                counter.update_metric(entry["valid_loss"])
            over = counter.current >= counter.limit or self.is_patience_over()
            if over and counter.current < len(epochs):
                raise UserError(
                    f"{self.hparams.output_folder} has been trained for "
                    f"{len(epochs)} epochs; with number_of_epochs "
                    f"{counter.limit} and patience {counter.limit_to_stop} it "
                    f"would have ended after {counter.current}. Use the values "
                    "that it was begun with, or --experiment NAME for a folder "
                    "of its own."
                )
        counter.current = now

    def is_patience_over(self) -> bool:
        """Whether early stopping ends the training after this epoch."""
        counter = self.hparams.epoch_counter
        waited = counter.current - counter.best_limit
        warm = counter.current > counter.limit_warmup
        stops = self.select_on != "last" and warm
        return stops and waited >= counter.limit_to_stop

    def _save_epoch(self, epoch: int, loss: float) -> None:
        """Save a checkpoint to resume from, and the weights to test."""
        if self.checkpointer is None:
            return
        weights = self._weights()
        if if_main_process():
            weights.save(epoch)
        self.checkpointer.save_and_keep_only(
            meta={"valid_loss": loss}, num_to_keep=1
        )
        if if_main_process():
            last = self.history.last_epochs(self.average_last_steps)
            weights.keep_only({self.history.best_epoch(), *last})

    def _weights(self) -> EpochWeights:
        folder = self.checkpointer.checkpoints_dir
        return EpochWeights(folder, self.hparams.model)

    def keep_tested(self, rules: Sequence[str]) -> dict[str, list[int]]:
        """Choose the epochs to test, and keep their weights as they are tested.

        Arguments
        ---------
        rules : Sequence[str]
            As from `tested_rules`.

        Returns
        -------
        dict[str, list[int]]
            By rule, as from `chosen_epochs`.

        Raises
        ------
        UserError
            Nothing was trained, or weights are out of range.
        """
        chosen = {rule: self.chosen_epochs(rule) for rule in rules}
        if not self.is_finished:
            run_on_main(self._keep_tested, args=[chosen])
        return chosen

    def _keep_tested(self, chosen: dict[str, list[int]]) -> None:
        # Those that a result rests on alone, and the last of the others.
        whole = {epochs[-1] for epochs in chosen.values()}
        self._weights().keep_tested(whole, set().union(*chosen.values()))
        if not self.test_only:
            self.history.write_finished(
                self.checkpointer.checkpoints_dir,
                number_of_epochs=self.hparams.number_of_epochs,
                patience=self.hparams.patience,
            )

    def test_kept(
        self, loaders: Mapping[str, DataLoader], folder: Path
    ) -> tuple[dict[str, dict[str, np.ndarray]], dict]:
        """Test by each rule, and say in a folder what each epoch gave.

        Arguments
        ---------
        loaders : Mapping[str, DataLoader]
            Test rows in order, by target.
        folder : Path
            Gets history.csv and layer_weights.csv, unless for ``--debug``.

        Returns
        -------
        posteriors : dict[str, dict[str, np.ndarray]]
            (N, 4) by target and rule.
        learned : dict
            As from `learned`, of the run's own rule.
        """
        chosen = self.keep_tested(tested_rules(self.select_on))
        self.tested_prototypes: dict[int, torch.Tensor] = {}
        posteriors = {
            target: {r: self.posteriors(test, chosen[r]) for r in chosen}
            for target, test in loaders.items()
        }
        if if_main_process() and not self.debug:
            self.history.write(folder)
            self._keep_prototypes(chosen[self.select_on])
        return posteriors, self.learned(chosen[self.select_on])

    def _keep_prototypes(self, chosen: Sequence[int]) -> None:
        """Keep those of which a test classifies, in float32, by epoch."""
        if not self._in_episodes() or self.test_only:
            return
        kept = {f"{n:05d}": self.tested_prototypes[n].cpu() for n in chosen}
        path = Path(self.checkpointer.checkpoints_dir) / KEPT_PROTOTYPES
        save_tensors(path, kept)

    def learned(self, chosen: Sequence[int]) -> dict:
        """Say what was learned, by which weights, and where.

        Arguments
        ---------
        chosen : Sequence[int]
            Epochs whose weights are tested.

        Returns
        -------
        dict
            Part of results.json.
        """
        return self.history.describe(chosen) | {
            "tested_epochs": list(chosen),
            "finished": self.is_finished or not self.test_only,
            "weights_hash": weights_hash(self.checkpointer.checkpoints_dir),
            "device": str(self.device),
        }

    def chosen_epochs(self, select_on: str) -> list[int]:
        """Epochs whose posteriors are averaged for the test.

        Arguments
        ---------
        select_on : str
            ``last``: those of the last ``average_last_steps``; otherwise the
            one of the lowest validation loss.

        Returns
        -------
        list[int]
            One or more epochs, in order.

        Raises
        ------
        UserError
            Nothing was trained.
        """
        if not self.history.epochs:
            folder = self.hparams.output_folder
            raise UserError(f"{folder} holds no trained weights.")
        if select_on == "last":
            return self.history.last_epochs(self.average_last_steps)
        return [self.history.best_epoch()]

    def posteriors(
        self, loader: DataLoader, epochs: Sequence[int]
    ) -> np.ndarray:
        """Emotion posteriors, averaged over the weights of some epochs.

        Arguments
        ---------
        loader : DataLoader
            Rows in order.
        epochs : Sequence[int]
            Of those that `keep_tested` chose.

        Returns
        -------
        np.ndarray
            (N, 4) in float64, rows summing to 1.
        """
        total = torch.zeros((), dtype=torch.float64)
        for epoch in epochs:
            self._weights().load(epoch, self.device)
            self.modules.eval()
            if self._in_episodes():
                self._make_prototypes(self.prototype_loaders)
                self.tested_prototypes[epoch] = self.prototypes
            parts = []
            with torch.no_grad(), self.evaluation_ctx:
                for batch in loader:
                    logits = self.compute_forward(batch, sb.Stage.TEST).logits
                    parts.append(logits.double().softmax(-1).cpu())
            total = total + finite(torch.cat(parts), epoch)
        return (total / len(epochs)).numpy()
