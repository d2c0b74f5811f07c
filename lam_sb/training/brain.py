"""The Brain: classification of the source plus alignment of the domains."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import speechbrain as sb
import torch
from safetensors.torch import load_file, save_file
from speechbrain.utils.checkpoints import (
    mark_as_loader,
    mark_as_saver,
    register_checkpoint_hooks,
)
from speechbrain.utils.distributed import if_main_process
from speechbrain.utils.logger import get_logger
from torch import nn
from torch.utils.data import DataLoader

from lam_sb.corpora.manifests import EMOTIONS
from lam_sb.errors import UserError
from lam_sb.evaluation.metrics import uar
from lam_sb.files import whole_file
from lam_sb.losses.adversary import DomainAdversary
from lam_sb.losses.coral import coral_distances
from lam_sb.losses.cross_entropy import balanced_weights, weighted_cross_entropy
from lam_sb.losses.phonetic import PhoneticAnchor
from lam_sb.losses.prototypes import class_means, prototype_logits
from lam_sb.training.data import Batch
from lam_sb.training.gather import gather_batch

logger = get_logger(__name__)

HISTORY_COLUMNS = ("epoch", "steps", "train_loss", "valid_loss", "valid_uar")
LAYER_COLUMNS = (
    "epoch",
    "layer",
    "alpha",
    "share",
    "coral",
    "floor",
    "trace_source",
    "trace_target",
)
SHARE_WARNING = 0.2  # of the anchored layers' share at the start


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

    def best_epoch(self) -> int:
        """Epoch of the lowest validation loss."""
        return min(self.epochs, key=lambda e: e["valid_loss"])["epoch"]

    def last_epochs(self, count: int) -> list[int]:
        """Return the last epochs."""
        return [e["epoch"] for e in self.epochs[-count:]]


@dataclass
class Outputs:
    """What a batch gives.

    Arguments
    ---------
    logits : torch.Tensor
        (B, 4)
    head : torch.Tensor
        (B, 4), the logits, or (B, e), the embeddings behind them.
    segments : torch.Tensor
        (B, S, M, d) projected segments of each mixed layer.
    """

    logits: torch.Tensor
    head: torch.Tensor
    segments: torch.Tensor


class LamBrain(sb.Brain):
    """Trains and tests every system that has the projector and the head.

    Its modules are ``projector``, ``pooling`` and ``head``, and ``alignment``
    where that loss learns; its hparams are explained in
    ``hparams/lam_gl_wavlm.yaml``. With ``fit: episodes``, the head gives
    embeddings, and a row is classified by the nearest prototype: the support's
    in an episode, those of `prepare_fit` otherwise.
    """

    def fit(self, *args, **kwargs) -> None:
        """Fit; with ``--test_only``, load what was trained and stop."""
        if self.test_only:
            self.on_fit_start()
        super().fit(*args, **kwargs)

    def on_fit_start(self) -> None:
        """Resume, and know again where training stood."""
        super().on_fit_start()
        if self.hparams.max_steps is not None:
            self.optimizer_step_limit = self.hparams.max_steps

    def prepare_fit(
        self,
        train_loader: DataLoader,
        source_labels: torch.Tensor,
        prototype_loaders: Sequence[DataLoader] = (),
    ) -> None:
        """Tell the brain what it will be fitted on.

        Arguments
        ---------
        train_loader : DataLoader
            Batches of both domains, from a `DualDomainSampler`.
        source_labels : torch.Tensor
            (N,) labels of the source's training rows, for class weights.
        prototype_loaders : Sequence[DataLoader]
            Labelled rows of which ``fit: episodes`` makes prototypes: the
            source's training rows and, for the test alone, the target's shots,
            whose prototypes count as much as the source's.
        """
        self.prototype_loaders = list(prototype_loaders)
        self.history = History()
        self.train_sampler = train_loader.batch_sampler
        steps = len(train_loader)
        self.hparams.epoch_counter.limit_warmup = (
            self.hparams.min_steps // steps
        )
        count = len(EMOTIONS)
        weight = (
            balanced_weights(source_labels, count)
            if self.hparams.class_weight == "balanced"
            and not self._in_episodes()
            else torch.ones(count)
        )
        self.class_weight = weight.to(self.device)
        if self.checkpointer is not None:
            self.checkpointer.add_recoverable("history", self.history)
            self.checkpointer.add_recoverable("dataloader-TRAIN", train_loader)

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

    def epochs(self) -> Iterator[int]:
        """Count epochs until training is over, also when resumed then.

        SpeechBrain's counter forgets on resuming that it had stopped.
        """
        counter = self.hparams.epoch_counter
        while counter.current < counter.limit and not self._finished():
            yield next(counter)

    def _finished(self) -> bool:
        counter = self.hparams.epoch_counter
        if self.hparams.select_on == "last":
            return self._optimizer_step_limit_exceeded
        waited = counter.current - counter.best_limit
        return self._optimizer_step_limit_exceeded or (
            counter.current > counter.limit_warmup
            and waited >= counter.limit_to_stop
        )

    def _in_episodes(self) -> bool:
        return self.hparams.fit == "episodes"

    def compute_forward(self, batch: Batch, stage: sb.Stage) -> Outputs:
        """Classify the chunks, project the segments.

        Arguments
        ---------
        batch : Batch
            Rows of one or both domains.
        stage : sb.Stage
            In training, an episode's prototypes are those of its support.

        Returns
        -------
        Outputs
            Of all rows.
        """
        batch = batch.to(self.device)
        chunks = self.hparams.time_chunks
        z = self.modules.projector(batch.x)
        pooled = self.modules.pooling(z[:, :chunks])
        head = logits = self.modules.head(pooled, batch.mask[:, :chunks])
        if self._in_episodes():
            n = self._support()
            prototypes = (
                class_means(head[:n], batch.labels[:n], len(EMOTIONS))
                if stage == sb.Stage.TRAIN
                else self.prototypes
            )
            logits = prototype_logits(head, prototypes)
        return Outputs(logits, head, z[:, chunks:])

    def _support(self) -> int:
        """Rows that a training batch begins with, and that are not scored."""
        shots = self.hparams.episode_shots if self._in_episodes() else 0
        return shots * len(EMOTIONS)

    def compute_objectives(
        self, predictions: Outputs, batch: Batch, stage: sb.Stage
    ) -> torch.Tensor:
        """Cross-entropy plus gamma times the alignment loss (equation 4)."""
        batch = batch.to(self.device)
        n = self._support() if stage == sb.Stage.TRAIN else 0
        entropy = weighted_cross_entropy(
            predictions.logits[n:], batch.labels[n:], self.class_weight
        )
        if stage != sb.Stage.TRAIN:
            logits = predictions.logits.detach().cpu()
            self.outputs.append((logits, batch.labels.cpu()))
            return entropy
        alignment = entropy.new_zeros(())
        if self.hparams.gamma or self.step == 1:
            source, target = self._segments(predictions.segments, batch)
        if self.hparams.gamma:
            loss = self._align(predictions, batch, source, target)
            alignment = self.hparams.gamma * loss
        if self.step == 1:
            self._log_layers(source, target, entropy, alignment)
        return entropy + alignment

    def _gathered(
        self, x: torch.Tensor, batch: Batch
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Values of the source's and target's rows, of all processes."""
        n = batch.num_source
        return gather_batch(x[self._support() : n]), gather_batch(x[n:])

    def _segments(
        self, segments: torch.Tensor, batch: Batch
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Segments (N, M, d) of each domain, those without frames left out."""
        mask = batch.mask[:, self.hparams.time_chunks :]
        domains = self._gathered(segments, batch)
        masks = self._gathered(mask, batch)
        return domains[0][masks[0]], domains[1][masks[1]]

    def _align(
        self,
        predictions: Outputs,
        batch: Batch,
        source: torch.Tensor,
        target: torch.Tensor,
    ) -> torch.Tensor:
        """Alignment loss of the rows of all processes."""
        alignment = self.hparams.alignment
        if isinstance(alignment, DomainAdversary):
            embeddings = self._gathered(predictions.head, batch)
            return self.modules.alignment(*embeddings)
        if isinstance(alignment, PhoneticAnchor):
            pool = _unwrap(self.modules.pooling)
            pooled = self._gathered(pool(predictions.segments), batch)
            mask = batch.mask[:, self.hparams.time_chunks :]
            labels, _ = self._gathered(batch.labels, batch)
            return alignment(*pooled, *self._gathered(mask, batch), labels)
        anchored = self._anchored()
        return alignment(source[:, anchored], target[:, anchored])

    def _anchored(self) -> list[int]:
        """Positions of the anchored layers among those mixed."""
        layers = self.hparams.layers
        return [
            layers.index(a) for a in self.hparams.anchored_layers if a in layers
        ]

    def _log_layers(
        self,
        source: torch.Tensor,
        target: torch.Tensor,
        entropy: torch.Tensor,
        alignment: torch.Tensor,
    ) -> None:
        """Measure, on an epoch's first batch, what the alignment does."""
        ratio = self._gradient_ratio(entropy, alignment)
        with torch.no_grad():
            source, target = source.detach().float(), target.detach().float()
            scale = self.hparams.scale
            half = len(source) // 2
            alpha = _unwrap(self.modules.pooling).alpha
            traces = _trace(source), _trace(target)
            share = alpha.square() * (traces[0] + traces[1])
            share = share / share.sum().clamp(min=1e-12)
            columns = {
                "alpha": alpha,
                "share": share,
                "coral": coral_distances(source, target, scale),
                "floor": coral_distances(source[:half], source[half:], scale),
                "trace_source": traces[0],
                "trace_target": traces[1],
            }
        lists = {name: values.tolist() for name, values in columns.items()}
        rows = [
            {"layer": layer} | {name: lists[name][n] for name in lists}
            for n, layer in enumerate(self.hparams.layers)
        ]
        self.history.current = {"layers": rows, "gradient_ratio": ratio}
        self._warn_of_small_share()

    def _gradient_ratio(
        self, entropy: torch.Tensor, alignment: torch.Tensor
    ) -> float | None:
        """Gradient norm of alignment over entropy, on the anchored W.

        On all W where no layer is anchored.
        """
        if not alignment.requires_grad:
            return None
        weight = _unwrap(self.modules.projector).weight
        rows = self._anchored() or slice(None)
        norms = [
            torch.autograd.grad(loss, weight, retain_graph=True)[0][rows].norm()
            for loss in (alignment, entropy)
        ]
        return float(norms[0] / norms[1].clamp(min=1e-12))

    def _warn_of_small_share(self) -> None:
        shares = [
            anchored_share(e["layers"], self.hparams.anchored_layers)
            for e in (*self.history.epochs[:1], self.history.current)
        ]
        warned = any(e.get("warned") for e in self.history.epochs)
        if (
            self.hparams.gamma
            and not warned
            and shares[-1] < SHARE_WARNING * shares[0]
        ):
            self.history.current["warned"] = True
            logger.warning(
                f"The anchored layers' share of the pooled variance fell from "
                f"{shares[0]:.3f} to {shares[-1]:.3f}: the alignment switches "
                "them off rather than aligning them. projection_norm: layer "
                "or a smaller gamma prevents that."
            )

    def on_stage_start(self, stage: sb.Stage, epoch: int | None = None) -> None:
        """Collect the outputs of validation and test anew."""
        self.outputs: list[tuple[torch.Tensor, torch.Tensor]] = []
        if stage == sb.Stage.VALID and self._in_episodes():
            self._make_prototypes(self.prototype_loaders[:1])

    def _make_prototypes(self, loaders: Sequence[DataLoader]) -> None:
        """Mean over the loaders of their rows' class means."""
        self.modules.eval()
        means = []
        for loader in loaders:
            heads, labels = [], []
            for batch in loader:
                batch = batch.to(self.device)
                mask = batch.mask[:, : self.hparams.time_chunks]
                with torch.no_grad(), self.evaluation_ctx:
                    z = self.modules.projector(batch.x[:, : mask.shape[1]])
                    heads.append(
                        self.modules.head(self.modules.pooling(z), mask)
                    )
                labels.append(batch.labels)
            x, y = torch.cat(heads).float(), torch.cat(labels)
            means.append(class_means(x, y, len(EMOTIONS)))
        self.prototypes = torch.stack(means).mean(0)

    def on_stage_end(
        self, stage: sb.Stage, stage_loss: float, epoch: int | None = None
    ) -> None:
        """After validation: log, count for early stopping, save."""
        if stage == sb.Stage.TRAIN:
            self.train_loss = stage_loss
        if stage != sb.Stage.VALID:
            return
        logits, labels = map(torch.cat, zip(*self.outputs, strict=True))
        loss = weighted_cross_entropy(logits, labels, self.class_weight.cpu())
        entry = {
            "epoch": epoch,
            "steps": self.optimizer_step,
            "train_loss": float(self.train_loss),
            "valid_loss": float(loss),
            "valid_uar": uar(labels.numpy(), logits.argmax(-1).numpy()),
        }
        self.history.epochs.append(entry | self.history.current)
        self.history.current = {}
        self._log_epoch(self.history.epochs[-1])
        if self.hparams.select_on != "last":
            self.hparams.epoch_counter.update_metric(entry["valid_loss"])
        self._save_epoch(epoch, entry["valid_loss"])

    def _log_epoch(self, entry: dict) -> None:
        stats = {
            "loss": entry["valid_loss"],
            "UAR": entry["valid_uar"],
        }
        if entry.get("layers"):
            anchors = self.hparams.anchored_layers
            rows = [r for r in entry["layers"] if r["layer"] in anchors]
            if rows:
                share = anchored_share(entry["layers"], anchors)
                stats["anchored share"] = share
                for name in ("coral", "floor", "trace_source", "trace_target"):
                    stats[name] = " ".join(f"{r[name]:.3g}" for r in rows)
            if entry["gradient_ratio"] is not None:
                stats["gradient ratio"] = entry["gradient_ratio"]
        self.hparams.train_logger.log_stats(
            {"epoch": entry["epoch"], "steps": entry["steps"]},
            train_stats={"loss": entry["train_loss"]},
            valid_stats=stats,
        )

    def _save_epoch(self, epoch: int, loss: float) -> None:
        """Save a checkpoint to resume from, and the weights to test."""
        if self.checkpointer is None:
            return
        kept = {
            self.history.best_epoch(),
            *self.history.last_epochs(self.hparams.average_last),
        }
        if if_main_process():
            path = self._snapshot(epoch)
            path.parent.mkdir(exist_ok=True)
            state = self.hparams.model.state_dict()
            with whole_file(path) as temporary:
                save_file(state, temporary)
        self.checkpointer.save_and_keep_only(
            meta={"valid_loss": loss}, num_to_keep=1
        )
        if if_main_process():
            for path in self._snapshot(epoch).parent.glob("*.safetensors"):
                if int(path.stem) not in kept:
                    path.unlink()

    def _snapshot(self, epoch: int) -> Path:
        """Path of the weights after an epoch."""
        folder = Path(self.checkpointer.checkpoints_dir) / "weights"
        return folder / f"{epoch:05d}.safetensors"

    def chosen_epochs(self, select_on: str) -> list[int]:
        """Epochs whose posteriors are averaged for the test.

        Arguments
        ---------
        select_on : str
            ``last``: the last ``average_last`` validations; otherwise the one
            of the lowest validation loss.

        Returns
        -------
        list[int]
            One or more epochs whose weights are kept.

        Raises
        ------
        UserError
            Nothing was trained.
        """
        if not self.history.epochs:
            raise UserError(
                f"{self.hparams.output_folder} holds no trained weights."
            )
        if select_on == "last":
            return self.history.last_epochs(self.hparams.average_last)
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
            As from `chosen_epochs`.

        Returns
        -------
        np.ndarray
            (N, 4) in float64, rows summing to 1.
        """
        total = torch.zeros((), dtype=torch.float64)
        for epoch in epochs:
            state = load_file(self._snapshot(epoch), device=str(self.device))
            self.hparams.model.load_state_dict(state)
            self.modules.eval()
            if self._in_episodes():
                self._make_prototypes(self.prototype_loaders)
            parts = []
            with torch.no_grad(), self.evaluation_ctx:
                for batch in loader:
                    logits = self.compute_forward(batch, sb.Stage.TEST).logits
                    parts.append(logits.double().softmax(-1).cpu())
            total = total + torch.cat(parts)
        return (total / len(epochs)).numpy()

    def write_history(self, folder: Path) -> None:
        """Write what was logged: history.csv and layer_weights.csv.

        Arguments
        ---------
        folder : Path
            Gets history.csv, a line an epoch, and layer_weights.csv, a line
            for each mixed layer in each epoch.
        """
        epochs = self.history.epochs
        rows = [
            {"epoch": entry["epoch"]} | row
            for entry in epochs
            for row in entry.get("layers", ())
        ]
        _write_table(folder / "history.csv", HISTORY_COLUMNS, epochs)
        _write_table(folder / "layer_weights.csv", LAYER_COLUMNS, rows)


def _write_table(
    path: Path, columns: Sequence[str], rows: Sequence[dict]
) -> None:
    with (
        whole_file(path) as temporary,
        open(temporary, "w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def anchored_share(layers: Sequence[dict], anchors: Sequence[int]) -> float:
    """Share of the pooled variance that the anchored layers hold.

    Arguments
    ---------
    layers : Sequence[dict]
        Rows with ``layer`` and ``share``.
    anchors : Sequence[int]
        Anchored layers.

    Returns
    -------
    float
        Between 0 and 1; 0 where none of them is mixed.
    """
    return math.fsum(r["share"] for r in layers if r["layer"] in anchors)


def _trace(z: torch.Tensor) -> torch.Tensor:
    """Trace (M,) of the covariance of z (N, M, d), 0 of fewer than two rows."""
    return z.var(0).sum(-1) if len(z) > 1 else z.new_zeros(z.shape[1])


def _unwrap(module: nn.Module) -> nn.Module:
    """Return the module that DistributedDataParallel wraps."""
    return getattr(module, "module", module)
