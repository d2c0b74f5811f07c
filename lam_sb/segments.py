"""Which frames of an utterance belong to a segment, and their means."""

from __future__ import annotations

import itertools

import torch

Segments = dict[str, tuple[torch.Tensor, torch.Tensor]]


def chunk_bounds(frames: int, time_chunks: int) -> list[tuple[int, int]]:
    """Bounds [start, end) of equal time chunks.

    Arguments
    ---------
    frames : int
        Number of frames T of the utterance.
    time_chunks : int
        Number of chunks K; chunk k holds the frames floor(kT/K) to
        floor((k+1)T/K) - 1, none where the utterance has fewer than K frames.

    Returns
    -------
    list[tuple[int, int]]
        K pairs of first frame and the frame after the last.

    Example
    -------
    >>> chunk_bounds(10, 4)
    [(0, 2), (2, 5), (5, 7), (7, 10)]
    """
    edges = [k * frames // time_chunks for k in range(time_chunks + 1)]
    return list(itertools.pairwise(edges))


def segment_means(layers: torch.Tensor, time_chunks: int) -> Segments:
    """Means over the frames of each segment of one utterance.

    Arguments
    ---------
    layers : torch.Tensor
        (L, T, D) all layers of the utterance, padding cut off.
    time_chunks : int
        Number of equal time chunks K.

    Returns
    -------
    Segments
        ``utterance``: (L, D) and its number of frames, (); ``chunks``:
        (K, L, D) and (K,). A segment without frames has 0 frames; its values
        mean nothing and must be masked.

    Example
    -------
    >>> layers = torch.arange(4.0)[None, :, None]  # one layer, four frames
    >>> means = segment_means(layers, time_chunks=2)
    >>> means["utterance"][0].item(), means["chunks"][0].flatten().tolist()
    (1.5, [0.5, 2.5])
    >>> means["chunks"][1].tolist()
    [2, 2]
    """
    bounds = chunk_bounds(layers.shape[1], time_chunks)
    chunks = [_mean(layers[:, a:b]) for a, b in bounds]
    counts = [b - a for a, b in bounds]
    return {
        "utterance": (_mean(layers), torch.tensor(layers.shape[1])),
        "chunks": (torch.stack(chunks), torch.tensor(counts)),
    }


def _mean(frames: torch.Tensor) -> torch.Tensor:
    """Mean (L, D) of (L, T, D) over time, zeros without frames."""
    return frames.sum(1) / max(frames.shape[1], 1)
