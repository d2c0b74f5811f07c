"""Sums over a corpus, from which all measures of similarity come.

One pass over a corpus leaves sums by speaker group, emotion and segment,
whatever the number of utterances is. Features are raw, never standardised.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import normalize

from lam_sb.corpora.manifests import EMOTIONS
from lam_sb.corpora.phones import VOWELS
from lam_sb.features.segments import PHONE_SEGMENTS
from lam_sb.training.rows import DomainRows

READ_AT_ONCE = 256  # rows
GROUPS = 50  # of speakers at most: memory is bounded by them
CLASSES = len(EMOTIONS) + 1  # the fifth holds the unlabelled rows


@dataclass(eq=False)
class SegmentSums:
    """Sums over the rows that have a segment, by speaker group and emotion.

    The fifth emotion holds the unlabelled rows.
    """

    counts: np.ndarray  # (G, 5) rows
    vectors: np.ndarray  # (G, 5, L, D) float64 sums of the vectors
    units: np.ndarray  # the same of the vectors scaled to length 1

    @classmethod
    def zeros(cls, num_groups: int, shape: Sequence[int]) -> SegmentSums:
        """Make sums of no rows, of G groups and vectors (L, D)."""
        size = num_groups, CLASSES
        vectors, units = np.zeros((2, *size, *shape))
        return cls(np.zeros(size, dtype=np.int64), vectors, units)

    def add(self, bins: torch.Tensor, values: torch.Tensor) -> None:
        """Add values (n, L, D) in the (n,) bins 5 group + emotion."""
        added = np.bincount(bins, minlength=self.counts.size)
        self.counts += added.reshape(self.counts.shape)
        pairs = (self.vectors, values), (self.units, normalize(values, dim=-1))
        for sums, x in pairs:
            torch.from_numpy(sums).flatten(0, 1).index_add_(0, bins, x)


@dataclass(eq=False)
class CorpusSums:
    """What one pass over a corpus leaves.

    Of 50 groups, 12 layers and 768 dimensions, a segment takes 37 MB and the
    products 283 MB.
    """

    segments: dict[str, SegmentSums]  # by name, of those that any row has
    # (5, L, D, D) sums of the utterance vectors' outer products by emotion;
    # None if they were not asked for.
    products: np.ndarray | None = None

    @property
    def utterances(self) -> SegmentSums:
        """Sums of whole utterances, which every corpus has."""
        return self.segments["utterance"]

    @property
    def num_groups(self) -> int:
        """Number of speaker groups G."""
        return len(self.utterances.counts)


def corpus_sums(rows: DomainRows, covariance: bool = False) -> CorpusSums:
    """Sum the raw features of a corpus in one pass.

    Clusters fall into at most 50 groups, so memory grows neither with them nor
    with the number of rows. A row whose segment has no frames counts nowhere
    in it. ``covariance`` sums outer products too.
    """
    groups, num_groups = _speaker_groups(rows.clusters)
    emotions = rows.labels % CLASSES  # -1 becomes the fifth
    bins = groups * CLASSES + emotions
    sums = CorpusSums({})
    for indices, name, values in _stream(rows):
        if name not in sums.segments:
            empty = SegmentSums.zeros(num_groups, values.shape[1:])
            sums.segments[name] = empty
        sums.segments[name].add(bins[indices], values)
        if covariance and name == "utterance":
            if sums.products is None:
                _, layers, dim = values.shape
                sums.products = np.zeros((CLASSES, layers, dim, dim))
            _add_products(sums.products, emotions[indices], values)
    return sums


def join_sums(sums: Sequence[CorpusSums]) -> CorpusSums:
    """Give the sums of all rows of some corpora, whose speakers are others."""
    if len(sums) == 1:
        return sums[0]
    shape = sums[0].utterances.vectors.shape[2:]
    names = dict.fromkeys(name for part in sums for name in part.segments)
    segments = {}
    for name in names:
        parts = [
            part.segments.get(name) or SegmentSums.zeros(part.num_groups, shape)
            for part in sums
        ]
        segments[name] = SegmentSums(
            np.concatenate([part.counts for part in parts]),
            np.concatenate([part.vectors for part in parts]),
            np.concatenate([part.units for part in parts]),
        )
    if sums[0].products is None:
        return CorpusSums(segments)
    return CorpusSums(segments, sum(part.products for part in sums))


def _speaker_groups(clusters: Sequence[str]) -> tuple[torch.Tensor, int]:
    """Group of each row, and their number."""
    names = np.random.default_rng(0).permutation(sorted(set(clusters)))
    group = {str(name): n % GROUPS for n, name in enumerate(names)}
    return torch.tensor([group[c] for c in clusters]), min(len(names), GROUPS)


def _stream(
    rows: DomainRows,
) -> Iterator[tuple[torch.Tensor, str, torch.Tensor]]:
    """Give rows n, a segment that they have, and its values (n, L, D)."""
    for start in range(0, len(rows), READ_AT_ONCE):
        indices = torch.arange(start, min(start + READ_AT_ONCE, len(rows)))
        for stored in ("utterance", *PHONE_SEGMENTS):
            values, frames = rows.features.gather(stored, indices.tolist())
            names = VOWELS
            if stored != "vowel_classes":
                names, values, frames = (
                    [stored],
                    values[:, None],
                    frames[:, None],
                )
            for k, name in enumerate(names):
                has = frames[:, k] > 0
                if has.any():
                    yield indices[has], name, values[has, k].double()


def _add_products(
    products: np.ndarray, emotions: torch.Tensor, values: torch.Tensor
) -> None:
    """Add the outer products of values (n, L, D) to (5, L, D, D)."""
    for emotion, total in enumerate(torch.from_numpy(products)):
        x = values[emotions == emotion]
        total.baddbmm_(x.permute(1, 2, 0), x.permute(1, 0, 2))
