"""Which rows form a batch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

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

    Of several corpora in a role, a batch has as many rows of each, up to one,
    and each corpus cycles through its own permutations: in an epoch, which has
    as many steps as all sources fill, a small one comes more than once.

    Arguments
    ---------
    n_source, n_target : int | Sequence[int]
        Rows of each domain, or of each of its corpora, numbered on from corpus
        to corpus, the sources' first.
    batch_size : int
        B, over all processes.
    seed : int
        Decides all orders.
    rank, world : int
        This process and their number; it gets B / world rows of each domain.
    balance : str
        ``corpus``, or ``rows``: a role's corpora are drawn from as if they
        were one.

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
        n_source: int | Sequence[int],
        n_target: int | Sequence[int],
        batch_size: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        balance: str = "corpus",
    ):
        self.sizes = [np.atleast_1d(n).tolist() for n in (n_source, n_target)]
        if balance == "rows":
            self.sizes = [[sum(sizes)] for sizes in self.sizes]
        n_source = sum(self.sizes[0])
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
        self.batch_size = batch_size
        self.seed = seed
        self.share = batch_size // world
        self.first = rank * self.share
        self.epoch = 1
        self._orders: dict[tuple[int, ...], tuple[int, np.ndarray]] = {}

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, from 1; SpeechBrain calls this."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.n_source // self.batch_size

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(len(self)):
            target = self._next_rows(1, step)
            yield self._source_rows(step) + [self.n_source + n for n in target]

    def _source_rows(self, step: int) -> list[int]:
        """Source rows of one batch, this process's share."""
        if len(self.sizes[0]) > 1:
            return self._next_rows(0, step)
        order = self._permutation((0,), self.epoch, self.n_source)
        start = step * self.batch_size + self.first
        return order[start : start + self.share].tolist()

    def _next_rows(self, domain: int, step: int) -> list[int]:
        """Rows of a domain's endless stream, corpus by corpus.

        Its corpora take turns in it, so that the shares of the processes and
        of batches differ by one row at most.
        """
        past = (self.epoch - 1) * len(self) * self.batch_size
        first = past + step * self.batch_size + self.first
        sizes, rows, start = self.sizes[domain], [], 0
        for corpus, size in enumerate(sizes):
            name = (domain, corpus) if len(sizes) > 1 else (domain,)
            turn = first + (corpus - first) % len(sizes)
            for n in range(turn, first + self.share, len(sizes)):
                cycle, place = divmod(n // len(sizes), size)
                order = self._permutation(name, cycle, size)
                rows.append(start + int(order[place]))
            start += size
        return rows

    def _permutation(
        self, name: tuple[int, ...], number: int, n: int
    ) -> np.ndarray:
        if self._orders.get(name, (None,))[0] != number:
            domain, *corpus = name
            words = [self.seed, domain, number, *corpus]
            generator = np.random.default_rng(words)
            self._orders[name] = number, generator.permutation(n)
        return self._orders[name][1]


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
    labels : Sequence[torch.Tensor]
        (n,) classes of the rows of each source.
    n_target : Sequence[int]
        Rows of each target, numbered on from the sources'.
    shots, queries : int
        Rows an emotion.
    seed : int
        Decides all episodes.
    rank, world : int
        This process and their number.
    balance : str
        ``corpus``: rows of an emotion are drawn evenly from the sources that
        have it; ``rows``: from all its rows alike.

    Raises
    ------
    UserError
        An emotion has fewer rows than an episode needs, or the queries cannot
        be shared by the processes.

    Example
    -------
    >>> labels = torch.arange(40) % 4
    >>> sampler = EpisodeSampler([labels], [3], shots=1, queries=2, seed=0)
    >>> episode = next(iter(sampler))
    >>> len(episode), labels[episode[:4]].tolist()  # support: one of each
    (20, [0, 1, 2, 3])
    """

    def __init__(
        self,
        labels: Sequence[torch.Tensor],
        n_target: Sequence[int],
        shots: int,
        queries: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        balance: str = "corpus",
    ):
        sizes, labels = [len(part) for part in labels], torch.cat([*labels])
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
        super().__init__(sizes, n_target, count, seed, rank, world, balance)
        self.shares = [_shares(rows, self.sizes[0]) for rows in self.rows]

    def _source_rows(self, step: int) -> list[int]:
        """Support rows, then this process's share of the queries."""
        generator = np.random.default_rng([self.seed, 2, self.epoch, step])
        count = self.shots + self.queries
        drawn = [
            generator.choice(rows, count, replace=False, p=shares)
            for rows, shares in zip(self.rows, self.shares, strict=True)
        ]
        support = np.concatenate([rows[: self.shots] for rows in drawn])
        queries = np.concatenate([rows[self.shots :] for rows in drawn])
        queries = generator.permutation(queries)
        share = queries[self.first : self.first + self.share]
        return [*support.tolist(), *share.tolist()]


def _shares(rows: np.ndarray, sizes: Sequence[int]) -> np.ndarray | None:
    """Chance of each of some rows, if corpora have equal ones; None: equal."""
    if len(sizes) == 1:
        return None
    corpora = np.searchsorted(np.cumsum(sizes), rows, side="right")
    shares = 1 / np.bincount(corpora)[corpora]
    return shares / shares.sum()


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
    labels: Sequence[torch.Tensor],
    n_target: Sequence[int],
    batch_size: int,
    balance: str,
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
    labels : Sequence[torch.Tensor]
        (n,) classes of the rows of each source.
    n_target, batch_size, balance, seed, rank, world
        As `DualDomainSampler` takes them.
    episode_shots, episode_queries : int
        Rows an emotion of an episode.

    Returns
    -------
    DualDomainSampler
        Gives lists of row numbers.
    """
    if fit == "episodes":
        return EpisodeSampler(
            *(labels, n_target, episode_shots, episode_queries),
            *(seed, rank, world, balance),
        )
    n_source = [len(part) for part in labels]
    return DualDomainSampler(
        n_source, n_target, batch_size, seed, rank, world, balance
    )
