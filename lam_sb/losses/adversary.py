"""A domain classifier behind a gradient reversal."""

from __future__ import annotations

import torch
from speechbrain.utils.autocast import fwd_default_precision
from torch import nn


class _Reversal(torch.autograd.Function):
    """Identity whose gradient is reversed (Ganin & Lempitsky 2015)."""

    @staticmethod
    def forward(ctx: object, x: torch.Tensor) -> torch.Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: object, gradient: torch.Tensor) -> torch.Tensor:
        return -gradient


class DomainAdversary(nn.Module):
    """Classifier of the domain, behind a gradient reversal.

    It learns to tell the domains apart while the gradient that it sends back
    makes them harder to tell apart (Ganin & Lempitsky 2015).

    Arguments
    ---------
    dim : int
        Width of the embeddings, and of the hidden layer.

    Example
    -------
    >>> adversary = DomainAdversary(dim=4)
    >>> adversary(torch.zeros(3, 4), torch.zeros(2, 4)).ndim
    0
    """

    keys = ()

    def __init__(self, dim: int = 64):
        super().__init__()
        self.classifier = nn.Sequential(
            nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, 1)
        )

    @fwd_default_precision(cast_inputs=torch.float32)
    def forward(
        self, source_embeddings: torch.Tensor, target_embeddings: torch.Tensor
    ) -> torch.Tensor:
        """Cross-entropy of telling source (B, e) from target (B', e)."""
        is_source, is_target = (
            self.classifier(_Reversal.apply(x)).float()
            for x in (source_embeddings, target_embeddings)
        )
        softplus = nn.functional.softplus
        return (softplus(-is_source).mean() + softplus(is_target).mean()) / 2
