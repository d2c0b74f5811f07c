"""The Brain against work by hand: each of its promises alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import speechbrain as sb
import torch
from speechbrain.dataio.dataloader import SaveableDataLoader
from speechbrain.utils.run_opts import RunOptions

from lam_sb.errors import UserError
from lam_sb.losses.coral import coral_distances
from lam_sb.run import load_run
from lam_sb.training.layer_log import measure_layers
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
            average_last=hparams["average_last"],
            train_logger=hparams["train_logger"],
        )
        return brain

    return make


def make_batch(n=8, seed=0):
    """Random features of n source and n target rows, the last unlabelled."""
    generator = torch.Generator().manual_seed(seed)
    shape = (2 * n, CHUNKS + 1, LAYERS, DIM)
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


def test_coral_sees_the_anchored_layers_of_both_domains(make_brain):
    seen = {}

    def keep(source, target):
        seen.update(source=source, target=target)
        return source.sum() * 0

    brain = make_brain(alignment=keep)
    batch = make_batch()
    batch.mask[2, -1] = batch.mask[-1, -1] = False  # segments without frames
    outputs, _ = loss_of(brain, batch)
    z = outputs.segments[:, 0]  # (B, M, d), of layers 1 to 4
    assert torch.equal(seen["source"], z[[0, 1, 3, 4, 5, 6, 7]][:, [0, 2]])
    assert torch.equal(seen["target"], z[8:-1][:, [0, 2]])


def test_layers_are_projected_mixed_and_classified(make_brain):
    brain = make_brain()
    with torch.no_grad():
        brain.modules.pooling.scores.copy_(torch.tensor([0.0, 1.0, -1.0, 2.0]))
    batch = make_batch()
    brain.modules.eval()
    outputs = brain.compute_forward(batch, sb.Stage.VALID)
    weight = brain.modules.projector.weight
    bias = brain.modules.projector.bias
    z = torch.einsum("bkmd,mde->bkme", batch.x, weight) + bias
    z = torch.nn.functional.layer_norm(z, z.shape[-1:])
    alpha = np.exp([0.0, 1.0, -1.0, 2.0])
    alpha = torch.tensor(alpha / alpha.sum(), dtype=torch.float32)
    mixed = (alpha[:, None] * z).sum(2)[:, :CHUNKS]
    logits = brain.modules.head(mixed, batch.mask[:, :CHUNKS])
    assert torch.allclose(outputs.logits, logits, atol=1e-5)
    assert torch.allclose(outputs.segments, z[:, CHUNKS:], atol=1e-5)


def test_weight_decay_acts_on_matrices_alone(make_brain):
    brain = make_brain(lr=0.0123, weight_decay=0.5)
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
    for _ in brain.epochs():
        brain.optimizer_step += 5
    assert brain.hparams.epoch_counter.current == 7


def fill_history(brain, losses):
    for n, loss in enumerate(losses, start=1):
        brain.history.finish_epoch(
            {"epoch": n, "steps": n, "valid_loss": loss, "valid_uar": 0.5}
        )


def test_the_rules_choose_the_weights_they_say(make_brain):
    brain = make_brain(average_last=3)
    fill_history(brain, [0.9, 0.4, 0.6, 0.7, 0.5])
    assert brain.chosen_epochs("last") == [3, 4, 5]
    assert brain.chosen_epochs("source") == [2]
    assert make_brain(average_last=1)._weights().folder.name == "weights"


def test_posteriors_are_averaged_over_the_chosen_weights(make_brain):
    brain = make_brain(average_last=2)
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
    brain = make_brain(average_last=2)
    brain.on_fit_start()
    with torch.no_grad():
        brain.modules.projector.weight[0, 0, 0] = float("nan")
    brain._weights().save(3)
    with pytest.raises(UserError, match="epoch 3: posteriors of the test"):
        brain.posteriors([make_batch()], [3])


def test_only_weights_that_may_be_tested_are_kept(make_brain):
    brain = make_brain(average_last=2)
    brain.on_fit_start()
    for epoch, loss in enumerate([0.9, 0.2, 0.8, 0.7], start=1):
        brain.history.finish_epoch({"epoch": epoch, "valid_loss": loss})
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
    source, target = z[:16], z[16:]
    coral = coral_distances(source, target, "per_dim")
    floor = coral_distances(source[:8], source[8:], "per_dim")
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


def test_shares_weigh_variance_with_alpha_squared():
    z = torch.randn(50, 2, 3, generator=torch.Generator().manual_seed(0))
    z[:, 1] *= 2
    alpha = torch.tensor([0.75, 0.25])
    logged = measure_layers(z, z, alpha, [4, 7], "frobenius")
    traces = [np.trace(np.cov(z[:, n].numpy().T)) for n in range(2)]
    parts = [0.75**2 * traces[0], 0.25**2 * traces[1]]
    assert [row["layer"] for row in logged] == [4, 7]
    for row, part in zip(logged, parts, strict=True):
        assert row["share"] == pytest.approx(part / sum(parts), rel=1e-5)
        assert row["coral"] == 0


def test_long_runs_print_some_epochs_and_short_ones_all(make_brain):
    brain = make_brain(select_on="last", max_steps=1000, steps=2)  # 500 epochs
    printed = [
        n
        for n in range(1, 501)
        if brain._is_printed({"epoch": n, "steps": 2 * n})
    ]
    assert printed == [*range(20, 501, 20)]
    brain = make_brain(select_on="source", max_steps=None)
    assert all(brain._is_printed({"epoch": n, "steps": 5 * n}) for n in (1, 2))
