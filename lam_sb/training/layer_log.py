"""What is measured of each layer, once an epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from speechbrain.utils.logger import get_logger

from lam_sb.losses.coral import coral_distances

logger = get_logger(__name__)

SHARE_WARNING = 0.2  # of the anchored layers' share at the start


@torch.no_grad()
def measure_layers(
    source: torch.Tensor,
    target: torch.Tensor,
    alpha: torch.Tensor,
    layers: list[int],
    scale: str,
) -> list[dict]:
    """Measure each mixed layer on a batch.

    Arguments
    ---------
    source, target : torch.Tensor
        (N, M, d), (N', M, d) projected segments of the mixed layers.
    alpha : torch.Tensor
        (M,) learned weights.
    layers : list[int]
        Layer numbers.
    scale : str
        Of the CORAL distances.

    Returns
    -------
    list[dict]
        By layer: ``alpha``, its ``share`` of the pooled variance,
        alpha^2 tr Cov(z) over the sum of all layers, the CORAL distance
        ``coral`` of the domains, its ``floor`` between two halves of the
        source, and the traces of both covariances.
    """
    source, target = source.float(), target.float()
    half = len(source) // 2
    traces = _trace(source), _trace(target)
    share = alpha.square() * (traces[0] + traces[1])
    columns = {
        "alpha": alpha,
        "share": share / share.sum().clamp(min=1e-12),
        "coral": coral_distances(source, target, scale),
        "floor": coral_distances(source[:half], source[half:], scale),
        "trace_source": traces[0],
        "trace_target": traces[1],
    }
    lists = {name: values.tolist() for name, values in columns.items()}
    return [
        {"layer": layer} | {name: lists[name][n] for name in lists}
        for n, layer in enumerate(layers)
    ]


def _trace(z: torch.Tensor) -> torch.Tensor:
    """Trace (M,) of the covariance of z (N, M, d), 0 of fewer than two rows."""
    return z.var(0).sum(-1) if len(z) > 1 else z.new_zeros(z.shape[1])


def gradient_ratio(
    alignment: torch.Tensor,
    entropy: torch.Tensor,
    weight: torch.Tensor,
    anchored: list[int],
) -> float | None:
    """Gradient norm of the alignment over that of the cross-entropy.

    Arguments
    ---------
    alignment, entropy : torch.Tensor
        Scalars, the two terms of the loss.
    weight : torch.Tensor
        (M, D, d) weights of the projector.
    anchored : list[int]
        Positions of the anchored layers, whose weights count; all if empty.

    Returns
    -------
    float | None
        None where nothing is aligned.
    """
    if not alignment.requires_grad:
        return None
    rows = anchored or slice(None)
    norms = [
        torch.autograd.grad(loss, weight, retain_graph=True)[0][rows].norm()
        for loss in (alignment, entropy)
    ]
    return float(norms[0] / norms[1].clamp(min=1e-12))


def anchored_share(layers: Sequence[dict], anchored: Sequence[int]) -> float:
    """Share of the pooled variance that the anchored layers hold.

    Arguments
    ---------
    layers : Sequence[dict]
        Rows with ``layer`` and ``share``.
    anchored : Sequence[int]
        Anchored layers.

    Returns
    -------
    float
        Between 0 and 1; 0 where none of them is mixed.
    """
    return math.fsum(r["share"] for r in layers if r["layer"] in anchored)


def warn_of_small_share(
    first: Sequence[dict], now: Sequence[dict], anchored: Sequence[int]
) -> bool:
    """Warn where alignment switches the anchored layers off.

    Arguments
    ---------
    first, now : Sequence[dict]
        As from `measure_layers`, of the first epoch and of this one.
    anchored : Sequence[int]
        Anchored layers.

    Returns
    -------
    bool
        Whether it warned.
    """
    shares = [anchored_share(layers, anchored) for layers in (first, now)]
    if shares[1] >= SHARE_WARNING * shares[0]:
        return False
    logger.warning(
        f"The anchored layers' share of the pooled variance fell from "
        f"{shares[0]:.3f} to {shares[1]:.3f}: the alignment switches "
        "them off rather than aligning them. projection_norm: layer or a "
        "smaller gamma prevents that."
    )
    return True
