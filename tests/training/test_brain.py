"""The Brain against work by hand: each of its promises alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import speechbrain as sb
import torch
from speechbrain.dataio.dataloader import SaveableDataLoader
from speechbrain.utils.run_opts import RunOptions
from torch.utils._python_dispatch import TorchDispatchMode

from lam_sb.errors import UserError
from lam_sb.losses.coral import coral_distances
from lam_sb.run import load_run
from lam_sb.training import brain as brain_module
from lam_sb.training.rows import Batch
from train import LamBrain

ROOT = Path(__file__).parents[2]
SMALL = {
    "anchor_layers": [1, 3],
    "projection_dim": 8,
    "num_heads": 2,
    "ffn_dim": 8,
    "dropout": 0.0,
}
CHUNKS, LAYERS, DIM = 8, 4, 32


def constant(source, target):
    """Stand for an alignment loss: always 3, with a gradient."""
    return 3 + 0 * (source.sum() + target.sum())


@pytest.fixture
def make_brain(wavlm, tmp_path):
    """Give a Brain of the small LAM-GL; keywords change keys."""

    def make(file="small/lam_gl.yaml", steps=5, labels=None, **keys):
        keys = SMALL | keys
        if "few_shot" in file:  # has no use for them
            del keys["anchor_layers"]
        keys |= {"data_folder": str(tmp_path), "encoder_source": str(wavlm)}
        keys["output_root"] = str(tmp_path / "results")
        alignment = keys.pop("alignment", None)
        path = str(ROOT / "hparams" / file)
        hparams, _ = load_run(path, RunOptions(), keys)
        if alignment is not None:
            hparams["alignment"] = alignment
        brain = LamBrain(
            modules=hparams["modules"],
            opt_class=hparams["opt_class"],
            hparams=hparams,
            run_opts={"device": "cpu"},
            checkpointer=hparams["checkpointer"](),
        )
        brain.prepare_fit(
            SaveableDataLoader([make_batch()] * steps, batch_size=None),
            torch.arange(8) % 4 if labels is None else labels,
            class_weight=hparams["class_weight"],
            select_on=hparams["select_on"],
            max_steps=hparams["max_steps"],
            min_steps=hparams["min_steps"],
            average_last_steps=hparams["average_last_steps"],
            train_logger=hparams["train_logger"],
        )
        return brain

    return make


def make_batch(n=8, seed=0, segments=0):
    """Random features of n source and n target rows, the last unlabelled."""
    generator = torch.Generator().manual_seed(seed)
    shape = (2 * n, CHUNKS + segments, LAYERS, DIM)
    labels = torch.cat([torch.arange(n) % 4, torch.full((n,), -1)])
    x = torch.randn(shape, generator=generator)
    return Batch(x, torch.ones(shape[:2], dtype=torch.bool), labels, n)


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


def fill_history(brain, losses):
    for n, loss in enumerate(losses, start=1):
        brain.history.finish_epoch(
            {"epoch": n, "steps": 7 * n, "valid_loss": loss, "valid_uar": 0.5}
        )


def test_the_rules_choose_the_weights_they_say(make_brain):
    brain = make_brain(average_last_steps=15)
    fill_history(brain, [0.9, 0.4, 0.6, 0.7, 0.5])
    assert brain.chosen_epochs("last") == [3, 4, 5]
    assert brain.chosen_epochs("source") == [2]
    brain.average_last_steps = 14
    assert brain.chosen_epochs("last") == [4, 5]


def test_posteriors_are_averaged_over_the_chosen_weights(make_brain):
    brain = make_brain()
    brain.on_fit_start()
    loader = [make_batch(seed=1), make_batch(seed=2)]
    expected = []
    for epoch in (1, 2, 3):
        with torch.no_grad():
            for parameter in brain.modules.parameters():
                parameter.copy_(torch.randn_like(parameter) / epoch)
        brain._weights().save(epoch)
        brain.modules.eval()
        with torch.no_grad():
            logits = torch.cat(
                [brain.compute_forward(b, sb.Stage.TEST).logits for b in loader]
            )
        expected.append(logits.double().softmax(-1).numpy())
    given = brain.posteriors(loader, [2, 3])
    assert np.allclose(given, (expected[1] + expected[2]) / 2, atol=1e-12)
    assert not np.allclose(given, expected[2], atol=1e-3)
    assert np.allclose(given.sum(1), 1)


def test_weights_that_are_not_finite_give_no_posteriors(make_brain):
    brain = make_brain()
    brain.on_fit_start()
    with torch.no_grad():
        brain.modules.projector.weight[0, 0, 0] = float("nan")
    brain._weights().save(3)
    with pytest.raises(UserError, match="epoch 3: posteriors of the test"):
        brain.posteriors([make_batch()], [3])


def test_only_weights_that_may_be_tested_are_kept(make_brain):
    brain = make_brain(average_last_steps=5)
    brain.on_fit_start()
    for epoch, loss in enumerate([0.9, 0.2, 0.8, 0.7], start=1):
        entry = {"epoch": epoch, "steps": 3 * epoch, "valid_loss": loss}
        brain.history.finish_epoch(entry)
        brain._save_epoch(epoch, loss)
    kept = sorted(p.name for p in brain._weights().folder.iterdir())
    assert kept == [f"0000{n}.safetensors" for n in (2, 3, 4)]


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
