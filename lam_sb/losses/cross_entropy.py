"""Class-weighted cross-entropy."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


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


def balanced_weights(
    labels: Sequence[torch.Tensor], num_classes: int
) -> torch.Tensor:
    """Class weights w_c = 1 / (C p_c), p_c the share of a class.

    Arguments
    ---------
    labels : Sequence[torch.Tensor]
        (N,) classes of the labelled rows of each source; a share is the mean
        over them. Of one source, w_c = N / (C n_c).
    num_classes : int
        Number of classes C.

    Returns
    -------
    torch.Tensor
        (C,), 0 for a class without rows.

    Example
    -------
    >>> balanced_weights([torch.tensor([0, 0, 0, 1])], 2)
    tensor([0.6667, 2.0000])
    """
    rows = sum(map(len, labels))
    counts = torch.zeros(num_classes)
    for part in labels:  # as if each source had as many rows
        count = torch.bincount(part, minlength=num_classes).float()
        counts += count * (rows / (len(labels) * len(part)))
    weights = rows / (num_classes * counts.clamp(min=1e-6))
    return weights * (counts > 0)
