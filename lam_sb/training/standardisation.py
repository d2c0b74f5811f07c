"""Zero mean and unit variance, by corpus or by speaker."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from speechbrain.utils.logger import get_logger

from lam_sb.corpora.manifests import UNKNOWN
from lam_sb.errors import UserError, check_choice
from lam_sb.files import DamagedError
from lam_sb.tensors import opened_tensors, save_tensors
from lam_sb.values import CHOICES

if TYPE_CHECKING:
    from lam_sb.training.rows import DomainRows

logger = get_logger(__name__)
SPEAKER_PRIOR = 20  # rows: how slowly a speaker's own mean is trusted
SMALLEST_SHARE = 0.02  # that an emotion is taken to have in a corpus
READ_AT_ONCE = 16  # rows, when statistics stream over a store: fits a cache
BLOCK = 8  # rows of a batch that are standardised at once: likewise
REVISION = 1  # of the statistics, raised when they are worked out otherwise


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

    def __call__(self, x: torch.Tensor, speakers: Sequence[str]) -> None:
        """Standardise x (n, K, M, D) of rows by these n speakers, in place."""
        for block in x.split(len(x) if x.is_cuda else BLOCK):
            block.sub_(self.mean).div_(self.std)
        if self.offsets:
            zero = torch.zeros_like(self.mean)
            shift = [self.offsets.get(s, zero) for s in speakers]
            x.sub_(torch.stack(shift)[:, None])

    def of(self, layers: Sequence[int]) -> Standardiser:
        """Give the same for some layers, numbered from 1."""
        return self._map(lambda values: values[[n - 1 for n in layers]])

    def to(self, device: str) -> Standardiser:
        """Give the same on a device."""
        return self._map(lambda values: values.to(device))

    def _map(
        self, change: Callable[[torch.Tensor], torch.Tensor]
    ) -> Standardiser:
        offsets = {s: change(values) for s, values in self.offsets.items()}
        return Standardiser(change(self.mean), change(self.std), offsets)


def fit_standardisers(
    normalise: str,
    source: Sequence[Sequence[DomainRows]],
    target: Sequence[Sequence[DomainRows]],
    layers: Sequence[int],
    segments: Sequence[str],
    folder: Path | None = None,
) -> None:
    """Fit the statistics of each segment and give them to the rows.

    Vectors over a whole utterance vary less than those of its chunks, so each
    segment has statistics of its own, all six vowel classes together.

    Arguments
    ---------
    normalise : str
        ``none``; ``source``: the source's statistics for all; ``domain``:
        each corpus with its own (corpus normalisation, Schuller et al. 2010);
        ``speaker``: after ``domain``, n / (n + 20) of each speaker's mean over
        its n rows of any split is subtracted, and the rest standardised again;
        ``residual``: the same, of what is left of the rows once the mean of
        their emotion is subtracted, and with statistics in which each emotion
        counts alike, by the ``emotions`` of the rows.
    source, target : Sequence[Sequence[DomainRows]]
        Rows of each corpus of a role; the first entry is its training rows,
        whose statistics count. Under ``source`` those of all sources count
        together, each row alike.
    layers : Sequence[int]
        Layer numbers that are read.
    segments : Sequence[str]
        Names of the segments that are read.
    folder : Path, optional
        Where statistics of all layers are kept, a file for each set of rows and
        segment, so that other runs need not fit them again.

    Raises
    ------
    UserError
        An unknown ``normalise``.
    """
    check_choice("normalise", normalise, CHOICES["normalise"])
    for part in chain(*source, *target):
        part.standardisers = {}
    if normalise == "none":
        return
    by_speaker = {"speaker": _fit_speakers, "residual": _fit_residuals}
    fit = by_speaker.get(normalise, _fit_corpora)
    for segment in segments:
        if normalise == "source":
            training = [corpus[0] for corpus in source]
            fitted = _kept(folder, fit, training, segment).of(layers)
        for corpus in (*source, *target):
            if normalise == "domain":
                fitted = _kept(folder, fit, corpus[:1], segment).of(layers)
            elif normalise in by_speaker:
                fitted = _kept(folder, fit, corpus, segment).of(layers)
            for part in corpus:
                part.standardisers[segment] = fitted


def _kept(
    folder: Path | None,
    fit: Callable,
    rows: Sequence[DomainRows],
    segment: str,
) -> Standardiser:
    """Fit, or read what an earlier run has fitted on the same rows."""
    if folder is None or fit is _fit_residuals:  # a run's own
        return fit(rows, segment)
    keys = [part.features.keys for part in rows]
    content: list = [REVISION, fit.__name__, segment, keys]
    if fit is _fit_speakers:
        content += [part.speakers for part in rows]
    name = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]
    path = folder / f"{name}.safetensors"
    try:
        return _read_standardiser(path)
    except (OSError, DamagedError):  # not there, or damaged: made again
        fitted = fit(rows, segment)
    try:
        path.parent.mkdir(exist_ok=True)
        _write_standardiser(fitted, path)
    except (OSError, UserError) as error:  # a store that is only read
        logger.debug(f"{path} cannot be kept: {error}")
    return fitted


def _write_standardiser(standardiser: Standardiser, path: Path) -> None:
    speakers = list(standardiser.offsets)
    tensors = {"mean": standardiser.mean, "std": standardiser.std}
    if standardiser.offsets:
        tensors["offsets"] = torch.stack([*standardiser.offsets.values()])
    save_tensors(path, tensors, {"speakers": speakers})


def _read_standardiser(path: Path) -> Standardiser:
    with opened_tensors(path) as file:
        speakers = file.content["speakers"]
        offsets = file.get_tensor("offsets") if speakers else ()
        return Standardiser(
            file.get_tensor("mean"),
            file.get_tensor("std"),
            dict(zip(speakers, offsets, strict=True)),
        )


def _fit_corpora(
    rows: Sequence[DomainRows],
    segment: str,
    first: Standardiser | None = None,
    weights: torch.Tensor | None = None,
) -> Standardiser:
    """Mean and deviation of the vectors with frames, standardised first.

    With ``weights`` (N,), the N rows of the only part count by them.
    """
    count, total, squares = 0, 0.0, 0.0
    for x, owners in chain(*(_vectors(part, segment, first) for part in rows)):
        if weights is None:
            count += len(x)
            total = total + x.sum(0)
            squares = squares + x.square_().sum(0)
        else:
            w = weights[owners][:, None, None]
            count += float(w.sum())
            total = total + (x * w).sum(0)
            squares = squares + x.square_().mul_(w).sum(0)
    if not count:  # nothing will be aligned, nor standardised
        shape = rows[0].features.shape(segment)[1:]
        return Standardiser(torch.zeros(shape), torch.ones(shape))
    return Standardiser(*mean_and_std(count, total, squares))


def mean_and_std(
    count: float, total: torch.Tensor, squares: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and deviation in float32 from sums in float64.

    The deviation of what is constant is 1.
    """
    mean = total / count
    std = (squares / count - mean.square()).clamp(min=0).sqrt()
    std = torch.where(std > 1e-6 * mean.abs() + 1e-12, std, 1.0)
    return mean.float(), std.float()


def _fit_residuals(rows: Sequence[DomainRows], segment: str) -> Standardiser:
    """Do as `_fit_speakers`, with what the emotions explain left in."""
    p = rows[0].emotions
    weights = (p / p.mean(0).clamp(min=SMALLEST_SHARE)).sum(1)
    return _fit_speakers(rows, segment, weights)


def _emotion_means(
    rows: DomainRows, segment: str, first: Standardiser
) -> torch.Tensor:
    """Mean vector of each emotion (4, L, D), standardised first."""
    total, count = 0.0, 0.0
    for x, owners in _vectors(rows, segment, first):
        p = rows.emotions[owners]
        total = total + torch.einsum("nc,nld->cld", p, x)
        count = count + p.sum(0)
    return total / count.clamp(min=1)[:, None, None]


def _fit_speakers(
    rows: Sequence[DomainRows],
    segment: str,
    weights: torch.Tensor | None = None,
) -> Standardiser:
    """Subtract shrunken speaker means after the corpus's own statistics.

    With ``weights`` (N,) of the training rows, of what their emotions leave.
    """
    corpus = _fit_corpora(rows[:1], segment, None, weights)
    if weights is not None:
        means = _emotion_means(rows[0], segment, corpus)
    sums: dict[str, torch.Tensor] = {}
    counts: dict[str, int] = defaultdict(int)
    members: dict[str, set[str]] = defaultdict(set)
    for part in rows:
        for x, owners in _vectors(part, segment, corpus, skip=members):
            if weights is not None:
                p = part.emotions[owners]
                x = x - torch.einsum("nc,cld->nld", p, means)
            for vector, owner in zip(x, owners, strict=True):
                speaker = part.speakers[owner]
                sums[speaker] = sums.get(speaker, 0.0) + vector
                counts[speaker] += 1
        for utt_id, speaker in zip(part.ids, part.speakers, strict=True):
            members[speaker].add(utt_id)
    offsets = {}
    for speaker in sorted(sums.keys() - {UNKNOWN}):
        n = len(members[speaker])
        mean = sums[speaker] / counts[speaker]
        offsets[speaker] = (n / (n + SPEAKER_PRIOR) * mean).float()
    first = Standardiser(corpus.mean, corpus.std, offsets)
    again = _fit_corpora(rows[:1], segment, first, weights)
    return Standardiser(
        corpus.mean + corpus.std * again.mean,
        corpus.std * again.std,
        {s: o / again.std for s, o in offsets.items()},
    )


def _vectors(
    rows: DomainRows,
    segment: str,
    first: Standardiser | None,
    skip: Mapping[str, set[str]] | None = None,
) -> Iterator[tuple[torch.Tensor, list[int]]]:
    """Stream vectors with frames, (n, L, D) in float64, and their rows.

    Of all layers, standardised by ``first``; without the rows of ``skip``.
    """
    wanted = [
        i
        for i, (utt_id, speaker) in enumerate(
            zip(rows.ids, rows.speakers, strict=True)
        )
        if skip is None or utt_id not in skip.get(speaker, ())
    ]
    for start in range(0, len(wanted), READ_AT_ONCE):
        indices = wanted[start : start + READ_AT_ONCE]
        x, mask = rows.read(indices, None, [segment])
        speakers = [rows.speakers[i] for i in indices]
        if first is not None:
            first(x, speakers)
        owners = torch.arange(len(indices))[:, None].expand_as(mask)[mask]
        x = x.flatten(0, 1) if mask.all() else x[mask]
        yield x.double(), [indices[o] for o in owners.tolist()]
