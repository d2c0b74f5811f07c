"""Class means and distances by hand."""

from __future__ import annotations

import torch

from lam_sb.losses.prototypes import class_means, prototype_logits


def test_the_nearest_class_mean_wins():
    x = torch.tensor([[0.0, 0.0], [0.0, 2.0], [4.0, 0.0], [9.0, 9.0]])
    means = class_means(x, torch.tensor([0, 0, 1, -1]), 3)
    assert means[:2].tolist() == [[0.0, 1.0], [4.0, 0.0]]
    assert means[2].isnan().all()
    logits = prototype_logits(torch.tensor([[1.0, 1.0]]), means[:2])
    assert logits.tolist() == [[-1.0, -10.0]]  # squared, Euclidean
