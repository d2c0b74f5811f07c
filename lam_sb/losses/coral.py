"""CORAL on the anchored layers (equation 1)."""

from __future__ import annotations

import torch
from speechbrain.utils.autocast import fwd_default_precision
from torch import nn

from lam_sb.errors import check_choice

SCALES = ("frobenius", "per_dim", "deep_coral")
REDUCTIONS = ("sum", "mean")


def covariance(z: torch.Tensor) -> torch.Tensor:
    """Covariances of a batch, layer by layer, with n - 1.

    Arguments
    ---------
    z : torch.Tensor
        (B, A, d) vectors of A layers.

    Returns
    -------
    torch.Tensor
        (A, d, d)

    Example
    -------
    >>> covariance(torch.tensor([[[1.0, 2.0]], [[3.0, 2.0]]]))
    tensor([[[2., 0.],
             [0., 0.]]])
    """
    centred = (z - z.mean(0)).transpose(0, 1)
    return centred.mT @ centred / (len(z) - 1)


def coral_distances(
    source: torch.Tensor, target: torch.Tensor, scale: str = "frobenius"
) -> torch.Tensor:
    """Distance of two domains' covariances, layer by layer (equation 1).

    Arguments
    ---------
    source, target : torch.Tensor
        (B, A, d), (B', A, d) vectors of A layers.
    scale : str
        ``frobenius``: ||Cs - Ct||_F, as in the paper; ``per_dim``: divided by
        d; ``deep_coral``: ||Cs - Ct||_F^2 / (4 d^2), Sun & Saenko (2016).

    Returns
    -------
    torch.Tensor
        (A,); 0 where a domain has fewer than two rows.
    """
    if min(len(source), len(target)) < 2:
        return (source.sum() + target.sum()) * source.new_zeros(source.shape[1])
    difference = covariance(source) - covariance(target)
    norms = torch.linalg.matrix_norm(difference)  # gradient 0 at 0, not NaN
    if scale == "deep_coral":
        return norms.square() / (4 * source.shape[-1] ** 2)
    return norms / source.shape[-1] if scale == "per_dim" else norms


class LayerCoral(nn.Module):
    """CORAL on the anchored layers (equation 1).

    Arguments
    ---------
    scale : str
        frobenius, per_dim or deep_coral; see `coral_distances`.
    reduce : str
        ``sum`` over the anchored layers, as in the paper, or ``mean``.

    Example
    -------
    >>> source = torch.tensor([[[1.0, 0.0]], [[-1.0, 0.0]]])  # Cov: 2, 0
    >>> target = torch.tensor([[[0.0, 1.0]], [[0.0, -1.0]]])  # Cov: 0, 2
    >>> round(LayerCoral()(source, target).item(), 4)  # sqrt(2^2 + 2^2)
    2.8284
    >>> round(LayerCoral(scale="deep_coral")(source, target).item(), 4)
    0.5
    """

    keys = ("segment", "anchor_layers", "scale", "reduce")
    recordable = True

    def __init__(self, scale: str = "frobenius", reduce: str = "sum"):
        super().__init__()
        check_choice("scale", scale, SCALES)
        check_choice("reduce", reduce, REDUCTIONS)
        self.scale = scale
        self.reduce = reduce

    @fwd_default_precision(cast_inputs=torch.float32)
    def forward(
        self, source: torch.Tensor, target: torch.Tensor
    ) -> torch.Tensor:
        """Compare the domains.

        Arguments
        ---------
        source, target : torch.Tensor
            (B, A, d), (B', A, d) projected vectors of the A anchored layers.

        Returns
        -------
        torch.Tensor
            Scalar loss, in float32 whatever the autocast.
        """
        distances = coral_distances(source, target, self.scale)
        return getattr(distances, self.reduce)()
