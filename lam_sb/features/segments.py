"""Which frames of an utterance belong to a segment, and their means."""

from __future__ import annotations

import itertools
import math
from bisect import bisect
from collections.abc import Sequence

import torch

from lam_sb.corpora.phones import CONSONANT, OTHER_VOWEL, VOWELS

Segments = dict[str, tuple[torch.Tensor, torch.Tensor]]
# Segments of utterances with phones, and their shape before (L, D).
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

    Arguments
    ---------
    phones : Sequence[Sequence]
        ``[class, start, end]`` in seconds, in order; a phone does not hold
        its end.
    centres : Sequence[float]
        In seconds, as from `FrozenEncoder.frame_centres`.

    Returns
    -------
    list[str]
        A class a frame, empty outside of all phones.

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
    layers: torch.Tensor, time_chunks: int, phones: Sequence[str] = ()
) -> Segments:
    """Means over the frames of each segment of one utterance.

    Arguments
    ---------
    layers : torch.Tensor
        (L, T, D) all layers of the utterance, padding cut off.
    time_chunks : int
        Number of equal time chunks K.
    phones : Sequence[str]
        Class of the phone of each frame, as from `frame_classes`; none for an
        utterance without phones.

    Returns
    -------
    Segments
        ``utterance``: (L, D) and its number of frames, (); ``chunks``:
        (K, L, D) and (K,). With phones also ``vowels`` and ``consonants``:
        (L, D) and (); ``vowel_classes``: (6, L, D) and (6,), in the order of
        `lam_sb.corpora.phones.VOWELS`. A segment without frames has 0
        frames; its values mean nothing and must be masked.

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
    means = {
        "utterance": (_mean(layers), torch.tensor(layers.shape[1])),
        "chunks": (torch.stack(chunks), torch.tensor(counts)),
    }
    return means | _phone_means(layers, phones) if phones else means


def count_means(time_chunks: int, has_phones: bool) -> int:
    """Count the means (L, D) that `segment_means` gives."""
    of_phones = sum(math.prod(shape) for shape in PHONE_SEGMENTS.values())
    return 1 + time_chunks + of_phones * has_phones


def _phone_means(layers: torch.Tensor, phones: Sequence[str]) -> Segments:
    def mean(*names: str) -> tuple[torch.Tensor, torch.Tensor]:
        picked = [t for t, name in enumerate(phones) if name in names]
        return _mean(layers[:, picked]), torch.tensor(len(picked))

    values, counts = zip(*(mean(vowel) for vowel in VOWELS), strict=True)
    return {
        "vowels": mean(*VOWELS, OTHER_VOWEL),
        "consonants": mean(CONSONANT),
        "vowel_classes": (torch.stack(values), torch.stack(counts)),
    }


def _mean(frames: torch.Tensor) -> torch.Tensor:
    """Mean (L, D) of (L, T, D) over time, zeros without frames."""
    return frames.sum(1) / max(frames.shape[1], 1)
