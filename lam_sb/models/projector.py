"""One linear map a layer."""

from __future__ import annotations

import math

import torch
from torch import nn

from lam_sb.errors import check_choice
from lam_sb.values import CHOICES

EPSILON = 1e-5  # of LayerNorm's variance


class LayerProjector(nn.Module):
    """One linear map a layer, z_l = W_l x_l (+ b_l), shared by both domains.

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
        ``none``, or ``layer``: LayerNorm without parameters, so that an
        alignment loss can be lowered by aligning only, not by shrinking. Mean
        and deviation are those of an utterance's z_l, the mean of its chunks:
        chunks that were normalised one by one could still cancel out. There is
        no b_l: growing, it would make z_l constant.

    Example
    -------
    >>> project = LayerProjector([1, 2, 3], input_dim=8, projection_dim=4)
    >>> project(torch.randn(5, 2, 3, 8), torch.ones(5, 2, dtype=bool)).shape
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
        check_choice(
            "projection_norm", projection_norm, CHOICES["projection_norm"]
        )
        self.projection_norm = projection_norm
        bound = 1 / math.sqrt(input_dim)  # as nn.Linear
        shape = (len(layers), input_dim, projection_dim)
        self.weight = nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
        self.bias = None
        if projection_norm == "none":
            bias = torch.empty(len(layers), projection_dim)
            self.bias = nn.Parameter(bias.uniform_(-bound, bound))

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Project.

        Arguments
        ---------
        x : torch.Tensor
            (B, K + S, M, D) layers of the K chunks of an utterance and of S
            other segments, each of which is normalised by itself.
        mask : torch.Tensor
            (B, K) bool, False where a chunk has no frames; never a whole row.

        Returns
        -------
        torch.Tensor
            (B, K + S, M, d)
        """
        by_layer = x.permute(2, 0, 1, 3).flatten(1, 2)  # (M, B K, D)
        z = by_layer @ self.weight
        z = z.unflatten(1, x.shape[:2]).permute(1, 2, 0, 3)
        return self._normalise(z, mask) if self.bias is None else z + self.bias

    def _normalise(self, z: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        chunks, segments = z.tensor_split([mask.shape[1]], dim=1)
        mean = masked_mean(chunks, mask)[:, None]
        variance, centre = torch.var_mean(mean, -1, correction=0, keepdim=True)
        chunks = (chunks - centre) * torch.rsqrt(variance + EPSILON)
        segments = nn.functional.layer_norm(segments, z.shape[-1:], eps=EPSILON)
        return torch.cat([chunks, segments], dim=1)


def masked_mean(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean (B, ...) of x (B, K, ...) over those K that mask (B, K) keeps.

    Example
    -------
    >>> masked_mean(torch.tensor([[1.0, 9.0]]), torch.tensor([[True, False]]))
    tensor([1.])
    """
    weights = mask.reshape(*mask.shape, *[1] * (x.ndim - 2)).to(x.dtype)
    return (x * weights).sum(1) / weights.sum(1)
