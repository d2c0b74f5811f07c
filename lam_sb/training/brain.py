"""The Brain's base: epochs, early stopping, weights to test, and logs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import speechbrain as sb
import torch
from speechbrain.utils.logger import get_logger
from torch import nn
from torch.utils.data import DataLoader

from lam_sb.corpora.manifests import EMOTIONS
from lam_sb.errors import UserError
from lam_sb.evaluation.metrics import uar
from lam_sb.losses.cross_entropy import (
    balanced_weights,
    weighted_cross_entropy,
)
from lam_sb.losses.prototypes import class_means, prototype_logits
from lam_sb.processes import process_rank
from lam_sb.training.alignment import (
    AlignmentInputs,
    aligns_embeddings,
    call_alignment,
    unwrap,
)
from lam_sb.training.finite import FiniteLosses
from lam_sb.training.history import History
from lam_sb.training.keeping import KeepingBrain
from lam_sb.training.layer_log import (
    epoch_stats,
    gradient_ratio,
    measure_layers,
    warn_of_silent_layers,
)
from lam_sb.training.recorded import RecordedSteps
from lam_sb.training.rows import Batch, Outputs
from lam_sb.training.stoppable import StoppableBrain

if TYPE_CHECKING:  # its import warns, before the console is quiet
    from speechbrain.utils.train_logger import TrainLogger

logger = get_logger(__name__)

PROGRESS_STEPS = 50  # an epoch of fewer has no progress bar


class AlignmentBrain(StoppableBrain, KeepingBrain, RecordedSteps, FiniteLosses):
    """Trains, stops, keeps weights and logs for a Brain of two domains.

    Its subclass computes outputs and loss. Its modules are ``projector``,
    ``pooling`` and ``head``, and ``alignment`` where that loss learns; the YAML
    file ``hparams/lam_gl_wavlm.yaml`` explains its hparams. With ``fit:
    episodes`` the head gives embeddings, and a row is classified by the nearest
    prototype: the support's in an episode, those of `prepare_fit` otherwise.
    """

    def prepare_fit(
        self,
        train_loader: DataLoader,
        source_labels: Sequence[torch.Tensor],
        class_weight: str,
        select_on: str,
        max_steps: int | None,
        min_steps: int,
        average_last_steps: int,
        train_logger: TrainLogger,
        prototype_loaders: Sequence[DataLoader] = (),
    ) -> None:
        """Tell the brain what it will be fitted on, and for how long.

        Arguments
        ---------
        train_loader : DataLoader
            Batches of both domains, from a `DualDomainSampler`.
        source_labels : Sequence[torch.Tensor]
            (N,) labels of each source's training rows, for class weights.
        class_weight : str
            ``balanced`` or ``none``; an episode is balanced already.
        select_on : str
            Rule that chooses the weights: ``last`` never stops early.
        max_steps, min_steps : int
            Optimiser steps at most, or None, and before early stopping counts.
        average_last_steps : int
            The weights of the epochs that end within so many optimiser steps
            from the last are kept for the rule ``last``.
        train_logger : TrainLogger
            Gets a line for each epoch.
        prototype_loaders : Sequence[DataLoader]
            Labelled rows of which ``fit: episodes`` makes prototypes: the
            source's training rows and, for the test alone, the target's shots,
            whose prototypes count as much as the source's.
        """
        self.select_on = select_on
        self.max_steps = max_steps
        self.average_last_steps = average_last_steps
        self.train_logger = train_logger
        self.prototype_loaders = list(prototype_loaders)
        hparams = self.hparams
        self.classifies_target = hparams.bound == "oracle" or aligns_embeddings(
            hparams.alignment, hparams.gamma
        )
        self.history = History()
        self.train_sampler = train_loader.batch_sampler
        self.steps_per_epoch = len(train_loader)
        if max_steps is not None:
            self.optimizer_step_limit = max_steps
        hparams.epoch_counter.limit_warmup = min_steps // self.steps_per_epoch
        weight = torch.ones(len(EMOTIONS))
        if class_weight == "balanced" and not self._in_episodes():
            if hparams.balance == "rows":  # of all sources as of one
                source_labels = [torch.cat([*source_labels])]
            weight = balanced_weights(source_labels, len(EMOTIONS))
        self.class_weight = weight.to(self.device)
        if self.checkpointer is not None:
            self.checkpointer.add_recoverable("history", self.history)
            self.checkpointer.add_recoverable("dataloader-TRAIN", train_loader)

    def fit(self, *args, **kwargs) -> None:
        """Fit; with ``--test_only``, load what was trained and stop."""
        if self.test_only:
            self.on_fit_start()
        bar = self.steps_per_epoch >= PROGRESS_STEPS and not self.noprogressbar
        super().fit(*args, progressbar=bar, **kwargs)

    def init_optimizers(self) -> None:
        """Weight decay on weight matrices only, not on biases or scores."""
        decayed, others = [], []
        for name, parameter in self.modules.named_parameters():
            is_matrix = parameter.ndim > 1 and not name.endswith("bias")
            (decayed if is_matrix else others).append(parameter)
        self.optimizer = self.opt_class(
            [{"params": decayed}, {"params": others, "weight_decay": 0.0}]
        )
        self.optimizers_dict = {"opt_class": self.optimizer}
        if self.checkpointer is not None:
            self.checkpointer.add_recoverable("optimizer", self.optimizer)

    def on_fit_batch_start(self, batch: Batch, should_step: bool) -> None:
        """Draw what follows from seed, epoch, step and process alone.

        So a resumed run draws what an unbroken one would, and no two processes
        share their dropout masks.
        """
        epoch = self.hparams.epoch_counter.current
        words = [self.hparams.seed, epoch, self.step, process_rank()[0]]
        state = np.random.SeedSequence(words).generate_state(1, np.uint64)
        torch.manual_seed(int(state[0]))

    def epochs(self) -> Iterator[int]:
        """Count epochs until all is over; SpeechBrain's counter forgets it."""
        counter = self.hparams.epoch_counter
        while counter.current < counter.limit and not self._finished():
            yield next(counter)

    def _finished(self) -> bool:
        if self.is_finished:
            return True
        ends = [entry["steps"] for entry in self.history.epochs[-1:]]
        over = self._optimizer_step_limit_exceeded
        over = over and ends == [self.optimizer_step]  # is validated too
        return over or self.is_patience_over()

    def _in_episodes(self) -> bool:
        return self.hparams.fit == "episodes"

    def _num_support(self) -> int:
        """Rows that a training batch begins with, and that are not scored."""
        shots = self.hparams.episode_shots if self._in_episodes() else 0
        return shots * len(EMOTIONS)

    def num_classified(self, batch: Batch, stage: sb.Stage) -> int:
        """Rows of a batch, from the first, that the head is needed for."""
        if stage == sb.Stage.TRAIN and not self.classifies_target:
            return batch.num_source
        return len(batch.labels)

    def classify(
        self, outputs: torch.Tensor, labels: torch.Tensor, stage: sb.Stage
    ) -> torch.Tensor:
        """Logits (B, 4) of the head's outputs (B, 4), or embeddings (B, e)."""
        if not self._in_episodes():
            return outputs
        if stage != sb.Stage.TRAIN:
            return prototype_logits(outputs, self.prototypes)
        n = self._num_support()
        prototypes = class_means(outputs[:n], labels[:n], len(EMOTIONS))
        return prototype_logits(outputs, prototypes)

    def cross_entropy(
        self, logits: torch.Tensor, labels: torch.Tensor, stage: sb.Stage
    ) -> torch.Tensor:
        """Cross-entropy, a scalar; the outputs of validation are kept."""
        n = self._num_support() if stage == sb.Stage.TRAIN else 0
        labels = labels[: len(logits)]
        if stage != sb.Stage.TRAIN:
            self.outputs.append((logits.detach(), labels))
        return weighted_cross_entropy(logits[n:], labels[n:], self.class_weight)

    def alignment_inputs(
        self, outputs: Outputs, batch: Batch
    ) -> AlignmentInputs:
        """Give what an alignment may ask for of a batch."""
        return AlignmentInputs(
            outputs,
            batch,
            unwrap(self.modules.pooling),
            self._anchored(),
            self._num_support(),
        )

    def align(
        self,
        alignment: Callable | None,
        inputs: AlignmentInputs,
        align_sources: bool = False,
    ) -> torch.Tensor:
        """Alignment loss of a batch, a scalar; 0 where gamma is 0.

        That is the mean over each source with each target and, if
        ``align_sources``, each two sources.
        """
        if not self.hparams.gamma:
            return torch.zeros((), device=self.device)
        if "alignment" in self.modules:
            alignment = self.modules["alignment"]
        elif isinstance(alignment, nn.Module) and [*alignment.parameters()]:
            hint = "add to the YAML's modules alignment: !ref <alignment>"
            raise UserError(f"alignment: it has weights to learn; {hint}")
        losses = [
            call_alignment(alignment, pair)
            for pair in inputs.pairs(align_sources)
        ]
        return sum(losses) / len(losses)

    def _anchored(self) -> list[int]:
        """Positions of the anchored layers among those mixed."""
        layers = self.hparams.layers
        anchored = self.hparams.anchored_layers
        return [layers.index(n) for n in anchored if n in layers]

    def log_layers(
        self,
        inputs: AlignmentInputs,
        entropy: torch.Tensor,
        alignment: torch.Tensor,
    ) -> None:
        """Measure on an epoch's first batch what the alignment does."""
        if self.step != 1:
            return
        self.history.current = {}
        if self.history.is_ratio_due(self.optimizer_step):
            weight = unwrap(self.modules.projector).weight
            self.history.current["gradient_ratio"] = gradient_ratio(
                alignment, entropy, weight, self._anchored()
            )
        layers = self.history.current["layers"] = measure_layers(
            [pair.mixed_layers for pair in inputs.pairs(align_sources=False)],
            unwrap(self.modules.pooling).alpha,
            self.hparams.layers,
            self.hparams.scale,
        )
        epochs = self.history.epochs
        warned = any(entry.get("warned") for entry in epochs)
        if epochs and self.hparams.gamma and not warned:
            first, anchored = epochs[0]["layers"], self.hparams.anchored_layers
            warned = warn_of_silent_layers(first, layers, anchored)
            self.history.current["warned"] = warned

    def on_stage_start(self, stage: sb.Stage, epoch: int | None = None) -> None:
        """Collect the outputs of validation anew."""
        super().on_stage_start(stage, epoch)
        self.outputs: list[tuple[torch.Tensor, torch.Tensor]] = []
        if stage == sb.Stage.VALID and self._in_episodes():
            self._make_prototypes(self.prototype_loaders[:1])

    def _make_prototypes(self, loaders: Sequence[DataLoader]) -> None:
        """Mean over the loaders of their rows' class means."""
        self.modules.eval()
        chunks, means = self.hparams.time_chunks, []
        for loader in loaders:
            embeddings, labels = [], []
            for batch in loader:
                batch = batch.to(self.device)
                with torch.no_grad(), self.evaluation_ctx:
                    mask = batch.mask[:, :chunks]
                    z = self.modules.projector(batch.x[:, :chunks], mask)
                    pooled = self.modules.pooling(z)
                    embeddings.append(self.modules.head(pooled, mask))
                labels.append(batch.labels)
            x, y = torch.cat(embeddings).float(), torch.cat(labels)
            means.append(class_means(x, y, len(EMOTIONS)))
        self.prototypes = torch.stack(means).mean(0)

    def on_stage_end(
        self, stage: sb.Stage, stage_loss: float, epoch: int | None = None
    ) -> None:
        """After validation: log, count for early stopping, save."""
        if stage == sb.Stage.TRAIN:
            self.train_loss = self.read_losses(stage_loss)
        if stage != sb.Stage.VALID:
            return
        parts = zip(*self.outputs, strict=True)
        logits, labels = (torch.cat(part).cpu() for part in parts)
        loss = weighted_cross_entropy(logits, labels, self.class_weight.cpu())
        entry = self.history.finish_epoch(
            {
                "epoch": epoch,
                "steps": self.optimizer_step,
                "train_loss": float(self.train_loss),
                "valid_loss": float(loss),
                "valid_uar": uar(labels.numpy(), logits.argmax(-1).numpy()),
            }
        )
        self._log_epoch(entry)
        if self.select_on != "last":
            self.hparams.epoch_counter.update_metric(entry["valid_loss"])
        self._save_epoch(epoch, entry["valid_loss"])

    def _log_epoch(self, entry: dict) -> None:
        self.train_logger.log_stats(
            {"epoch": entry["epoch"], "steps": entry["steps"]},
            train_stats={"loss": entry["train_loss"]},
            valid_stats=epoch_stats(entry, self.hparams.anchored_layers),
        )
        if self.history.is_printed(self.max_steps, self.steps_per_epoch):
            logger.info(
                f"Epoch {entry['epoch']}, {entry['steps']} steps: training "
                f"loss {entry['train_loss']:.3f}, validation loss "
                f"{entry['valid_loss']:.3f}, UAR {entry['valid_uar']:.3f}"
            )
