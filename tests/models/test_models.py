import pytest
import torch

from lam_sb.errors import UserError
from lam_sb.models.head import EmotionHead
from lam_sb.models.pooling import LayerPooling, mixed_layers
from lam_sb.models.projector import LayerProjector


def test_projector_is_one_linear_map_a_layer():
    project = LayerProjector([2, 5], input_dim=6, projection_dim=3)
    x = torch.randn(4, 7, 2, 6)
    z = project(x)
    for layer in range(2):
        weight, bias = project.weight[layer], project.bias[layer]
        expected = torch.nn.functional.linear(x[:, :, layer], weight.T, bias)
        assert torch.allclose(z[:, :, layer], expected, atol=1e-6)


def test_projection_norm_fixes_the_length_of_every_vector():
    project = LayerProjector([1], 6, 16, projection_norm="layer")
    with torch.no_grad():
        project.weight *= 1e-2  # cannot shrink what is aligned
    z = project(torch.randn(5, 2, 1, 6))
    lengths = z.norm(dim=-1)
    assert torch.allclose(lengths, torch.full_like(lengths, 4.0), rtol=0.02)


def test_pooling_is_the_softmax_weighted_sum_of_equations_2_and_3():
    pool = LayerPooling([1, 2, 3])
    with torch.no_grad():
        pool.scores.copy_(torch.tensor([0.0, 0.0, 2.0]).log1p())
    # exp(log(1 + s)) = 1, 1, 3: alpha = 0.2, 0.2, 0.6
    assert torch.allclose(pool.alpha, torch.tensor([0.2, 0.2, 0.6]))
    z = torch.tensor([[[[1.0], [2.0], [4.0]]]])
    assert pool(z).item() == pytest.approx(0.2 + 0.4 + 2.4)


def test_head_ignores_masked_chunks():
    torch.manual_seed(0)
    head = EmotionHead(dim=16, num_heads=2, ffn_dim=32).eval()
    x, mask = torch.randn(3, 4, 16), torch.ones(3, 4, dtype=torch.bool)
    mask[1, 2:] = False
    changed = x.clone()
    changed[1, 2:] = 1e3
    assert torch.allclose(head(x, mask), head(changed, mask), atol=1e-5)
    alone = head(x[1:2, :2], mask[1:2, :2])
    assert torch.allclose(head(x, mask)[1], alone[0], atol=1e-5)


def test_head_has_four_fully_connected_layers():
    layers = [m for m in EmotionHead().classifier if hasattr(m, "weight")]
    widths = [(m.in_features, m.out_features) for m in layers]
    assert widths == [(128, 128), (128, 128), (128, 64), (64, 4)]


def test_the_head_without_classes_gives_the_input_of_the_last_layer():
    torch.manual_seed(0)
    head = EmotionHead(16, num_heads=2, ffn_dim=8).eval()
    embed = EmotionHead(16, None, num_heads=2, ffn_dim=8).eval()
    embed.load_state_dict(
        {k: v for k, v in head.state_dict().items() if k in embed.state_dict()}
    )
    x, mask = torch.randn(5, 3, 16), torch.ones(5, 3, dtype=torch.bool)
    embeddings = embed(x, mask)
    assert embeddings.shape == (5, 64)
    assert (embeddings < 0).any()  # before the ReLU
    logits = head.classifier[-1](embeddings.relu())
    assert torch.allclose(logits, head(x, mask), atol=1e-6)


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
