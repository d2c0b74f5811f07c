"""Training that diverges ends with a sentence that names the epoch."""

from __future__ import annotations

import math

import speechbrain as sb
import torch

from lam_sb.errors import UserError

READ_TOGETHER = 50  # losses


def diverged(epoch: int, what: str) -> UserError:
    """Make the error of a training whose numbers are no longer finite."""
    return UserError(
        f"Training diverged in epoch {epoch}: {what} not finite. Use a lower "
        "lr or gamma, with --experiment NAME for a folder of its own."
    )


def finite(
    values: torch.Tensor, epoch: int, what: str = "posteriors of the test are"
) -> torch.Tensor:
    """Give values back, or name the epoch in which they are not finite."""
    if not torch.as_tensor(values).isfinite().all():
        raise diverged(epoch, what)
    return values


class FiniteLosses(sb.Brain):
    """Reads losses many at a time, and ends a training that diverges.

    Reading the loss of each step would make a GPU wait for it.
    """

    def on_stage_start(self, stage: sb.Stage, epoch: int | None = None) -> None:
        """Forget the losses of the stage before."""
        self._unread: list[torch.Tensor] = []

    def update_average(self, loss: torch.Tensor, avg_loss: float) -> float:
        """Mean loss of the epoch's steps, as far as they have been read."""
        if not self.modules.training:
            return super().update_average(loss, avg_loss)
        self._unread.append(loss)
        if len(self._unread) < READ_TOGETHER:
            return avg_loss
        return self.read_losses(avg_loss)

    def read_losses(self, average: float) -> float:
        """Mean loss of all steps of the epoch up to now.

        Arguments
        ---------
        average : float
            Of those that have been read.

        Returns
        -------
        float
            Without the losses that are not finite.

        Raises
        ------
        UserError
            More than ``--nonfinite_patience`` of the epoch are not finite.
        """
        losses = torch.stack(self._unread).tolist() if self._unread else []
        first = self.step - len(losses) + 1
        for step, loss in enumerate(losses, start=first):
            if math.isfinite(loss):
                average -= average / step
                average += loss / step
            else:
                self.nonfinite_count += 1
        self._unread = []
        if self.nonfinite_count > self.nonfinite_patience:
            epoch = self.hparams.epoch_counter.current
            what = f"after {self.optimizer_step} steps the losses are"
            raise diverged(epoch, what)
        return average

    def _save_intra_epoch_ckpt(self) -> None:
        self.avg_train_loss = self.read_losses(self.avg_train_loss)
        super()._save_intra_epoch_ckpt()
