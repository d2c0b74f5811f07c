"""Rows of a corpus whose features are random and in memory."""

from __future__ import annotations

import numpy as np
import torch
from conftest import EMOTIONS

from lam_sb.training.rows import DomainRows


class FeaturesInMemory:
    """As `FeatureRows` gives them from a store."""

    def __init__(self, chunks, frames=None):
        self.chunks = torch.as_tensor(chunks, dtype=torch.float32)
        shape = self.chunks.shape[:2]
        self.frames = torch.ones(shape) if frames is None else frames

    def gather(self, name, indices, layers=None):
        picked = [layer - 1 for layer in layers]
        chunks = self.chunks[list(indices)][:, :, picked]
        frames = self.frames[list(indices)]
        if name == "chunks":
            return chunks, frames
        return chunks.mean(1), frames.sum(1)


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
