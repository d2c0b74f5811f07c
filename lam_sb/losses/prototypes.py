"""Prototypes of classes, and distances to them."""

from __future__ import annotations

import torch
from torch import nn


def class_means(
    x: torch.Tensor, labels: torch.Tensor, num_classes: int
) -> torch.Tensor:
    """Prototype of each class: the mean of its embeddings (Snell et al. 2017).

    Arguments
    ---------
    x : torch.Tensor
        (N, e) embeddings.
    labels : torch.Tensor
        (N,) classes; rows with -1 do not count.
    num_classes : int
        Number of classes C.

    Returns
    -------
    torch.Tensor
        (C, e), not a number for a class without rows.

    Example
    -------
    >>> x = torch.tensor([[1.0], [3.0], [5.0]])
    >>> class_means(x, torch.tensor([0, 0, 1]), 2).tolist()
    [[2.0], [5.0]]
    """
    member = nn.functional.one_hot(labels + 1, num_classes + 1)[:, 1:]
    member = member.to(x.dtype)
    return member.T @ x / member.sum(0)[:, None]


def prototype_logits(x: torch.Tensor, prototypes: torch.Tensor) -> torch.Tensor:
    """Logits (N, C) of x (N, e): minus squared distances to C prototypes."""
    return -(x[:, None] - prototypes).square().sum(-1)
