"""Minimum class confusion on the target's unlabelled rows."""

from __future__ import annotations

import torch
from speechbrain.utils.autocast import fwd_default_precision
from torch import nn


class MinimumClassConfusion(nn.Module):
    """How far the target's posteriors mix up the classes (Jin et al. 2020).

    "Minimum Class Confusion for Versatile Domain Adaptation" (ECCV). It needs
    no label and takes no class to be as frequent as another.

    Arguments
    ---------
    temperature : float
        Divides the logits; the paper's is 2.5.

    Example
    -------
    >>> loss = MinimumClassConfusion(temperature=1.0)
    >>> sure = torch.tensor([[9.0, -9.0], [-9.0, 9.0]])
    >>> round(loss(sure).item(), 4), round(loss(0 * sure).item(), 4)
    (0.0, 0.5)
    """

    keys = ()
    recordable = True

    def __init__(self, temperature: float = 2.5):
        super().__init__()
        self.temperature = temperature

    @fwd_default_precision(cast_inputs=torch.float32)
    def forward(self, target_logits: torch.Tensor) -> torch.Tensor:
        """Add up the confusion of different classes.

        Rows of little entropy count more. The confusion of two classes is the
        mean product of their posteriors, its rows scaled to add up to 1.

        Arguments
        ---------
        target_logits : torch.Tensor
            (B', C)

        Returns
        -------
        torch.Tensor
            Scalar from 0 to 1 - 1 / C.
        """
        log_p = torch.log_softmax(target_logits / self.temperature, dim=-1)
        p = log_p.exp()
        weight = 1 + (p * log_p).sum(-1).exp()  # 1 + exp(-entropy)
        weight = weight * (len(p) / weight.sum())
        confusion = (p * weight[:, None]).mT @ p
        tiny = torch.finfo(p.dtype).tiny  # of a class that no row has
        confusion = confusion / confusion.sum(1, keepdim=True).clamp(min=tiny)
        return 1 - confusion.diagonal().mean()
