"""Zero mean and unit variance, by corpus or by speaker."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from lam_sb.corpora.manifests import UNKNOWN
from lam_sb.errors import check_choice

if TYPE_CHECKING:
    from lam_sb.training.rows import DomainRows


NORMALISE = ("none", "source", "domain", "speaker")
SPEAKER_PRIOR = 20  # rows: how slowly a speaker's own mean is trusted
READ_AT_ONCE = 256  # rows, when statistics stream over a store


class Standardiser:
    """Zero mean, unit variance of each layer and dimension.

    Arguments
    ---------
    mean, std : torch.Tensor
        (M, D) statistics of a segment's vectors in unlabelled training rows.
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
    segments: Sequence[str],
) -> None:
    """Fit the statistics of each segment and give them to the rows.

    Vectors over a whole utterance vary less than those of its chunks, so each
    segment has statistics of its own, all six vowel classes together.

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
    segments : Sequence[str]
        Names of the segments that are read.

    Raises
    ------
    UserError
        An unknown ``normalise``.
    """
    check_choice("normalise", normalise, NORMALISE)
    for part in (*source, *target):
        part.standardisers = {}
    if normalise == "none":
        return
    for segment in segments:
        fitted = _fit_corpus(source[0], layers, segment)
        _set_standardiser(fitted, source, segment)
        if normalise != "source":
            fitted = _fit_corpus(target[0], layers, segment)
        _set_standardiser(fitted, target, segment)
        if normalise == "speaker":
            _fit_speakers(source, layers, segment)
            _fit_speakers(target, layers, segment)


def _set_standardiser(
    standardiser: Standardiser, rows: Sequence[DomainRows], segment: str
) -> None:
    for part in rows:
        part.standardisers[segment] = standardiser


def _fit_corpus(
    rows: DomainRows, layers: Sequence[int], segment: str
) -> Standardiser:
    """Fit mean and deviation over the vectors with frames, in one pass."""
    count, total, squares = 0, 0.0, 0.0
    for x, _ in _vectors(rows, layers, segment):
        count += len(x)
        total = total + x.sum(0)
        squares = squares + x.square().sum(0)
    if not count:  # nothing will be aligned, nor standardised
        return Standardiser(torch.zeros(1), torch.ones(1))
    mean = total / count
    std = (squares / count - mean.square()).clamp(min=0).sqrt()
    std = torch.where(std > 1e-6 * mean.abs() + 1e-12, std, 1.0)
    return Standardiser(mean.float(), std.float())


def _fit_speakers(
    rows: Sequence[DomainRows], layers: Sequence[int], segment: str
) -> None:
    """Subtract shrunken speaker means after the corpus's own statistics."""
    corpus = rows[0].standardisers[segment]
    sums: dict[str, torch.Tensor] = {}
    counts: dict[str, int] = defaultdict(int)
    members: dict[str, set[str]] = defaultdict(set)
    for part in rows:
        for x, speakers in _vectors(part, layers, segment, skip=members):
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
    first = Standardiser(corpus.mean, corpus.std, offsets)
    _set_standardiser(first, rows, segment)
    again = _fit_corpus(rows[0], layers, segment)
    both = Standardiser(
        corpus.mean + corpus.std * again.mean,
        corpus.std * again.std,
        {s: o / again.std for s, o in offsets.items()},
    )
    _set_standardiser(both, rows, segment)


def _vectors(
    rows: DomainRows,
    layers: Sequence[int],
    segment: str,
    skip: Mapping[str, set[str]] | None = None,
) -> Iterator[tuple[torch.Tensor, list[str]]]:
    """Stream vectors with frames, (n, M, D) in float64, and speakers."""
    wanted = [
        i
        for i, (utt_id, speaker) in enumerate(
            zip(rows.ids, rows.speakers, strict=True)
        )
        if skip is None or utt_id not in skip.get(speaker, ())
    ]
    for start in range(0, len(wanted), READ_AT_ONCE):
        indices = wanted[start : start + READ_AT_ONCE]
        x, mask = rows.read(indices, layers, [segment])
        owners = torch.arange(len(indices))[:, None].expand_as(mask)[mask]
        yield (
            x[mask].double(),
            [rows.speakers[indices[o]] for o in owners.tolist()],
        )
