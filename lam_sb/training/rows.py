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


class Outputs(NamedTuple):
    """What a batch gives.

    Arguments
    ---------
    logits : torch.Tensor
        (B, 4)
    embeddings : torch.Tensor
        (B, e) outputs of the head; the logits, if it classifies.
    segments : torch.Tensor
        (B, S, M, d) projected segments of each mixed layer.
    """

    logits: torch.Tensor
    embeddings: torch.Tensor
    segments: torch.Tensor


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


def with_emotion(rows: Mapping[str, dict]) -> dict[str, dict]:
    """Keep the rows labelled with one of the four emotions."""
    return {i: row for i, row in rows.items() if row["emo"] is not None}
