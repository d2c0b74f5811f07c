"""Rows of a corpus whose features are random and in memory."""

from __future__ import annotations

import numpy as np
import torch
from conftest import EMOTIONS

from lam_sb.features.shards import FeatureRows
from lam_sb.training.rows import DomainRows


class ShardInMemory(dict):
    """Chunks of all rows; an utterance is the mean of its chunks."""

    def __getitem__(self, name):
        if name == "utterance":
            return self["chunks"].mean(1)
        if name == "utterance.frames":
            return self["chunks.frames"].sum(1)
        return super().__getitem__(name)

    def __contains__(self, name):
        return name in ("utterance", "chunks")


class FeaturesInMemory(FeatureRows):
    """Features of a made-up shard."""

    def __init__(self, chunks, frames=None):
        self.chunks = torch.as_tensor(chunks, dtype=torch.float32)
        n, k = self.chunks.shape[:2]
        self.shard_frames = (
            torch.ones(n, k, dtype=torch.int32) if frames is None else frames
        )
        shard = ShardInMemory(chunks=self.chunks)
        shard["chunks.frames"] = self.shard_frames
        keys = [f"{self.chunks[i].sum():.6f}" for i in range(n)]
        super().__init__([(shard, i) for i in range(n)], keys)


def rows(n=10, seed=0, speakers=None, labelled=True, scale=1.0, offset=0.0):
    rng = np.random.default_rng(seed)
    manifest = {
        f"u{seed}_{i}": {
            "emo": EMOTIONS[i % 4],
            "speaker": speakers[i] if speakers else f"s{i % 3}",
        }
        for i in range(n)
    }
    chunks = rng.normal(offset, scale, (n, 2, 3, 5))
    return DomainRows(manifest, FeaturesInMemory(chunks), labelled)
