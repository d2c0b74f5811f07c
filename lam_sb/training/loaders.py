"""Loaders that fetch a whole batch at once."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from itertools import accumulate, groupby

import torch
from speechbrain.dataio.dataloader import SaveableDataLoader
from torch.utils.data import DataLoader, Dataset

from lam_sb.training.rows import Batch, DomainRows, Parts
from lam_sb.training.samplers import DualDomainSampler, InOrder


class FeatureDataset(Dataset):
    """Rows of one or more corpora, fetched a whole batch at once.

    The features of a batch are written over those of the one before, which are
    used up by then: new memory costs more time than to fill it.

    Arguments
    ---------
    source, target : Sequence[DomainRows]
        Rows of each corpus of a role, numbered on from corpus to corpus, the
        sources' first.
    layers : Sequence[int]
        Layer numbers that are mixed.
    segments : Sequence[str]
        Stored segments that are read.
    """

    def __init__(
        self,
        source: Sequence[DomainRows],
        target: Sequence[DomainRows],
        layers: Sequence[int],
        segments: Sequence[str],
    ):
        self.parts = [*source, *target]
        self.starts = [0, *accumulate(map(len, self.parts))]
        self.corpora = [*range(len(source)), *range(len(target))]
        self._buffer = torch.empty(0)
        self.layers = list(layers)
        self.segments = list(segments)
        self.num_source = self.starts[len(source)]

    def __len__(self) -> int:
        return self.starts[-1]

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """Fetch a batch; source rows must come first."""
        features = self.parts[0].features
        shapes = [features.shape(name, self.layers) for name in self.segments]
        shape = sum(s[0] for s in shapes), *shapes[0][1:]
        x = self._room(torch.Size([len(indices), *shape]), features.device)
        masks, labels, corpora, at = [], [], [], 0
        for number, run in groupby(indices, lambda i: bisect(self.starts, i)):
            part, start = self.parts[number - 1], self.starts[number - 1]
            rows = [i - start for i in run]
            out = x[at : at + len(rows)]
            at += len(rows)
            masks.append(part.read(rows, self.layers, self.segments, out)[1])
            labels.append(part.labels[rows])
            corpora += [self.corpora[number - 1]] * len(rows)
        return Batch(
            x,
            torch.cat(masks),
            torch.cat(labels),
            sum(i < self.num_source for i in indices),
            torch.tensor(corpora) if max(self.corpora) else None,
        )

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


def in_order_loaders(
    rows: Parts, layers: Sequence[int], segments: Sequence[str], batch_size: int
) -> dict:
    """Loaders of what is looked at but not trained on, each row once, in order.

    Arguments
    ---------
    rows : Parts
        Rows by part and corpus.
    layers, segments
        As for `FeatureDataset`.
    batch_size : int
        Rows a batch.

    Returns
    -------
    dict
        A loader for each of ``source_train``, ``valid`` and ``shots`` that is
        there, of all corpora; as ``test``, one by target.
    """

    def loader(*parts: DomainRows) -> DataLoader:
        dataset = FeatureDataset(parts, (), layers, segments)
        return in_order_loader(dataset, batch_size)

    wanted = rows.keys() & {"source_train", "valid", "shots"}
    test = {c: loader(part) for c, part in rows["target_test"].items()}
    return {k: loader(*rows[k].values()) for k in wanted} | {"test": test}


def in_order_loader(dataset: FeatureDataset, batch_size: int) -> DataLoader:
    """Loader for validation and test: each row once, in order."""
    return DataLoader(
        dataset,
        batch_sampler=InOrder(len(dataset), batch_size),
        collate_fn=_keep_batch,
        generator=torch.Generator(),
    )
