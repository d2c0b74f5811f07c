"""Training that a signal stops after its step, with a checkpoint."""

from __future__ import annotations

import speechbrain as sb

from lam_sb.processes import gather_lists, process_rank
from lam_sb.stopping import Stopped, stop_asked, stop_deferred

AGREE_EVERY = 20  # steps after which several processes ask each other


class StoppableBrain(sb.Brain):
    """Ends a step, saves and stops where `lam_sb.stopping` asks for it."""

    def fit(self, *args, **kwargs) -> None:
        """Fit; validation, and saving after it, are finished too.

        Raises
        ------
        Stopped
            A signal asked for it; the checkpoint is that of an unbroken run.
        """
        with stop_deferred():
            super().fit(*args, **kwargs)

    def _should_save_intra_epoch_ckpt(self, *since) -> bool:
        """Stop here, after a whole step, or see whether one is to be saved."""
        if self._must_stop():
            if self.checkpointer is not None:
                self._save_intra_epoch_ckpt()
            raise Stopped
        return super()._should_save_intra_epoch_ckpt(*since)

    def _must_stop(self) -> bool:
        """Whether any process was asked to; all stop after the same step."""
        if process_rank()[1] > 1 and self.optimizer_step % AGREE_EVERY:
            return False
        return any(gather_lists([stop_asked()]))
