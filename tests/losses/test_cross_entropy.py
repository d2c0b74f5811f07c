"""Class-weighted cross-entropy by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lam_sb.losses.cross_entropy import balanced_weights, weighted_cross_entropy


def test_cross_entropy_divides_by_rows_and_skips_hidden_labels():
    # Even logits give log 4 a row; weights 1 and 3, one row hidden.
    logits = torch.zeros(3, 4)
    labels = torch.tensor([0, 1, -1])
    weight = torch.tensor([1.0, 3.0, 1.0, 1.0])
    loss = weighted_cross_entropy(logits, labels, weight)
    assert loss.item() == pytest.approx((1 + 3) * np.log(4) / 2)


def test_balanced_weights_give_each_class_the_same_total():
    labels = torch.tensor([0] * 6 + [1] * 3 + [2] * 2 + [3])
    weights = balanced_weights([labels], 4)
    totals = weights * torch.bincount(labels)
    assert torch.allclose(totals, torch.full((4,), 3.0))
