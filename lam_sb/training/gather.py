"""Batches of all processes, joined."""

from __future__ import annotations

import torch
import torch.distributed as dist


def gather_batch(x: torch.Tensor) -> torch.Tensor:
    """Join the batches of all processes, differentiably.

    Arguments
    ---------
    x : torch.Tensor
        (B, ...) of this process, B equal on all; of any type.

    Returns
    -------
    torch.Tensor
        (world B, ...), x itself without distributed processes. A loss of it is
        the same on all processes; the gradient of this process's rows counts
        ``world`` times, since DistributedDataParallel averages over processes.
    """
    if not dist.is_available() or not dist.is_initialized():
        return x
    if x.dtype == torch.bool:
        return gather_batch(x.byte()).bool()
    world = dist.get_world_size()
    sent = x.detach().contiguous()
    gathered = [torch.empty_like(sent) for _ in range(world)]
    dist.all_gather(gathered, sent)
    if x.requires_grad:
        gathered[dist.get_rank()] = sent + world * (x - x.detach())
    return torch.cat(gathered)
