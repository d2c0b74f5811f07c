"""One linear map a layer."""

from __future__ import annotations

import math

import torch
from torch import nn

from lam_sb.errors import check_choice


class LayerProjector(nn.Module):
    """One linear map a layer, z_l = W_l x_l + b_l, shared by both domains.

    CORAL has no gradient on frozen features; these maps are what it acts on.

    Arguments
    ---------
    layers : list[int]
        Layer numbers that are mixed, from 1; sets their count M.
    input_dim : int
        Width D of the encoder.
    projection_dim : int
        Width d of the projection.
    projection_norm : str
        ``none``, or ``layer``: LayerNorm without parameters on z_l, so that
        an alignment loss can be lowered by aligning only, not by shrinking.

    Example
    -------
    >>> project = LayerProjector([1, 2, 3], input_dim=8, projection_dim=4)
    >>> project(torch.randn(5, 2, 3, 8)).shape
    torch.Size([5, 2, 3, 4])
    """

    def __init__(
        self,
        layers: list[int],
        input_dim: int,
        projection_dim: int = 128,
        projection_norm: str = "none",
    ):
        super().__init__()
        check_choice("projection_norm", projection_norm, ("none", "layer"))
        self.projection_norm = projection_norm
        bound = 1 / math.sqrt(input_dim)  # as nn.Linear
        shape = (len(layers), input_dim, projection_dim)
        self.weight = nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
        self.bias = nn.Parameter(
            torch.empty(len(layers), projection_dim).uniform_(-bound, bound)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Project x (B, K, M, D) to z (B, K, M, d)."""
        by_layer = x.permute(2, 0, 1, 3).flatten(1, 2)  # (M, B K, D)
        z = torch.baddbmm(self.bias[:, None], by_layer, self.weight)
        z = z.unflatten(1, x.shape[:2]).permute(1, 2, 0, 3)
        if self.projection_norm == "layer":
            z = nn.functional.layer_norm(z, z.shape[-1:])
        return z
