"""Training that diverges ends with a sentence that names the epoch."""

from __future__ import annotations

import speechbrain as sb
import torch

from lam_sb.errors import UserError


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
    """Ends training where SpeechBrain's patience with its losses ends."""

    def check_loss_isfinite(self, loss: torch.Tensor) -> None:
        """Count losses of an epoch that are not finite.

        Raises
        ------
        UserError
            There are more than ``--nonfinite_patience``.
        """
        try:
            super().check_loss_isfinite(loss)
        except ValueError:
            epoch = self.hparams.epoch_counter.current
            what = f"after {self.optimizer_step} steps the losses are"
            raise diverged(epoch, what) from None
