"""Reading features from the shards of a store."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lam_sb.features.segments import PHONE_SEGMENTS

Shard = dict[str, torch.Tensor]  # memory-mapped tensors of one file


class FeatureRows:
    """Features of an ordered set of rows, read when asked for.

    Arguments
    ---------
    locations : Sequence[tuple[Shard, int]]
        Shard and position of each row.
    """

    def __init__(self, locations: Sequence[tuple[Shard, int]]):
        self.locations = list(locations)

    def __len__(self) -> int:
        return len(self.locations)

    def gather(
        self,
        name: str,
        indices: Sequence[int],
        layers: Sequence[int] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Read one segment of some rows.

        Arguments
        ---------
        name : str
            ``utterance``, ``chunks``, ``vowels``, ``consonants`` or
            ``vowel_classes``.
        indices : Sequence[int]
            Positions n of the rows.
        layers : Sequence[int], optional
            Layer numbers, from 1; all by default.

        Returns
        -------
        values : torch.Tensor
            (n, L, D), or (n, K, L, D) for chunks and (n, 6, L, D) for vowel
            classes, in float32.
        frames : torch.Tensor
            (n,), (n, K) or (n, 6) number of frames; 0 masks a segment, as all
            phones of a row without any.
        """
        rows, frames = [], []
        picked = None if layers is None else [layer - 1 for layer in layers]
        for index in indices:
            shard, position = self.locations[index]
            row, count = _segment(shard, name, position)
            rows.append(row if picked is None else row[..., picked, :])
            frames.append(count)
        return torch.stack(rows).float(), torch.stack(frames)

    def count(self, name: str) -> int:
        """Count the rows that have frames in a segment, as in `gather`."""
        return sum(
            bool(_segment(shard, name, position)[1].any())
            for shard, position in self.locations
        )


def _segment(
    shard: Shard, name: str, position: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Values and number of frames of one row's segment."""
    if name in shard:
        return shard[name][position], shard[f"{name}.frames"][position]
    shape, whole = PHONE_SEGMENTS[name], shard["utterance"][position]
    frames = torch.zeros(shape, dtype=torch.int32)
    return whole.new_zeros(*shape, *whole.shape), frames
