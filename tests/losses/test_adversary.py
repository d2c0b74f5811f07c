"""The domain classifier against PyTorch's binary cross-entropy."""

from __future__ import annotations

import pytest
import torch

from lam_sb.losses.adversary import DomainAdversary


def test_the_adversary_learns_the_domains_and_sends_back_the_opposite():
    torch.manual_seed(0)
    adversary = DomainAdversary(dim=4)
    source = torch.randn(8, 4, requires_grad=True)
    target = torch.randn(6, 4, requires_grad=True)
    loss = adversary(source, target)
    logits = [adversary.classifier(x)[:, 0] for x in (source, target)]
    entropy = torch.nn.functional.binary_cross_entropy_with_logits
    expected = [
        entropy(logit, torch.full_like(logit, label))
        for logit, label in zip(logits, (1.0, 0.0), strict=True)
    ]
    plain = sum(expected) / 2  # each domain counts the same
    assert loss.item() == pytest.approx(plain.item())
    weights = list(adversary.parameters())
    for got, same in zip(
        torch.autograd.grad(loss, weights, retain_graph=True),
        torch.autograd.grad(plain, weights, retain_graph=True),
        strict=True,
    ):
        assert torch.allclose(got, same)
    for got, opposite in zip(
        torch.autograd.grad(loss, [source, target]),
        torch.autograd.grad(plain, [source, target]),
        strict=True,
    ):
        assert torch.allclose(got, -opposite)
        assert got.any()
