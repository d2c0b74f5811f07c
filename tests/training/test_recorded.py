"""Steps that are recorded and repeated are those taken one by one."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import speechbrain as sb
import torch

from lam_sb.losses.coral import LayerCoral
from lam_sb.training import recorded
from lam_sb.training.recorded import RecordedSteps, Recording
from lam_sb.training.rows import Batch

KEYS = {
    "sources": ["left"],
    "targets": ["right"],
    "alignment": LayerCoral(),
    "gamma": 0.5,
    "fit": "brain",
    "segment": "utterance",
}
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
DEVICES = ["cpu", pytest.param("cuda", marks=GPU)]


class Replayed(Recording):
    """What a recording does, without a GPU: the step is taken by `repeat`."""

    def __init__(self, step, batch):
        self.batch = replace(batch, x=batch.x.clone(), mask=batch.mask.clone())
        self.batch.labels = batch.labels.clone()
        self.step, brain = step, step.__self__
        self.graph = SimpleNamespace(replay=self.replay)
        brain.optimizer_step += 1  # what Python does is done once
        self.brain, brain.recorded_in = brain, brain.step
        self.loss = torch.zeros(())

    def replay(self):
        steps = self.brain.optimizer_step
        self.outputs, loss = self.step(self.batch)
        self.loss.copy_(loss.detach())
        self.brain.optimizer_step = steps


class Steps(RecordedSteps):
    """Fits a line, with dropout, on batches of any kind."""

    taken = 0

    def on_fit_batch_start(self, batch, should_step):
        torch.manual_seed(self.step)

    def on_fit_batch_end(self, batch, outputs, loss, should_step):
        self.ended = [*getattr(self, "ended", ()), outputs.sum().item()]

    def compute_forward(self, batch, stage):
        self.taken += 1
        return torch.dropout(self.modules.layer(batch.x), 0.5, train=True)

    def compute_objectives(self, predictions, batch, stage):
        error = (predictions[:, 0] - batch.labels) * batch.mask[:, 0]
        return error[: batch.num_source].square().mean()


def batches(device: str) -> list[Batch]:
    """Nine batches, of which one has another shape and one another border."""
    generator = torch.Generator().manual_seed(1)
    made = []
    for n in range(9):
        rows = 5 if n == 5 else 6
        x = torch.randn(rows, 3, generator=generator)
        mask = torch.rand(rows, 1, generator=generator) < 0.8
        batch = Batch(x, mask, torch.arange(rows) * n, 2 if n == 7 else 4)
        made.append(batch.to(device))
    return made


def fitted(device: str, monkeypatch, repeats: bool = True) -> Steps:
    """A brain after a step on each batch, which are recorded on a GPU only."""
    monkeypatch.setattr(Steps, "_can_record", lambda self: device == "cuda")
    if not repeats:
        monkeypatch.setattr(Steps, "_repeat_step", Steps._take_step)
    torch.manual_seed(0)
    brain = Steps(
        modules={"layer": torch.nn.Linear(3, 1)},
        opt_class=lambda p: torch.optim.Adam(p, lr=0.1),
        hparams=KEYS,
        run_opts={"device": device},
    )
    brain.on_fit_start()
    brain._records = True
    brain.losses = []
    for brain.step, batch in enumerate(batches(device), start=1):
        brain.losses.append(brain.fit_batch(batch))
    brain.losses = [loss.item() for loss in brain.losses]
    return brain


@pytest.mark.parametrize("device", DEVICES)
def test_steps_that_are_repeated_are_the_steps(device, monkeypatch):
    if device == "cpu":
        monkeypatch.setattr(recorded, "Recording", Replayed)
    brain = fitted(device, monkeypatch)
    assert device == "cuda" or brain.recorded_in == 2  # not the first, logged
    plain = fitted(device, monkeypatch, repeats=False)
    for own, other in zip(
        brain.modules.parameters(), plain.modules.parameters(), strict=True
    ):
        assert torch.equal(own, other)
    assert brain.losses == plain.losses
    assert brain.ended == plain.ended
    assert brain.optimizer_step == plain.optimizer_step == 9
    assert len(set(brain.losses)) == 9


@GPU
def test_a_recorded_step_is_not_taken_kernel_by_kernel(monkeypatch):
    brain = fitted("cuda", monkeypatch)
    # The first, the recording, and two batches that do not fit it.
    assert brain.taken == 4


def brain_of(monkeypatch, rank=(0, 1), device="cuda", opts=None, **keys):
    """A brain that says whether it records, as if on a device."""
    monkeypatch.setattr(recorded, "process_rank", lambda: rank)
    brain = Steps(
        modules={"layer": torch.nn.Linear(3, 1)},
        hparams=KEYS | keys,
        run_opts={"device": "cpu"} | (opts or {}),
    )
    brain.optimizer = torch.optim.Adam(brain.modules.parameters())
    brain.device = device
    return brain


class Warm(LayerCoral):
    """Stand for a user's loss that grows from step to step."""


def unknown(source, target):
    """Stand for a loss of a user's, which may do anything."""


@pytest.mark.parametrize(
    ("says", "differs"),
    [
        (True, {}),
        (True, {"gamma": 0, "alignment": unknown}),
        (True, {"alignment": None}),
        (False, {"alignment": unknown}),
        (False, {"alignment": Warm()}),
        (False, {"segment": "vowels"}),
        (False, {"fit": "episodes"}),
        (False, {"rank": (1, 2)}),
        (False, {"device": "cpu"}),
        (False, {"opts": {"grad_accumulation_factor": 2}}),
        (False, {"opts": {"skip_nonfinite_grads": True}}),
    ],
)
def test_steps_are_recorded_where_they_do_the_same(says, differs, monkeypatch):
    assert brain_of(monkeypatch, **differs)._can_record() == says


def test_an_optimizer_that_counts_in_python_is_not_recorded(monkeypatch):
    brain = brain_of(monkeypatch)
    brain.optimizer = torch.optim.Rprop(brain.modules.parameters())
    del brain.optimizer.param_groups[0]["capturable"]
    assert not brain._can_record()


def test_a_run_begun_on_a_gpu_goes_on_without_one(monkeypatch):
    brain = fitted("cpu", monkeypatch, repeats=False)
    state = brain.optimizer.state_dict()
    state["param_groups"][0]["capturable"] = True

    def init_optimizers(self):
        self.optimizer = torch.optim.Adam(self.modules.parameters(), lr=0.1)
        self.optimizer.load_state_dict(state)
        self.optimizers_dict = {"optimizer": self.optimizer}

    monkeypatch.setattr(Steps, "init_optimizers", init_optimizers)
    brain.on_fit_start()
    brain.fit_batch(batches("cpu")[0])
    steps = [s["step"].item() for s in brain.optimizer.state.values()]
    assert steps == [10, 10]


def test_a_step_is_the_one_of_speechbrain(monkeypatch):
    brain, other = (fitted("cpu", monkeypatch, repeats=False) for _ in range(2))
    for brain.step, batch in enumerate(batches("cpu"), start=1):
        loss = brain.fit_batch(batch)
        other.step = brain.step
        assert loss == sb.Brain.fit_batch(other, batch)


def test_a_brain_may_say_that_its_steps_differ(monkeypatch):
    brain = brain_of(monkeypatch)
    brain.recordable = False
    assert not brain._can_record()


def test_an_optimizer_that_is_changed_is_recorded_anew(monkeypatch):
    monkeypatch.setattr(recorded, "Recording", Replayed)
    brain = fitted("cpu", monkeypatch)
    first, batch = brain._recording, batches("cpu")[0]
    brain.fit_batch(batch)
    assert brain._recording is first
    brain.optimizer.param_groups[0]["lr"] = 0.01
    brain.fit_batch(batch)
    assert brain._recording is not first


def test_a_step_is_taken_before_one_is_recorded(monkeypatch):
    monkeypatch.setattr(recorded, "Recording", Replayed)
    brain = fitted("cpu", monkeypatch)
    brain.on_fit_start()  # of a run that is resumed within an epoch
    brain._records = True
    brain.fit_batch(batches("cpu")[0])
    assert brain._recording is None
