"""The classifier of the pooled layers."""

from __future__ import annotations

import torch

from lam_sb.models.head import EmotionHead


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


def test_the_order_of_the_chunks_does_not_matter():
    torch.manual_seed(0)
    head = EmotionHead(dim=16, num_heads=2, ffn_dim=32).eval()
    x, mask = torch.randn(3, 6, 16), torch.ones(3, 6, dtype=torch.bool)
    mask[1, 4:] = False
    order = torch.randperm(6)
    permuted = head(x[:, order], mask[:, order])
    assert torch.allclose(head(x, mask), permuted, atol=1e-5)
    other = x + torch.randn(3, 6, 16)
    assert not torch.allclose(head(x, mask), head(other, mask), atol=1e-2)


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
