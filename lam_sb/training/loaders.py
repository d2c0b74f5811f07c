"""Loaders that fetch a whole batch at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from speechbrain.dataio.dataloader import SaveableDataLoader
from torch.utils.data import DataLoader, Dataset

from lam_sb.training.rows import Batch, DomainRows
from lam_sb.training.samplers import DualDomainSampler, InOrder


class FeatureDataset(Dataset):
    """Rows of one or two domains, fetched a whole batch at once.

    The features of a batch are written over those of the one before, which are
    used up by then: new memory costs more time than to fill it.

    Arguments
    ---------
    source : DomainRows
        Rows 0 .. n - 1.
    target : DomainRows, optional
        Rows n and on.
    layers : Sequence[int]
        Layer numbers that are mixed.
    segments : Sequence[str]
        Stored segments that are read.
    """

    def __init__(
        self,
        source: DomainRows,
        target: DomainRows | None,
        layers: Sequence[int],
        segments: Sequence[str],
    ):
        self.parts = [source] if target is None else [source, target]
        self._buffer = torch.empty(0)
        self.layers = list(layers)
        self.segments = list(segments)

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """Fetch a batch; source rows must come first."""
        border = len(self.parts[0])
        split = [
            [i for i in indices if i < border],
            [i - border for i in indices if i >= border],
        ]
        picked = [
            (part, rows)
            for part, rows in zip(self.parts, split, strict=False)
            if rows
        ]
        features = self.parts[0].features
        shapes = [features.shape(name, self.layers) for name in self.segments]
        shape = sum(s[0] for s in shapes), *shapes[0][1:]
        x = self._room(torch.Size([len(indices), *shape]), features.device)
        masks, labels = [], []
        for (part, rows), out in zip(
            picked, x.split([len(rows) for _, rows in picked]), strict=True
        ):
            mask = part.read(rows, self.layers, self.segments, out)[1]
            masks.append(mask)
            labels.append(part.labels[rows])
        return Batch(x, torch.cat(masks), torch.cat(labels), len(split[0]))

    def _room(self, shape: torch.Size, device: torch.device) -> torch.Tensor:
        """Memory of a batch's features."""
        if self._buffer.shape[1:] != shape[1:] or len(self._buffer) < shape[0]:
            self._buffer = torch.empty(shape, device=device)
        return self._buffer[: shape[0]]


def _keep_batch(batch: Batch) -> Batch:
    """Collate nothing: the dataset gives whole batches."""
    return batch


def training_loader(
    dataset: FeatureDataset, sampler: DualDomainSampler
) -> SaveableDataLoader:
    """Loader of training batches, which a checkpoint can put back in place.

    Its own random generator keeps a resumed run bit-identical.
    """
    return SaveableDataLoader(
        dataset,
        batch_sampler=sampler,
        collate_fn=_keep_batch,
        generator=torch.Generator(),
    )


def in_order_loader(dataset: FeatureDataset, batch_size: int) -> DataLoader:
    """Loader for validation and test: each row once, in order."""
    return DataLoader(
        dataset,
        batch_sampler=InOrder(len(dataset), batch_size),
        collate_fn=_keep_batch,
        generator=torch.Generator(),
    )
