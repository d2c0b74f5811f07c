"""Which layers are mixed, and their weighted mean."""

from __future__ import annotations

import torch
from torch import nn

from lam_sb.errors import UserError, check_choice
from lam_sb.values import CHOICES

BEST_ON_SOURCE = "best_on_source"  # `lam_sb.training.source_folds` chooses it


def mixed_layers(
    mix_layers: str | list[int], anchor_layers: list[int], num_layers: int
) -> list[int]:
    """Layers that the pooling mixes.

    Arguments
    ---------
    mix_layers : str | list[int]
        ``all``; ``top``: the last alone; ``not_anchored``: all but the
        anchored; ``best_on_source``: one, the last until the features are
        there and `lam_sb.training.source_folds` chooses; or a list.
    anchor_layers : list[int]
        Anchored layers.
    num_layers : int
        Depth L of the encoder.

    Returns
    -------
    list[int]
        Layer numbers from 1, in order.

    Raises
    ------
    UserError
        A layer that the encoder does not have, or none to mix.

    Example
    -------
    >>> mixed_layers("not_anchored", [1, 2], num_layers=4)
    [3, 4]
    """
    every = list(range(1, num_layers + 1))
    named = {
        "all": every,
        "top": every[-1:],
        "not_anchored": [n for n in every if n not in anchor_layers],
        BEST_ON_SOURCE: every[-1:],
    }
    if isinstance(mix_layers, str) and mix_layers not in named:
        raise UserError(
            f"mix_layers is '{mix_layers}'; use {', '.join(named)} or a list."
        )
    layers = named[mix_layers] if isinstance(mix_layers, str) else mix_layers
    for key, asked in (
        ("anchor_layers", anchor_layers),
        ("mix_layers", layers),
    ):
        wrong = [n for n in asked if n not in every]
        if wrong:
            raise UserError(
                f"{key} {asked}: the encoder has the layers 1 to "
                f"{num_layers}, so not {', '.join(map(str, wrong))}."
            )
    if not layers:
        raise UserError("mix_layers leaves no layer to mix.")
    return sorted(layers)


class LayerPooling(nn.Module):
    """Weighted mean of the layers, equations 2 and 3.

    L_avg = sum_l alpha_l z_l with alpha = softmax(a), a learned from 0.

    Arguments
    ---------
    layers : list[int]
        Layer numbers that are mixed; sets their count M.
    layer_weighting : str
        ``attention``: a is learned; ``mean``: it stays 0.

    Example
    -------
    >>> pool = LayerPooling([1, 2, 3, 4])
    >>> pool.alpha.tolist()
    [0.25, 0.25, 0.25, 0.25]
    >>> pool(torch.ones(5, 2, 4, 8)).shape
    torch.Size([5, 2, 8])
    """

    def __init__(self, layers: list[int], layer_weighting: str = "attention"):
        super().__init__()
        check_choice(
            "layer_weighting", layer_weighting, CHOICES["layer_weighting"]
        )
        self.scores = nn.Parameter(
            torch.zeros(len(layers)), layer_weighting == "attention"
        )

    @property
    def alpha(self) -> torch.Tensor:
        """Weights (M,), positive, their sum 1."""
        return self.scores.softmax(0)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Mix z (B, K, M, d) over its layers into (B, K, d)."""
        return torch.einsum("m,bkmd->bkd", self.alpha, z)
