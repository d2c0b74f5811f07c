"""CORAL against numpy and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lam_sb.errors import UserError
from lam_sb.losses.coral import LayerCoral, covariance
from lam_sb.models.projector import LayerProjector


def _numpy_coral(source, target, scale):
    total = 0.0
    for layer in range(source.shape[1]):
        s, t = source[:, layer].numpy(), target[:, layer].numpy()
        difference = np.cov(s.astype(np.float64), rowvar=False) - np.cov(
            t.astype(np.float64), rowvar=False
        )
        norm, d = np.sqrt((difference**2).sum()), s.shape[1]
        total += {
            "frobenius": norm,
            "per_dim": norm / d,
            "deep_coral": norm**2 / (4 * d**2),
        }[scale]
    return total


@pytest.mark.parametrize("scale", ["frobenius", "per_dim", "deep_coral"])
def test_coral_agrees_with_numpy_covariances_in_float64(scale):
    generator = torch.Generator().manual_seed(0)
    source = torch.randn(64, 3, 32, generator=generator) * 3 + 5
    target = torch.randn(48, 3, 32, generator=generator)
    expected = _numpy_coral(source, target, scale)
    assert LayerCoral(scale)(source, target).item() == pytest.approx(
        expected, rel=1e-4
    )
    mean = LayerCoral(scale, reduce="mean")(source, target).item()
    assert mean == pytest.approx(expected / 3, rel=1e-4)


def test_coral_of_a_case_worked_out_by_hand():
    # Source: x = -1, 0, 1 and y = 2x: variances 1 and 4, covariance 2.
    # Target: x = -1, 0, 1 and y = 0: variance 1, everything else 0.
    # Difference [[0, 2], [2, 4]]: Frobenius norm sqrt(4 + 4 + 16).
    x = torch.tensor([-1.0, 0.0, 1.0])
    source = torch.stack([x, 2 * x], dim=-1)[:, None]
    target = torch.stack([x, 0 * x], dim=-1)[:, None]
    root = 24**0.5
    assert LayerCoral()(source, target).item() == pytest.approx(root)
    per_dim = LayerCoral("per_dim")(source, target).item()
    assert per_dim == pytest.approx(root / 2)
    squared = LayerCoral("deep_coral")(source, target).item()
    assert squared == pytest.approx(24 / 16)


def test_coral_ignores_the_means_of_the_domains():
    z = torch.randn(16, 2, 8)
    assert LayerCoral()(z, z + 7).item() == pytest.approx(0, abs=1e-4)


def test_gradient_reaches_the_projector_and_is_finite_when_domains_are_equal():
    project = LayerProjector([1, 2], input_dim=6, projection_dim=4)
    x = torch.randn(8, 1, 2, 6)
    mask = torch.ones(8, 1, dtype=torch.bool)
    z_source, z_target = (project(y, mask)[:, 0] for y in (x, 2 * x))
    LayerCoral()(z_source, z_target).backward()
    assert project.weight.grad.abs().sum() > 0
    project.zero_grad()
    z_source, z_target = (project(x, mask)[:, 0] for _ in range(2))
    LayerCoral()(z_source, z_target).backward()
    assert torch.equal(
        project.weight.grad, torch.zeros_like(project.weight.grad)
    )


@pytest.mark.parametrize("rows", [0, 1])
def test_coral_of_fewer_than_two_rows_is_0(rows):
    source = torch.randn(8, 3, 4, requires_grad=True)
    target = torch.randn(rows, 3, 4, requires_grad=True)
    for pair in ((source, target), (target, source)):
        loss = LayerCoral()(*pair)
        loss.backward()
        assert loss.item() == 0
    assert not source.grad.any()


def test_coral_stays_in_float32_under_autocast():
    source, target = torch.randn(64, 1, 32), torch.randn(64, 1, 32)
    exact = LayerCoral()(source, target)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(LayerCoral()(source, target), exact)


def test_covariance_divides_by_n_minus_one():
    z = torch.tensor([0.0, 1.0, 2.0, 3.0])[:, None, None]
    assert covariance(z).item() == pytest.approx(5 / 3)


def test_unknown_scale_and_reduction_are_refused():
    with pytest.raises(UserError, match="frobenius, per_dim, deep_coral"):
        LayerCoral("frobnius")
    with pytest.raises(UserError, match="sum, mean"):
        LayerCoral(reduce="max")
