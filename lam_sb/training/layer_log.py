"""What is measured of each layer, once an epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from speechbrain.utils.logger import get_logger

from lam_sb.losses.coral import coral_distances

logger = get_logger(__name__)

FALL_WARNING = 0.2  # of a layer's share or trace at the start


@torch.no_grad()
def measure_layers(
    pairs: Sequence[tuple[torch.Tensor, torch.Tensor]],
    alpha: torch.Tensor,
    layers: list[int],
    scale: str,
) -> list[dict]:
    """Measure each mixed layer on a batch.

    Arguments
    ---------
    pairs : Sequence[tuple[torch.Tensor, torch.Tensor]]
        (N, M, d), (N', M, d) projected segments of the mixed layers, of each
        source and target; what is measured is the mean over them.
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
        ``coral`` between a half of the source's rows and a half of the
        target's, its ``floor`` between two halves of the source's (a distance
        grows as rows get fewer, so all halves are of one size), and the traces
        of both covariances.
    """
    measured = [_measure_pair(*pair, alpha, scale) for pair in pairs]
    lists = {
        name: torch.stack([m[name] for m in measured]).mean(0).tolist()
        for name in measured[0]
    }
    return [
        {"layer": layer} | {name: lists[name][n] for name in lists}
        for n, layer in enumerate(layers)
    ]


def _measure_pair(
    source: torch.Tensor,
    target: torch.Tensor,
    alpha: torch.Tensor,
    scale: str,
) -> dict[str, torch.Tensor]:
    """Measure all layers (M,) between two corpora."""
    source, target = source.float(), target.float()
    half = min(len(source), len(target)) // 2
    halves = source[:half], source[half : 2 * half]
    other = target[:half], target[half : 2 * half]
    distances = [coral_distances(a, b, scale) for a in halves for b in other]
    traces = _trace(source), _trace(target)
    share = alpha.square() * (traces[0] + traces[1])
    return {
        "alpha": alpha,
        "share": share / share.sum().clamp(min=1e-12),
        "coral": torch.stack(distances).mean(0),
        "floor": coral_distances(*halves, scale),
        "trace_source": traces[0],
        "trace_target": traces[1],
    }


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


def epoch_stats(entry: Mapping, anchored: Sequence[int]) -> dict:
    """Give what an epoch gave as numbers by name, for a train logger.

    Arguments
    ---------
    entry : Mapping
        Of `lam_sb.training.history.History`.
    anchored : Sequence[int]
        Anchored layers, whose measures are shown.

    Returns
    -------
    dict
        Validation loss and UAR and, where anchored layers are mixed, their
        share of the pooled variance, their measures, and the gradient ratio.
    """
    stats = {"loss": entry["valid_loss"], "UAR": entry["valid_uar"]}
    layers = entry.get("layers", ())
    rows = [r for r in layers if r["layer"] in anchored]
    if rows:
        stats["anchored share"] = math.fsum(r["share"] for r in rows)
        for name in ("coral", "floor", "trace_source", "trace_target"):
            stats |= {f"{name} {r['layer']}": r[name] for r in rows}
    if entry.get("gradient_ratio") is not None:
        stats["gradient ratio"] = entry["gradient_ratio"]
    return stats


def warn_of_silent_layers(
    first: Sequence[dict], now: Sequence[dict], anchored: Sequence[int]
) -> bool:
    """Warn where alignment switches an anchored layer off.

    Its share of the pooled variance or, where all layers shrink alike, its own
    trace falls below a fifth of what it was.

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
    fallen = []
    for before, after in zip(first, now, strict=True):
        for name, was, value in (
            ("share of the pooled variance", before["share"], after["share"]),
            ("trace", _both_traces(before), _both_traces(after)),
        ):
            if before["layer"] in anchored and value < FALL_WARNING * was:
                layer = before["layer"]
                fallen.append(
                    f"layer {layer}: {name} from {was:.3g} to {value:.3g}"
                )
    if fallen:
        logger.warning(
            "The alignment switches anchored layers off rather than aligning "
            f"them ({'; '.join(fallen)}). Use a smaller gamma, or "
            "projection_norm: layer where it is none."
        )
    return bool(fallen)


def _both_traces(layer: dict) -> float:
    return layer["trace_source"] + layer["trace_target"]
