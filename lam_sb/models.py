"""The classifier on top of frozen layers: project, pool, classify."""

from __future__ import annotations

import itertools
import math

import torch
from torch import nn

from lam_sb.errors import UserError, check_choice

EMBEDDING = 64  # width before the last layer of the head


def mixed_layers(
    mix_layers: str | list[int], anchor_layers: list[int], num_layers: int
) -> list[int]:
    """Layers that the pooling mixes.

    Arguments
    ---------
    mix_layers : str | list[int]
        ``all``; ``top``: the last alone; ``not_anchored``: all but the
        anchored; or a list.
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
        check_choice("layer_weighting", layer_weighting, ("attention", "mean"))
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


class EmotionHead(nn.Module):
    """Transformer over time chunks, masked mean, four fully connected layers.

    The paper's "transformer with 4 fully connected layers".

    Arguments
    ---------
    dim : int
        Width d of the pooled layers.
    num_classes : int, optional
        Number of emotions; None gives embeddings of width 64, the input of
        the last layer before its ReLU.
    num_blocks, num_heads, ffn_dim : int
        Of the transformer encoder.
    dropout : float
        In the transformer and between the fully connected layers.

    Example
    -------
    >>> head = EmotionHead(dim=16, num_heads=2, ffn_dim=32)
    >>> head(torch.randn(5, 3, 16), torch.ones(5, 3, dtype=bool)).shape
    torch.Size([5, 4])
    """

    def __init__(
        self,
        dim: int = 128,
        num_classes: int | None = 4,
        num_blocks: int = 2,
        num_heads: int = 4,
        ffn_dim: int = 256,
        dropout: float = 0.2,
    ):
        super().__init__()
        block = nn.TransformerEncoderLayer(
            dim, num_heads, ffn_dim, dropout, batch_first=True
        )
        self.transformer = nn.TransformerEncoder(
            block, num_blocks, enable_nested_tensor=False
        )
        widths = [dim, dim, dim, EMBEDDING]
        if num_classes is not None:
            widths.append(num_classes)
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Linear(before, after), nn.ReLU(), nn.Dropout(dropout)]
        self.classifier = nn.Sequential(*layers[:-2])

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Classify.

        Arguments
        ---------
        x : torch.Tensor
            (B, K, d) pooled layers of each time chunk.
        mask : torch.Tensor
            (B, K) bool, False where a chunk has no frames; never a whole row.

        Returns
        -------
        torch.Tensor
            (B, num_classes) logits, or (B, 64) embeddings.
        """
        y = self.transformer(x, src_key_padding_mask=~mask)
        weights = mask[..., None].to(y.dtype)
        mean = (y * weights).sum(1) / weights.sum(1)
        return self.classifier(mean)
