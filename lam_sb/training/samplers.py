"""Which rows form a batch."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import Sampler

from lam_sb.corpora.manifests import EMOTIONS
from lam_sb.errors import UserError


class DualDomainSampler(Sampler):
    """Batches of B source rows and B target rows.

    An epoch is one pass over the source, in a new order each time, without the
    rest that fills no batch. The target cycles through permutations of its
    own, over the borders of epochs. Every batch is a function of seed, epoch
    and position alone, so a resumed run sees what an unbroken one would.

    Arguments
    ---------
    n_source, n_target : int
        Rows of each domain; target rows are numbered from n_source.
    batch_size : int
        B, over all processes.
    seed : int
        Decides all orders.
    rank, world : int
        This process and their number; it gets B / world rows of each domain.

    Raises
    ------
    UserError
        Fewer than B source rows, or B cannot be shared by the processes.

    Example
    -------
    >>> sampler = DualDomainSampler(4, 3, batch_size=2, seed=0)
    >>> len(sampler)
    2
    >>> batches = list(sampler)
    >>> sorted(batches[0][:2] + batches[1][:2])  # one pass over the source
    [0, 1, 2, 3]
    >>> sorted(batches[0][2:] + batches[1][2:3])  # one over the target
    [4, 5, 6]
    """

    def __init__(
        self,
        n_source: int,
        n_target: int,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
    ):
        if n_source < batch_size:
            raise UserError(
                f"The source has {n_source} labelled training rows, fewer "
                f"than one batch of {batch_size}{_smaller(n_source, world)}."
            )
        if batch_size % world:
            raise UserError(
                f"batch_size {batch_size} cannot be shared by {world} "
                "processes; use a multiple of their number."
            )
        self.n_source = n_source
        self.n_target = n_target
        self.batch_size = batch_size
        self.seed = seed
        self.share = batch_size // world
        self.first = rank * self.share
        self.epoch = 1
        self._orders: dict[int, tuple[int, np.ndarray]] = {}

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, from 1; SpeechBrain calls this."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.n_source // self.batch_size

    def __iter__(self) -> Iterator[list[int]]:
        past = (self.epoch - 1) * len(self) * self.batch_size
        for step in range(len(self)):
            start = step * self.batch_size + self.first
            target = [
                self.n_source + self._target_row(past + n)
                for n in range(start, start + self.share)
            ]
            yield self._source_rows(step) + target

    def _source_rows(self, step: int) -> list[int]:
        """Source rows of one batch, this process's share."""
        order = self._permutation(0, self.epoch, self.n_source)
        start = step * self.batch_size + self.first
        return order[start : start + self.share].tolist()

    def _target_row(self, position: int) -> int:
        """Row at a position of the target's endless stream."""
        cycle, place = divmod(position, self.n_target)
        return int(self._permutation(1, cycle, self.n_target)[place])

    def _permutation(self, domain: int, number: int, n: int) -> np.ndarray:
        if self._orders.get(domain, (None,))[0] != number:
            generator = np.random.default_rng([self.seed, domain, number])
            self._orders[domain] = number, generator.permutation(n)
        return self._orders[domain][1]


def _smaller(rows: int, world: int) -> str:
    """Name the largest batch of so many rows, a power of two a process."""
    if rows < max(2, world):
        return ", and too few for any"
    share = 2 ** int(math.log2(rows // world))
    return f"; set --batch_size {share * world}"


class EpisodeSampler(DualDomainSampler):
    """Episodes of a prototypical network, and target rows besides.

    An episode has ``shots`` support rows and ``queries`` query rows of each
    emotion, from the source, and as many target rows as queries. A process
    gets the whole support, which comes first, and its share of the rest. An
    epoch has about as many queries as the source has rows.

    Arguments
    ---------
    labels : torch.Tensor
        (n_source,) classes of the source rows.
    n_target : int
        Target rows, numbered from n_source.
    shots, queries : int
        Rows an emotion.
    seed : int
        Decides all episodes.
    rank, world : int
        This process and their number.

    Raises
    ------
    UserError
        An emotion has fewer rows than an episode needs, or the queries cannot
        be shared by the processes.

    Example
    -------
    >>> labels = torch.arange(40) % 4
    >>> sampler = EpisodeSampler(labels, 3, shots=1, queries=2, seed=0)
    >>> episode = next(iter(sampler))
    >>> len(episode), labels[episode[:4]].tolist()  # support: one of each
    (20, [0, 1, 2, 3])
    """

    def __init__(
        self,
        labels: torch.Tensor,
        n_target: int,
        shots: int,
        queries: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
    ):
        self.rows = [
            (labels == c).nonzero()[:, 0].numpy() for c in range(len(EMOTIONS))
        ]
        self.shots = shots
        self.queries = queries
        fewest = min(map(len, self.rows))
        if fewest < shots + queries:
            emotion = EMOTIONS[[len(rows) for rows in self.rows].index(fewest)]
            raise UserError(
                f"The source has {fewest} training rows of {emotion}, but an "
                f"episode takes {shots} + {queries}"
                f"{_smaller_episode(fewest, world)}."
            )
        count = len(EMOTIONS) * queries
        super().__init__(len(labels), n_target, count, seed, rank, world)

    def _source_rows(self, step: int) -> list[int]:
        """Support rows, then this process's share of the queries."""
        generator = np.random.default_rng([self.seed, 2, self.epoch, step])
        count = self.shots + self.queries
        drawn = [
            generator.choice(rows, count, replace=False) for rows in self.rows
        ]
        support = np.concatenate([rows[: self.shots] for rows in drawn])
        queries = np.concatenate([rows[self.shots :] for rows in drawn])
        queries = generator.permutation(queries)
        share = queries[self.first : self.first + self.share]
        return [*support.tolist(), *share.tolist()]


def _smaller_episode(rows: int, world: int) -> str:
    """Name the support and queries that so many rows of an emotion give."""
    shots = max(1, rows // 3)
    for queries in range(rows - shots, 0, -1):
        if len(EMOTIONS) * queries % world == 0:
            return f"; set --episode_shots {shots} --episode_queries {queries}"
    return ", at least 2"


class InOrder(Sampler):
    """Batches of all rows, in order.

    Arguments
    ---------
    count : int
        Number of rows.
    batch_size : int
        Rows a batch.
    """

    def __init__(self, count: int, batch_size: int):
        self.count = count
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-self.count // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        for start in range(0, self.count, self.batch_size):
            yield list(range(start, min(start + self.batch_size, self.count)))


def make_sampler(
    fit: str,
    labels: torch.Tensor,
    n_target: int,
    batch_size: int,
    episode_shots: int,
    episode_queries: int,
    seed: int,
    rank: int,
    world: int,
) -> DualDomainSampler:
    """Sampler of a way of fitting.

    Arguments
    ---------
    fit : str
        ``brain``: batches of both domains; ``episodes``: episodes.
    labels : torch.Tensor
        (n_source,) classes of the source rows.
    n_target, batch_size, episode_shots, episode_queries, seed, rank, world
        As `DualDomainSampler` and `EpisodeSampler` take them.

    Returns
    -------
    DualDomainSampler
        Gives lists of row numbers.
    """
    if fit == "episodes":
        return EpisodeSampler(
            *(labels, n_target, episode_shots, episode_queries),
            *(seed, rank, world),
        )
    return DualDomainSampler(
        len(labels), n_target, batch_size, seed, rank, world
    )
