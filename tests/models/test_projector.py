"""One linear map a layer."""

from __future__ import annotations

import torch

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
