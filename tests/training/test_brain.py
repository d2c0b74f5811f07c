"""The Brain against work by hand: each of its promises alone."""

from __future__ import annotations

import numpy as np
import pytest
import speechbrain as sb
import torch
from brains import CHUNKS, make_batch
from torch.utils._python_dispatch import TorchDispatchMode

from lam_sb.losses.coral import coral_distances
from lam_sb.training import brain as brain_module


def constant(source, target):
    """Stand for an alignment loss: always 3, with a gradient."""
    return 3 + 0 * (source.sum() + target.sum())


def loss_of(brain, batch, stage=sb.Stage.TRAIN):
    brain.on_stage_start(stage, epoch=1)
    brain.step = 2  # the first of an epoch is also logged
    outputs = brain.compute_forward(batch, stage)
    return outputs, brain.compute_objectives(outputs, batch, stage)


@pytest.mark.parametrize("gamma", [0.5, 0.2, 0])
def test_the_loss_is_cross_entropy_plus_gamma_times_alignment(
    make_brain, gamma
):
    labels = torch.tensor([0, 0, 0, 0, 0, 1, 2, 3])
    brain = make_brain(gamma=gamma, alignment=constant, labels=labels)
    batch = make_batch()
    outputs, loss = loss_of(brain, batch)
    weight = 8 / (4 * np.array([5.0, 1.0, 1.0, 1.0]))
    logits = outputs.logits[:8].detach().double().numpy()
    log_sums = np.log(np.exp(logits).sum(1))
    classes = np.arange(8) % 4
    entropies = log_sums - logits[np.arange(8), classes]
    expected = (weight[classes] * entropies).mean() + gamma * 3
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_no_alignment_counts_in_validation(make_brain):
    brain = make_brain(gamma=0.5, alignment=constant)
    _, loss = loss_of(brain, make_batch(), sb.Stage.VALID)
    assert loss.item() < 3 * 0.5


def inputs_of_alignment(make_brain, batch, **keys):
    """Source and target that a loss is given, and the projections."""
    seen, projected = {}, []

    def keep(source, target):
        seen.update(source=source, target=target)
        return source.sum() * 0

    brain = make_brain(alignment=keep, **keys)
    brain.modules.projector.register_forward_hook(
        lambda module, given, z: projected.append(z)
    )
    loss_of(brain, batch)
    return seen["source"], seen["target"], projected[0]


def test_coral_sees_the_chunks_that_are_classified(make_brain):
    """Equations 1 and 2 share L^(i): of the anchored layers 1 and 3."""
    batch = make_batch()
    batch.mask[2, 1:6] = batch.mask[9, :7] = False  # chunks without frames
    source, target, z = inputs_of_alignment(make_brain, batch)
    assert z.shape[1] == CHUNKS  # nothing is projected besides
    for n in range(8):
        mean = z[n, batch.mask[n]].mean(0)[[0, 2]]
        assert torch.allclose(source[n], mean, atol=1e-6)
        mean = z[8 + n, batch.mask[8 + n]].mean(0)[[0, 2]]
        assert torch.allclose(target[n], mean, atol=1e-6)


def test_coral_sees_the_segments_that_have_frames(make_brain):
    batch = make_batch(segments=1)
    batch.mask[2, -1] = batch.mask[-1, -1] = False
    source, target, z = inputs_of_alignment(
        make_brain, batch, segment="consonants"
    )
    vectors = z[:, CHUNKS]  # (B, M, d), of layers 1 to 4
    kept = [0, 1, 3, 4, 5, 6, 7]
    assert torch.equal(source, vectors[kept][:, [0, 2]])
    assert torch.equal(target, vectors[8:-1][:, [0, 2]])


@pytest.mark.parametrize(
    ("file", "keys", "rows"),
    [
        ("small/lam_gl.yaml", {}, 8),
        ("small/lam_gl.yaml", {"bound": "oracle", "protocol": "speakers"}, 16),
        ("small/few_shot.yaml", {}, 16),
        ("small/few_shot.yaml", {"gamma": 0}, 8),
    ],
)
def test_the_head_sees_the_target_where_that_counts(
    make_brain, file, keys, rows
):
    brain = make_brain(file, **keys)
    brain.hparams.episode_shots = 1
    outputs = brain.compute_forward(make_batch(), sb.Stage.TRAIN)
    assert len(outputs.logits) == len(outputs.embeddings) == rows
    brain.prototypes = torch.zeros(4, 64)
    outputs = brain.compute_forward(make_batch(), sb.Stage.VALID)
    assert len(outputs.logits) == 16


def test_layers_are_projected_mixed_and_classified(make_brain):
    brain = make_brain()
    with torch.no_grad():
        brain.modules.pooling.scores.copy_(torch.tensor([0.0, 1.0, -1.0, 2.0]))
    batch = make_batch()
    brain.modules.eval()
    outputs = brain.compute_forward(batch, sb.Stage.VALID)
    weight = brain.modules.projector.weight
    z = torch.einsum("bkmd,mde->bkme", batch.x, weight)
    mean = z.mean(1, keepdim=True)
    deviation = (mean.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
    z = (z - mean.mean(-1, keepdim=True)) / deviation
    alpha = np.exp([0.0, 1.0, -1.0, 2.0])
    alpha = torch.tensor(alpha / alpha.sum(), dtype=torch.float32)
    mixed = (alpha[:, None] * z).sum(2)
    logits = brain.modules.head(mixed, batch.mask)
    assert torch.allclose(outputs.logits, logits, atol=1e-5)
    assert torch.allclose(outputs.segments[:, 0], z.mean(1), atol=1e-5)


def test_weight_decay_acts_on_matrices_alone(make_brain):
    brain = make_brain(lr=0.0123, weight_decay=0.5, projection_norm="none")
    brain.init_optimizers()
    by_parameter = {
        id(parameter): group
        for group in brain.optimizer.param_groups
        for parameter in group["params"]
    }
    named = dict(brain.modules.named_parameters())
    assert len(by_parameter) == len(named)
    for name, parameter in named.items():
        group = by_parameter[id(parameter)]
        bare = name.endswith("bias") or parameter.ndim == 1
        assert group["weight_decay"] == (0.0 if bare else 0.5), name
        assert group["lr"] == 0.0123
    assert named["projector.bias"].ndim == 2  # a bias for each layer
    assert "pooling.scores" in named


def test_a_step_is_as_long_as_the_learning_rate(make_brain):
    """Adam's first step moves each weight by lr in its gradient's direction."""
    brain = make_brain(lr=0.004, weight_decay=0.0)
    brain.init_optimizers()
    brain.on_stage_start(sb.Stage.TRAIN, epoch=1)
    brain.modules.train()
    before = brain.modules.projector.weight.detach().clone()
    brain.step = 1
    brain.fit_batch(make_batch())
    moved = (brain.modules.projector.weight.detach() - before).abs()
    assert float(moved.median()) == pytest.approx(0.004, rel=1e-3)
    assert float(moved.max()) < 0.0041


def test_early_stopping_waits_for_the_warm_up(make_brain):
    """With a loss that never falls: min_steps, and then patience, decide."""

    def epochs(**keys):
        brain = make_brain(
            select_on="source", max_steps=None, patience=2, **keys
        )
        counter, count = brain.hparams.epoch_counter, 0
        for count in brain.epochs():
            counter.update_metric(1.0)
            if count == 50:
                break
        return count

    assert epochs(min_steps=0) == 3  # the best, and two that are no better
    assert epochs(min_steps=40) == 11  # 8 epochs of 5 steps do not count


def test_a_fixed_number_of_steps_never_stops_early(make_brain):
    brain = make_brain(select_on="last", max_steps=35, patience=1)
    brain.on_fit_start()
    for epoch in brain.epochs():
        brain.optimizer_step += 5
        steps = brain.optimizer_step
        brain.history.finish_epoch({"epoch": epoch, "steps": steps})
    assert brain.hparams.epoch_counter.current == 7


def test_the_first_batch_of_an_epoch_is_logged(make_brain):
    brain = make_brain(gamma=0.5)
    batch = make_batch(n=16)
    brain.on_stage_start(sb.Stage.TRAIN, epoch=1)
    brain.step = 1
    outputs = brain.compute_forward(batch, sb.Stage.TRAIN)
    brain.compute_objectives(outputs, batch, sb.Stage.TRAIN)
    logged = brain.history.current["layers"]
    z = outputs.segments[:, 0].detach()
    source = z[:16]
    halves = [z[n : n + 8] for n in (0, 8, 16, 24)]
    pairs = [(0, 2), (0, 3), (1, 2), (1, 3)]
    coral = torch.stack(
        [coral_distances(halves[a], halves[b], "per_dim") for a, b in pairs]
    ).mean(0)
    floor = coral_distances(*halves[:2], "per_dim")
    assert [row["layer"] for row in logged] == [1, 2, 3, 4]
    for n, row in enumerate(logged):
        assert row["coral"] == pytest.approx(float(coral[n]))
        assert row["floor"] == pytest.approx(float(floor[n]))
        assert row["floor"] > 0
        covariance = np.cov(source[:, n].numpy().T)
        assert row["trace_source"] == pytest.approx(
            np.trace(covariance), rel=1e-5
        )
        assert row["alpha"] == pytest.approx(0.25)
    assert sum(row["share"] for row in logged) == pytest.approx(1)
    assert brain.history.current["gradient_ratio"] > 0


class WaitingOps(TorchDispatchMode):
    """Lists what would make a GPU's host wait for it."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        by_mask = name == "index" and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        if by_mask or name in ("_local_scalar_dense", "nonzero"):
            self.names.append(name)
        return function(*args, **(kwargs or {}))

    def __enter__(self):
        self.names = []
        return super().__enter__()


def test_no_step_waits_for_its_values(make_brain):
    brain = make_brain(gamma=0.5)
    brain.on_fit_start()
    brain.on_stage_start(sb.Stage.TRAIN, epoch=1)
    brain.optimizers_step = lambda: None  # Adam's own count lies on the CPU
    brain.step, shown = 2, 0.0  # the first of an epoch is logged
    with WaitingOps() as waiting:
        loss = brain.fit_batch(make_batch(n=16))
        shown = brain.update_average(loss, shown)
    assert waiting.names == []
    assert shown == 0
    brain.nonfinite_count = 0
    with waiting:
        shown = brain.read_losses(shown)
    assert shown == pytest.approx(float(loss) / 2)


def test_dropout_differs_by_step_and_process_and_comes_again(
    make_brain, monkeypatch
):
    brain = make_brain(seed=3)

    def drawn(epoch, step, process):
        monkeypatch.setattr(brain_module, "process_rank", lambda: (process, 9))
        brain.hparams.epoch_counter.current = epoch
        brain.step = step
        brain.on_fit_batch_start(None, should_step=True)
        return tuple(torch.rand(4).tolist())

    places = [(1, 1, 0), (1, 1, 1), (1, 2, 0), (2, 1, 0)]
    first = [drawn(*place) for place in places]
    assert len(set(first)) == 4
    assert [drawn(*place) for place in places] == first
