"""One linear map a layer."""

from __future__ import annotations

import torch

from lam_sb.losses.coral import LayerCoral
from lam_sb.models.projector import LayerProjector


def full(x):
    return torch.ones(x.shape[:2], dtype=torch.bool)


def test_projector_is_one_linear_map_a_layer():
    project = LayerProjector([2, 5], input_dim=6, projection_dim=3)
    x = torch.randn(4, 7, 2, 6)
    z = project(x, full(x))
    for layer in range(2):
        weight, bias = project.weight[layer], project.bias[layer]
        expected = torch.nn.functional.linear(x[:, :, layer], weight.T, bias)
        assert torch.allclose(z[:, :, layer], expected, atol=1e-6)


def test_projection_norm_fixes_the_length_of_an_utterances_mean():
    project = LayerProjector([1], 6, 16, projection_norm="layer")
    assert project.bias is None
    with torch.no_grad():
        project.weight *= 0.1  # cannot shrink what is aligned
    x = 3 * torch.randn(5, 4, 1, 6)
    mask = full(x)[:, :3]  # the last is another segment
    mask[1, 1:] = mask[4, 0] = False
    z = project(x, mask)
    means = torch.stack([z[n, :3][mask[n]].mean(0) for n in range(5)])
    for vectors in (means, z[:, 3]):
        lengths = vectors.norm(dim=-1)
        assert torch.allclose(lengths, torch.full_like(lengths, 4.0), rtol=0.02)
        assert vectors.mean(-1).abs().max() < 1e-5


def test_the_chunks_of_an_utterance_keep_their_distances():
    """They are shifted and scaled together."""
    project = LayerProjector([1], 6, 16, projection_norm="layer")
    x = torch.randn(3, 4, 1, 6)
    z, raw = project(x, full(x)), x[:, :, 0] @ project.weight[0]
    for n in range(3):
        ratio = torch.pdist(z[n, :, 0]) / torch.pdist(raw[n])
        assert torch.allclose(ratio, ratio[0].expand(6), rtol=1e-4)


def test_no_way_to_switch_an_aligned_layer_off():
    """2,000 steps of CORAL alone: utterances differ as much as before.

    Half of the dimensions tell chunks apart, not utterances, so maps of these
    alone, or constant ones, would bring the domains together.
    """
    torch.manual_seed(0)
    project = LayerProjector([1, 2], 8, 12, projection_norm="layer")
    coral = LayerCoral("frobenius", "mean")
    of_utterance = torch.tensor([1.0] * 4 + [0.0] * 4)

    def draw(mix):
        utterance = torch.randn(64, 1, 2, 8) @ mix * of_utterance
        x = utterance + torch.randn(64, 4, 2, 8) * (1.1 - of_utterance)
        return x / x.std((0, 1))

    mixes = torch.randn(2, 8, 8) / 8**0.5
    domains = [draw(mix) for mix in mixes]

    def trace(x):
        return project(x, full(x)).mean(1).var(0).sum(-1)

    start = [trace(x).detach() for x in domains]
    optimizer = torch.optim.Adam(project.parameters(), lr=0.001)
    for _ in range(2000):
        source, target = (project(x, full(x)).mean(1) for x in domains)
        loss = 10 * coral(source, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for before, x in zip(start, domains, strict=True):
        assert (trace(x) > 0.8 * before).all()
