"""Which layers are mixed, and their weighted mean."""

from __future__ import annotations

import pytest
import torch

from lam_sb.errors import UserError
from lam_sb.models.pooling import LayerPooling, mixed_layers


def test_pooling_is_the_softmax_weighted_sum_of_equations_2_and_3():
    pool = LayerPooling([1, 2, 3])
    with torch.no_grad():
        pool.scores.copy_(torch.tensor([0.0, 0.0, 2.0]).log1p())
    # exp(log(1 + s)) = 1, 1, 3: alpha = 0.2, 0.2, 0.6
    assert torch.allclose(pool.alpha, torch.tensor([0.2, 0.2, 0.6]))
    z = torch.tensor([[[[1.0], [2.0], [4.0]]]])
    assert pool(z).item() == pytest.approx(0.2 + 0.4 + 2.4)


def test_the_mean_of_the_layers_is_not_learned():
    pool = LayerPooling([1, 2, 3, 4], layer_weighting="mean")
    z = torch.randn(5, 2, 4, 8)
    assert torch.allclose(pool(z), z.mean(2), atol=1e-6)
    assert not any(p.requires_grad for p in pool.parameters())
    assert all(p.requires_grad for p in LayerPooling([1, 2]).parameters())
    with pytest.raises(UserError, match="use one of attention, mean"):
        LayerPooling([1], layer_weighting="max")


def test_mixed_layers_by_name_and_by_list():
    assert mixed_layers("all", [8], 3 + 6) == list(range(1, 10))
    assert mixed_layers("top", [1], 6) == [6]
    assert mixed_layers("not_anchored", [8, 9, 11], 12) == [
        *(1, 2, 3, 4, 5, 6, 7),
        *(10, 12),
    ]
    assert mixed_layers([5, 2], [2], 6) == [2, 5]


def test_layers_beyond_the_encoder_are_refused_with_the_range():
    with pytest.raises(UserError, match=r"layers 1 to 6, so not 8, 9, 11"):
        mixed_layers("all", [8, 9, 11], 6)
    with pytest.raises(UserError, match="1 to 6, so not 0"):
        mixed_layers([0, 1], [], 6)
    with pytest.raises(UserError, match="all, top, not_anchored"):
        mixed_layers("bottom", [], 6)
    with pytest.raises(UserError, match="no layer to mix"):
        mixed_layers("not_anchored", [1, 2], 2)
