"""Alignment of two domains, as plain callables (source, target) -> scalar."""

from __future__ import annotations

import torch
import torch.distributed as dist
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
        (A,)
    """
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
        """Compare the domains over the batches of all processes.

        Arguments
        ---------
        source, target : torch.Tensor
            (B, A, d) projected vectors of the A anchored layers.

        Returns
        -------
        torch.Tensor
            Scalar loss, in float32 whatever the autocast.
        """
        source, target = gather_batch(source), gather_batch(target)
        distances = coral_distances(source, target, self.scale)
        return getattr(distances, self.reduce)()


def gather_batch(x: torch.Tensor) -> torch.Tensor:
    """Join the batches of all processes, differentiably.

    Arguments
    ---------
    x : torch.Tensor
        (B, ...) of this process, B equal on all.

    Returns
    -------
    torch.Tensor
        (world B, ...), x itself without distributed processes. A loss of it is
        the same on all processes; the gradient of this process's rows counts
        ``world`` times, since DistributedDataParallel averages over processes.
    """
    if not dist.is_available() or not dist.is_initialized():
        return x
    world = dist.get_world_size()
    sent = x.detach().contiguous()
    gathered = [torch.empty_like(sent) for _ in range(world)]
    dist.all_gather(gathered, sent)
    gathered[dist.get_rank()] = sent + world * (x - x.detach())
    return torch.cat(gathered)


def weighted_cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, weight: torch.Tensor
) -> torch.Tensor:
    """Class-weighted cross-entropy, divided by the number of rows.

    PyTorch divides by the sum of the batch's weights, which differs between
    processes; divided by B, the mean over processes is the loss of one.

    Arguments
    ---------
    logits : torch.Tensor
        (B, C)
    labels : torch.Tensor
        (B,) class of each row; -1 marks a row that does not count.
    weight : torch.Tensor
        (C,) class weights.

    Returns
    -------
    torch.Tensor
        Scalar loss.
    """
    losses = nn.functional.cross_entropy(
        logits.float(), labels, weight, ignore_index=-1, reduction="sum"
    )
    return losses / (labels >= 0).sum().clamp(min=1)


def balanced_weights(labels: torch.Tensor, num_classes: int) -> torch.Tensor:
    """Class weights w_c = N / (C n_c).

    Arguments
    ---------
    labels : torch.Tensor
        (N,) classes of the labelled source rows.
    num_classes : int
        Number of classes C.

    Returns
    -------
    torch.Tensor
        (C,), 0 for a class without rows.

    Example
    -------
    >>> balanced_weights(torch.tensor([0, 0, 0, 1]), 2)
    tensor([0.6667, 2.0000])
    """
    counts = torch.bincount(labels, minlength=num_classes).float()
    weights = len(labels) / (num_classes * counts.clamp(min=1))
    return weights * (counts > 0)
