"""Training steps that a GPU records once and repeats."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import speechbrain as sb
import torch

from lam_sb.processes import process_rank
from lam_sb.training.rows import Batch, Outputs


class Recording:
    """A training step as a CUDA graph, for batches of one shape.

    Arguments
    ---------
    step : Callable
        Takes a batch; gives outputs and a loss (). It is recorded, not run.
    batch : Batch
        Of the shape, on the GPU.
    """

    def __init__(
        self,
        step: Callable[[Batch], tuple[Outputs, torch.Tensor]],
        batch: Batch,
    ):
        self.batch = replace(
            batch,
            x=batch.x.clone(),
            mask=batch.mask.clone(),
            labels=batch.labels.clone(),
        )
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.outputs, self.loss = step(self.batch)

    def fits(self, batch: Batch) -> bool:
        """Tell whether a batch has the shape."""
        own = self.batch
        return (own.x.shape, own.num_source) == (
            batch.x.shape,
            batch.num_source,
        )

    def repeat(self, batch: Batch) -> tuple[Outputs, torch.Tensor]:
        """Take the step on a batch; the outputs hold until the next one."""
        for name in ("x", "mask", "labels"):
            own = getattr(self.batch, name)
            own.copy_(getattr(batch, name), non_blocking=True)
        self.graph.replay()
        return self.outputs, self.loss.detach().clone()


class RecordedSteps(sb.Brain):
    """Takes training steps; on a GPU by a recording, where that is the same.

    A step is some hundred small kernels, and a CPU takes ten times longer to
    start them one by one than a GPU to run them. An epoch's first step, whose
    layers are measured, is taken kernel by kernel. So are all where the work
    may differ from step to step: of several processes, of several corpora in a
    role, on segments that some rows lack, in episodes, and with an alignment
    that does not say that it is ``recordable`` itself. A Brain whose step
    depends on other values of Python, such as the epoch, sets its own
    ``recordable`` to False.
    """

    recordable = True
    _records = False
    _recording: Recording | None = None

    def on_fit_start(self) -> None:
        """Get ready; the optimizer must count its steps on the GPU."""
        super().on_fit_start()
        self._recording = None
        self._is_warm = False
        self._records = self._can_record()
        for group in self.optimizer.param_groups:
            if "capturable" not in group:
                continue
            group["capturable"] = self._records
            for parameter in group["params"]:  # of a resumed run
                state = self.optimizer.state.get(parameter, {})
                if "step" in state:
                    where = parameter.device if self._records else "cpu"
                    state["step"] = state["step"].to(where)

    def _can_record(self) -> bool:
        hparams = self.hparams
        alignment = hparams.alignment if hparams.gamma else None
        return (
            self.recordable
            and torch.device(self.device).type == "cuda"
            and process_rank()[1] == 1
            and self.grad_accumulation_factor == 1
            and not self.scaler.is_enabled()
            and not self.skip_nonfinite_grads
            and hparams.fit == "brain"
            and hparams.segment == "utterance"
            and len(hparams.sources) == len(hparams.targets) == 1
            and (alignment is None or _says_recordable(alignment))
            and all("capturable" in g for g in self.optimizer.param_groups)
        )

    def fit_batch(self, batch: Batch) -> torch.Tensor:
        """Take a training step; its loss () stays on the device."""
        due = self.step % self.grad_accumulation_factor == 0
        self.on_fit_batch_start(batch, due)
        if self._records and self._is_warm and self.step > 1:
            outputs, loss = self._repeat_step(batch)
        else:
            outputs, loss = self._take_step(batch, due)
            self._is_warm = True  # a recording needs what a first step makes
        self.on_fit_batch_end(batch, outputs, loss, due)
        return loss.detach()

    def _take_step(
        self, batch: Batch, due: bool = True
    ) -> tuple[Outputs, torch.Tensor]:
        with self.no_sync(not due):
            with self.training_ctx:
                outputs = self.compute_forward(batch, sb.Stage.TRAIN)
                loss = self.compute_objectives(outputs, batch, sb.Stage.TRAIN)
            share = loss / self.grad_accumulation_factor
            self.scaler.scale(share).backward()
        if due:
            self.optimizers_step()
        return outputs, loss

    def _options(self) -> list[dict]:
        """List what a recording holds of the optimizer, lr and weight decay."""
        groups = self.optimizer.param_groups
        return [{k: g[k] for k in g if k != "params"} for g in groups]

    def _repeat_step(self, batch: Batch) -> tuple[Outputs, torch.Tensor]:
        if self._recording is None or self._recorded_with != self._options():
            self._recorded_with = self._options()
            # Recorded, it counts as a step though nothing has been computed.
            self._recording = Recording(self._take_step, batch.to(self.device))
        elif self._recording.fits(batch):
            self.optimizer_step += 1
        else:
            return self._take_step(batch)
        return self._recording.repeat(batch)


def _says_recordable(alignment: Callable) -> bool:
    """Whether its own class says so: a subclass may do something else."""
    return vars(type(alignment)).get("recordable", False)
