"""Rows of the two domains, and batches that hold both."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from lam_sb.corpora.manifests import EMOTIONS, UNKNOWN, cluster_of
from lam_sb.errors import UserError, check_choice
from lam_sb.features.shards import FeatureRows

NORMALISE = ("none", "source", "domain", "speaker")
UNLABELLED = -1
SPEAKER_PRIOR = 20  # rows: how slowly a speaker's own mean is trusted
READ_AT_ONCE = 256  # rows, when statistics stream over a store
CANDIDATES = 0.2  # of the rows that are adapted on and tested


@dataclass
class Batch:
    """Rows of the source, then rows of the target.

    Arguments
    ---------
    x : torch.Tensor
        (B, K + S, M, D) standardised layers: K time chunks, then the segment
        that is aligned, S = 1, or S = 6 vowel classes.
    mask : torch.Tensor
        (B, K + S) bool, False where a chunk or segment has no frames.
    labels : torch.Tensor
        (B,) classes; -1 where the label is unknown or must not be seen.
    num_source : int
        Number of source rows, which come first.
    """

    x: torch.Tensor
    mask: torch.Tensor
    labels: torch.Tensor
    num_source: int

    def to(self, device: str) -> Batch:
        """Copy to a device."""
        return Batch(
            self.x.to(device, non_blocking=True),
            self.mask.to(device, non_blocking=True),
            self.labels.to(device, non_blocking=True),
            self.num_source,
        )


class DomainRows:
    """Rows of one corpus, with features and the labels that may be seen.

    Arguments
    ---------
    manifest : Mapping[str, Mapping]
        Rows by utterance id.
    features : FeatureRows
        Their features, in the same order.
    labelled : bool
        False hides every label: a target's training rows carry -1.

    Raises
    ------
    UserError
        There are no rows.
    """

    def __init__(
        self,
        manifest: Mapping[str, Mapping],
        features: FeatureRows,
        labelled: bool,
    ):
        if not manifest:
            raise UserError(
                "No rows are left to train or test on: none of them has one "
                f"of the emotions {', '.join(EMOTIONS)}."
            )
        self.ids = list(manifest)
        self.features = features
        self.speakers = [row["speaker"] for row in manifest.values()]
        self.clusters = [
            cluster_of(i, row["speaker"]) for i, row in manifest.items()
        ]
        emotions = [row["emo"] for row in manifest.values()]
        self.labels = torch.tensor(
            [
                EMOTIONS.index(e) if labelled and e is not None else UNLABELLED
                for e in emotions
            ]
        )
        self.standardiser: Standardiser | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def read(
        self, indices: Sequence[int], layers: Sequence[int], segment: str
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Chunks and segment of some rows, standardised.

        Arguments
        ---------
        indices : Sequence[int]
            Positions n of the rows.
        layers : Sequence[int]
            M layer numbers, from 1.
        segment : str
            Stored segment that follows the chunks.

        Returns
        -------
        x : torch.Tensor
            (n, K + S, M, D), S = 6 for ``vowel_classes``, otherwise 1.
        mask : torch.Tensor
            (n, K + S) bool
        """
        chunks, chunk_frames = self.features.gather("chunks", indices, layers)
        aligned, frames = self.features.gather(segment, indices, layers)
        if frames.ndim == 1:
            aligned, frames = aligned[:, None], frames[:, None]
        x = torch.cat([chunks, aligned], dim=1)
        mask = torch.cat([chunk_frames, frames], dim=1) > 0
        if self.standardiser is not None:
            x = self.standardiser(x, [self.speakers[i] for i in indices])
        return x, mask


class Standardiser:
    """Zero mean, unit variance of each layer and dimension.

    Arguments
    ---------
    mean, std : torch.Tensor
        (M, D) statistics of the chunk means of unlabelled training rows.
    offsets : Mapping[str, torch.Tensor]
        (M, D) by speaker, subtracted too; none for other speakers.
    """

    def __init__(
        self,
        mean: torch.Tensor,
        std: torch.Tensor,
        offsets: Mapping[str, torch.Tensor] | None = None,
    ):
        self.mean = mean
        self.std = std
        self.offsets = dict(offsets or {})

    def __call__(
        self, x: torch.Tensor, speakers: Sequence[str]
    ) -> torch.Tensor:
        """Standardise x (n, K, M, D) of rows by these n speakers."""
        x = (x - self.mean) / self.std
        if self.offsets:
            zero = torch.zeros_like(self.mean)
            shift = [self.offsets.get(s, zero) for s in speakers]
            x = x - torch.stack(shift)[:, None]
        return x


def fit_standardisers(
    normalise: str,
    source: Sequence[DomainRows],
    target: Sequence[DomainRows],
    layers: Sequence[int],
) -> None:
    """Fit the statistics and give them to the rows.

    Arguments
    ---------
    normalise : str
        ``none``; ``source``: the source's statistics for both; ``domain``:
        each corpus with its own (corpus normalisation, Schuller et al. 2010);
        ``speaker``: after ``domain``, n / (n + 20) of each speaker's mean over
        its n rows of any split is subtracted, and the rest standardised again.
    source, target : Sequence[DomainRows]
        Rows of each corpus; the first entry is its training rows, whose
        statistics count.
    layers : Sequence[int]
        Layer numbers that are read.

    Raises
    ------
    UserError
        An unknown ``normalise``.
    """
    check_choice("normalise", normalise, NORMALISE)
    _give(None, [*source, *target])
    if normalise == "none":
        return
    fitted = _fit(source[0], layers)
    _give(fitted, source)
    _give(fitted if normalise == "source" else _fit(target[0], layers), target)
    if normalise == "speaker":
        for rows in (source, target):
            _give(_fit_speakers(rows, layers), rows)


def _give(
    standardiser: Standardiser | None, rows: Sequence[DomainRows]
) -> None:
    for part in rows:
        part.standardiser = standardiser


def _fit(rows: DomainRows, layers: Sequence[int]) -> Standardiser:
    """Fit mean and deviation over the chunks with frames, in one pass."""
    count, total, squares = 0, 0.0, 0.0
    for x, _ in _chunks(rows, layers):
        count += len(x)
        total = total + x.sum(0)
        squares = squares + x.square().sum(0)
    mean = total / count
    std = (squares / count - mean.square()).clamp(min=0).sqrt()
    std = torch.where(std > 1e-6 * mean.abs() + 1e-12, std, 1.0)
    return Standardiser(mean.float(), std.float())


def _fit_speakers(
    rows: Sequence[DomainRows], layers: Sequence[int]
) -> Standardiser:
    """Subtract shrunken speaker means after the corpus's own statistics."""
    corpus = rows[0].standardiser
    sums: dict[str, torch.Tensor] = {}
    counts: dict[str, int] = defaultdict(int)
    members: dict[str, set[str]] = defaultdict(set)
    for part in rows:
        for x, speakers in _chunks(part, layers, skip=members):
            for vector, speaker in zip(x, speakers, strict=True):
                sums[speaker] = sums.get(speaker, 0.0) + vector
                counts[speaker] += 1
        for utt_id, speaker in zip(part.ids, part.speakers, strict=True):
            members[speaker].add(utt_id)
    offsets = {}
    for speaker in sums.keys() - {UNKNOWN}:
        n = len(members[speaker])
        mean = sums[speaker] / counts[speaker]
        offsets[speaker] = (n / (n + SPEAKER_PRIOR) * mean).float()
    _give(Standardiser(corpus.mean, corpus.std, offsets), rows)
    again = _fit(rows[0], layers)
    return Standardiser(
        corpus.mean + corpus.std * again.mean,
        corpus.std * again.std,
        {s: o / again.std for s, o in offsets.items()},
    )


def _chunks(
    rows: DomainRows,
    layers: Sequence[int],
    skip: Mapping[str, set[str]] | None = None,
) -> Iterator[tuple[torch.Tensor, list[str]]]:
    """Stream the chunks with frames, (n, M, D) in float64, and speakers."""
    wanted = [
        i
        for i, (utt_id, speaker) in enumerate(
            zip(rows.ids, rows.speakers, strict=True)
        )
        if skip is None or utt_id not in skip.get(speaker, ())
    ]
    for start in range(0, len(wanted), READ_AT_ONCE):
        indices = wanted[start : start + READ_AT_ONCE]
        x, mask = rows.read(indices, layers, "utterance")
        x, mask = x[:, :-1], mask[:, :-1]  # the segment comes last
        owners = torch.arange(len(indices))[:, None].expand_as(mask)[mask]
        yield (
            x[mask].double(),
            [rows.speakers[indices[o]] for o in owners.tolist()],
        )


def shot_candidates(
    train: Iterable[str], test: Iterable[str], split_seed: int
) -> list[str]:
    """Target rows that shots may come from, and that nobody is tested on.

    Arguments
    ---------
    train, test : Iterable[str]
        Ids of the target's training and test rows.
    split_seed : int
        Decides the draw. Labels do not, so all systems and seeds, with labels
        or without, have one test set.

    Returns
    -------
    list[str]
        All training rows where none of them is tested; otherwise a fifth of
        the rows that are both, which must leave the test set.

    Example
    -------
    >>> shot_candidates(["a", "b"], ["c"], split_seed=0)
    ['a', 'b']
    >>> len(shot_candidates("abcdefghij", "abcdefghij", split_seed=0))
    2
    """
    train = sorted(train)
    shared = sorted(set(train) & set(test))
    if not shared:
        return train
    generator = np.random.default_rng([split_seed, len(shared)])
    count = round(CANDIDATES * len(shared))
    picked = generator.choice(len(shared), count, replace=False)
    return [shared[n] for n in sorted(picked)]


def draw_shots(
    emotions: Mapping[str, str | None],
    shots: int,
    split_seed: int,
    draw: int,
) -> list[str]:
    """Draw labelled target rows for the few-shot baseline.

    Arguments
    ---------
    emotions : Mapping[str, str | None]
        Label by id of the rows that shots may come from.
    shots : int
        Rows an emotion.
    split_seed : int
        Decides all draws.
    draw : int
        Which of them, from 0.

    Returns
    -------
    list[str]
        4 shots ids, emotion by emotion.

    Raises
    ------
    UserError
        Too few rows of an emotion.

    Example
    -------
    >>> rows = {f"{e}{n}": e for e in EMOTIONS for n in range(9)}
    >>> drawn = draw_shots(rows, shots=2, split_seed=0, draw=1)
    >>> [i[:-1] for i in drawn]
    ['neutral', 'neutral', 'happy', 'happy', 'angry', 'angry', 'sad', 'sad']
    """
    generator = np.random.default_rng([split_seed, draw])
    drawn = []
    for emotion in EMOTIONS:
        ids = sorted(i for i, e in emotions.items() if e == emotion)
        if len(ids) < shots:
            raise UserError(
                f"target_shots: {shots} of {emotion} are asked for, but only "
                f"{len(ids)} labelled target rows may be used as shots."
            )
        drawn += generator.choice(ids, shots, replace=False).tolist()
    return drawn


class FeatureDataset(Dataset):
    """Rows of one or two domains, fetched a whole batch at once.

    Arguments
    ---------
    source : DomainRows
        Rows 0 .. n - 1.
    target : DomainRows, optional
        Rows n and on.
    layers : Sequence[int]
        Layer numbers that are mixed.
    segment : str
        Segment that is aligned.
    """

    def __init__(
        self,
        source: DomainRows,
        target: DomainRows | None,
        layers: Sequence[int],
        segment: str,
    ):
        self.parts = [source] if target is None else [source, target]
        self.layers = list(layers)
        self.segment = segment

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """Fetch a batch; source rows must come first."""
        border = len(self.parts[0])
        split = [
            [i for i in indices if i < border],
            [i - border for i in indices if i >= border],
        ]
        read = [
            (*part.read(picked, self.layers, self.segment), part.labels[picked])
            for part, picked in zip(self.parts, split, strict=False)
            if picked
        ]
        x, mask, labels = map(torch.cat, zip(*read, strict=True))
        return Batch(x, mask, labels, len(split[0]))


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
                f"than one batch of {batch_size}; set a smaller batch_size."
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
        for emotion, rows in zip(EMOTIONS, self.rows, strict=True):
            if len(rows) < shots + queries:
                raise UserError(
                    f"The source has {len(rows)} training rows of {emotion}, "
                    f"but an episode takes {shots} + {queries}; set smaller "
                    "episode_shots or episode_queries."
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


def keep_batch(batch: Batch) -> Batch:
    """Collate nothing: the dataset gives whole batches."""
    return batch


def in_order_loader(dataset: FeatureDataset, batch_size: int) -> DataLoader:
    """Loader for validation and test.

    Arguments
    ---------
    dataset : FeatureDataset
        Rows of one domain.
    batch_size : int
        Rows a batch.

    Returns
    -------
    DataLoader
        Gives each row once, in order.
    """
    return DataLoader(
        dataset,
        batch_sampler=InOrder(len(dataset), batch_size),
        collate_fn=keep_batch,
        generator=torch.Generator(),
    )
