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
    _set_standardiser(None, [*source, *target])
    if normalise == "none":
        return
    of_source = _fit_corpus(source[0], layers)
    of_target = (
        of_source if normalise == "source" else _fit_corpus(target[0], layers)
    )
    _set_standardiser(of_source, source)
    _set_standardiser(of_target, target)
    if normalise == "speaker":
        for rows in (source, target):
            _set_standardiser(_fit_speakers(rows, layers), rows)


def _set_standardiser(
    standardiser: Standardiser | None, rows: Sequence[DomainRows]
) -> None:
    for part in rows:
        part.standardiser = standardiser


def _fit_corpus(rows: DomainRows, layers: Sequence[int]) -> Standardiser:
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
    _set_standardiser(Standardiser(corpus.mean, corpus.std, offsets), rows)
    again = _fit_corpus(rows[0], layers)
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
