"""Rows of one corpus with their features and labels, and batches of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from lam_sb.corpora.manifests import EMOTIONS, cluster_of
from lam_sb.errors import UserError
from lam_sb.features.shards import FeatureRows
from lam_sb.training.standardisation import Standardiser

UNLABELLED = -1


@dataclass
class Batch:
    """Rows of the sources, then rows of the targets.

    Arguments
    ---------
    x : torch.Tensor
        (B, K + S, M, D) standardised layers: K time chunks, then the segments
        that are aligned: S = 0 for utterances, whose chunks are, S = 1 for
        vowels or consonants, S = 6 vowel classes.
    mask : torch.Tensor
        (B, K + S) bool, False where a chunk or segment has no frames.
    labels : torch.Tensor
        (B,) classes; -1 where the label is unknown or must not be seen.
    num_source : int
        Number of source rows, which come first.
    corpora : torch.Tensor | None
        (B,) number of each row's corpus, from 0 in either role; None where
        each has one.
    """

    x: torch.Tensor
    mask: torch.Tensor
    labels: torch.Tensor
    num_source: int
    corpora: torch.Tensor | None = None

    def to(self, device: str) -> Batch:
        """Copy to a device."""
        corpora = self.corpora
        if corpora is not None:
            corpora = corpora.to(device, non_blocking=True)
        return Batch(
            self.x.to(device, non_blocking=True),
            self.mask.to(device, non_blocking=True),
            self.labels.to(device, non_blocking=True),
            self.num_source,
            corpora,
        )


class Outputs(NamedTuple):
    """What a batch gives.

    Arguments
    ---------
    logits : torch.Tensor
        (B', 4) of the B' rows, from the first, that the head is asked for.
    embeddings : torch.Tensor
        (B', e) outputs of the head; the logits, if it classifies.
    segments : torch.Tensor
        (B, S, M, d) what is aligned of each mixed layer, S = 1 for utterances.
    segment_mask : torch.Tensor | None
        (B, S) bool, False where a segment has no frames; None if all have.
    """

    logits: torch.Tensor
    embeddings: torch.Tensor
    segments: torch.Tensor
    segment_mask: torch.Tensor | None


def class_labels(
    manifest: Mapping[str, Mapping], labelled: bool
) -> torch.Tensor:
    """Classes (N,) of rows of a manifest; -1 without one or if hidden."""
    emotions = [row["emo"] for row in manifest.values()]
    return torch.tensor(
        [
            EMOTIONS.index(e) if labelled and e is not None else UNLABELLED
            for e in emotions
        ]
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
        self.labels = class_labels(manifest, labelled)
        self.standardisers: dict[str, Standardiser] = {}  # by segment
        # (N, 4) shares that ``normalise: residual`` goes by; labels of the
        # source, but never of the target.
        self.emotions: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def read(
        self,
        indices: Sequence[int],
        layers: Sequence[int] | None,
        segments: Sequence[str],
        out: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Segments of some rows, each standardised by its own statistics.

        Arguments
        ---------
        indices : Sequence[int]
            Positions n of the rows.
        layers : Sequence[int] | None
            M layer numbers, from 1; None for all.
        segments : Sequence[str]
            Names of stored segments, as from `segments_of`.
        out : torch.Tensor, optional
            (n, S, M, D) float32 that becomes ``x``.

        Returns
        -------
        x : torch.Tensor
            (n, S, M, D), one segment after the other: K of ``chunks``, 6 of
            ``vowel_classes``, 1 of any other.
        mask : torch.Tensor
            (n, S) bool, False where a segment has no frames.
        """
        features = self.features
        shapes = [features.shape(name, layers) for name in segments]
        counts = [shape[0] for shape in shapes]
        if out is None:
            shape = len(indices), sum(counts), *shapes[0][1:]
            out = torch.empty(shape, device=features.device)
        speakers = [self.speakers[i] for i in indices]
        for name, x in zip(segments, out.split(counts, 1), strict=True):
            features.fill(x, name, indices, layers)
            if name in self.standardisers:
                self.standardisers[name](x, speakers)
        frames = [features.frames(name, indices) for name in segments]
        return out, torch.cat(frames, dim=1) > 0


Parts = Mapping[str, Mapping[str, DomainRows]]  # by part and corpus


def segments_of(fit: str, segment: str) -> tuple[str, ...]:
    """Name the stored segments that a system reads; the first is classified.

    Example
    -------
    >>> segments_of("brain", "vowels"), segments_of("brain", "utterance")
    (('chunks', 'vowels'), ('chunks',))
    """
    if fit == "sklearn":
        return ("utterance",)
    # An utterance is aligned as the mean of its classified chunks.
    return ("chunks",) if segment == "utterance" else ("chunks", segment)


def with_emotion(rows: Mapping[str, dict]) -> dict[str, dict]:
    """Keep the rows labelled with one of the four emotions."""
    return {i: row for i, row in rows.items() if row["emo"] is not None}
