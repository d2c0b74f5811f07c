"""Which frames of an utterance belong to a segment, and their means."""

from __future__ import annotations

import itertools
import math
from bisect import bisect
from collections.abc import Sequence

import torch

from lam_sb.corpora.phones import CONSONANT, OTHER_VOWEL, VOWELS

# Segments of utterances with phones, and their shape before (L, D), in the
# order of their means.
PHONE_SEGMENTS = {
    "vowels": (),
    "consonants": (),
    "vowel_classes": (len(VOWELS),),
}


def chunk_bounds(frames: int, time_chunks: int) -> list[tuple[int, int]]:
    """Bounds [start, end) of K equal time chunks of T frames.

    Chunk k holds the frames floor(kT/K) to floor((k+1)T/K) - 1, none where
    the utterance has fewer than K frames.

    Example
    -------
    >>> chunk_bounds(10, 4)
    [(0, 2), (2, 5), (5, 7), (7, 10)]
    """
    edges = [k * frames // time_chunks for k in range(time_chunks + 1)]
    return list(itertools.pairwise(edges))


def frame_classes(
    phones: Sequence[Sequence], centres: Sequence[float]
) -> list[str]:
    """Class of the phone in which the centre of each frame lies.

    Phones are ``[class, start, end]`` in order, without their end; all times
    are in seconds. A frame outside of all phones has an empty class.

    Example
    -------
    >>> frame_classes([["a", 0.01, 0.03]], [0.01, 0.02, 0.03])
    ['a', 'a', '']
    """
    starts = [start for _, start, _ in phones]
    last = [bisect(starts, time) - 1 for time in centres]
    return [
        phones[n][0] if n >= 0 and time < phones[n][2] else ""
        for n, time in zip(last, centres, strict=True)
    ]


def segment_means(
    layers: torch.Tensor,
    frames: Sequence[int],
    time_chunks: int,
    phones: Sequence[Sequence[str]] = (),
) -> tuple[torch.Tensor, torch.Tensor]:
    """Means over the frames of each segment, of a batch of utterances.

    Arguments
    ---------
    layers : torch.Tensor
        (B, L, T, D) all layers, on any device.
    frames : Sequence[int]
        Number of frames of each utterance; later ones are padding.
    time_chunks : int
        Number of equal time chunks K.
    phones : Sequence[Sequence[str]]
        By utterance the class of the phone of each frame, as from
        `frame_classes`; none for utterances without phones.

    Returns
    -------
    means : torch.Tensor
        (B, S, L, D), on that device. The S segments are the utterance, its
        chunks and, with phones, vowels, consonants, and vowels by class in
        the order of `lam_sb.corpora.phones.VOWELS`.
    counts : torch.Tensor
        (B, S) number of frames of each. The mean of a segment without frames
        is 0, and must be masked.

    Example
    -------
    >>> layers = torch.arange(4.0)[None, None, :, None]  # four frames of one
    >>> means, counts = segment_means(layers, [4], time_chunks=2)
    >>> means.flatten().tolist(), counts.tolist()
    ([1.5, 0.5, 2.5], [[4, 2, 2]])
    """
    total = count_means(time_chunks, bool(phones))
    held = torch.zeros(len(layers), total, layers.shape[2])
    for n, count in enumerate(frames):
        bounds = [(0, count), *chunk_bounds(count, time_chunks)]
        for segment, (start, end) in enumerate(bounds):
            held[n, segment, start:end] = 1
        if phones:
            held[n, len(bounds) :, :count] = _held_by_phones(phones[n])
    counts = held.sum(2)
    # One product, exact but for the order in which frames are added.
    sums = held.to(layers.device)[:, None] @ layers  # (B, L, S, D)
    divisors = counts.clamp(min=1)[:, :, None, None].to(layers.device)
    return sums.transpose(1, 2) / divisors, counts.int()


def by_segment(stacked: torch.Tensor, time_chunks: int) -> dict:
    """Split what `segment_means` gives, (B, S, ...), by the segments' names.

    Example
    -------
    >>> parts = by_segment(torch.zeros(5, 9, 2, 4), time_chunks=8)
    >>> {name: tuple(values.shape) for name, values in parts.items()}
    {'utterance': (5, 2, 4), 'chunks': (5, 8, 2, 4)}
    """
    shapes = {"utterance": (), "chunks": (time_chunks,)}
    if stacked.shape[1] > count_means(time_chunks, has_phones=False):
        shapes |= PHONE_SEGMENTS
    parts = stacked.split([math.prod(s) for s in shapes.values()], dim=1)
    return {
        name: part.reshape(len(part), *shape, *stacked.shape[2:])
        for (name, shape), part in zip(shapes.items(), parts, strict=True)
    }


def count_means(time_chunks: int, has_phones: bool) -> int:
    """Count the segments S of an utterance, whose means (L, D) are stored."""
    of_phones = sum(math.prod(shape) for shape in PHONE_SEGMENTS.values())
    return 1 + time_chunks + of_phones * has_phones


def _held_by_phones(phones: Sequence[str]) -> torch.Tensor:
    """Frames (8, T) that the segments of phones hold."""
    segments = ((*VOWELS, OTHER_VOWEL), (CONSONANT,), *((v,) for v in VOWELS))
    return torch.tensor([[p in names for p in phones] for names in segments])
