"""Minimum class confusion, against its formulas row by row."""

from __future__ import annotations

import math

import pytest
import torch
from brains import make_batch

from lam_sb.losses.confusion import MinimumClassConfusion


def by_hand(logits, temperature):
    """Equations 2 to 5 of Jin et al. (2020), without a tensor operation."""
    posteriors = []
    for row in logits.tolist():
        powers = [math.exp(v / temperature) for v in row]
        posteriors.append([v / sum(powers) for v in powers])
    weights = [
        1 + math.exp(sum(p * math.log(p) for p in row)) for row in posteriors
    ]
    weights = [len(weights) * w / sum(weights) for w in weights]
    classes = range(len(posteriors[0]))
    total = 0.0
    for i in classes:
        confusion = [
            sum(
                w * row[i] * row[j]
                for w, row in zip(weights, posteriors, strict=True)
            )
            for j in classes
        ]
        total += (sum(confusion) - confusion[i]) / sum(confusion)
    return total / len(classes)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_it_is_the_papers(temperature):
    logits = 3 * torch.randn(7, 4, generator=torch.manual_seed(1))
    found = MinimumClassConfusion(temperature)(logits).item()
    assert found == pytest.approx(by_hand(logits, temperature), abs=1e-6)


def test_rare_classes_cost_no_more_than_frequent_ones():
    """A target that is sure costs nothing, however skewed it is."""
    sure = 60 * torch.eye(4)[[0, 0, 0, 0, 0, 0, 1, 2, 3]] - 30
    assert MinimumClassConfusion()(sure).item() == pytest.approx(0, abs=1e-4)


def test_a_class_that_no_row_has_is_no_end_of_all():
    logits = torch.tensor([[0.0, 400.0], [0.0, 500.0]], requires_grad=True)
    loss = MinimumClassConfusion()(logits)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


def test_half_precision_is_widened():
    logits = torch.randn(6, 4, dtype=torch.float16)
    with torch.autocast("cpu", torch.bfloat16):
        loss = MinimumClassConfusion()(logits)
    assert loss.dtype == torch.float32


def test_a_brain_gives_it_the_targets_logits(make_brain):
    seen = []

    def keep(target_logits):
        seen.append(target_logits)
        return target_logits.sum() * 0

    brain = make_brain(gamma=1, alignment=keep)
    brain.classifies_target = True
    batch = make_batch()
    outputs = brain.compute_forward(batch, "train")
    brain.align(keep, brain.alignment_inputs(outputs, batch))
    assert torch.equal(seen[0], outputs.logits[batch.num_source :])
    assert len(seen[0]) == len(batch.labels) - batch.num_source > 0
