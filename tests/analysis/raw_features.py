"""Made-up features of corpora, and measures of them worked out by hand."""

from __future__ import annotations

import numpy as np
import torch

from lam_sb.corpora.phones import VOWELS
from lam_sb.training.rows import DomainRows

EMOTIONS = ("neutral", "happy", "angry", "sad")
MEANS = ("centroid", "pairwise", "centred")
LAYERS, DIM = 4, 6


class MadeUpRows:
    """Named segments in memory, as `FeatureRows` gives them from a store."""

    def __init__(self, segments):
        self.segments = {
            name: (torch.tensor(x, dtype=torch.float32), torch.tensor(frames))
            for name, (x, frames) in segments.items()
        }
        self.calls = []

    def gather(self, name, indices, layers=None):
        self.calls.append((name, list(indices)))
        assert layers is None
        if name in self.segments:
            values, frames = self.segments[name]
            return values[indices], frames[indices]
        shape = (len(indices), *((6,) if name == "vowel_classes" else ()))
        whole = self.segments["utterance"][0].shape[1:]
        return torch.zeros(*shape, *whole), torch.zeros(shape)


def domain(x, labels=None, speakers=None, **segments):
    """Rows with utterance vectors x (N, L, D); emotions take turns."""
    n = len(x)
    labels = np.arange(n) % 4 if labels is None else labels
    speakers = np.arange(n) // 4 % 5 if speakers is None else speakers
    manifest = {
        f"u{i}": {
            "emo": None if labels[i] < 0 else EMOTIONS[labels[i]],
            "speaker": f"s{speakers[i]}",
        }
        for i in range(n)
    }
    segments["utterance"] = (x, np.ones(n))
    return DomainRows(manifest, MadeUpRows(segments), labelled=True)


def noise(seed, n=60, layers=LAYERS, dim=DIM, offset=1.0):
    return np.random.default_rng(seed).normal(offset, 1, (n, layers, dim))


def phoned(seed, n=60):
    """Rows with all segments, some of them masked, and their raw parts."""
    rng = np.random.default_rng([seed, 1])
    labels = rng.integers(-1, 4, n)
    speakers = rng.integers(0, 7, n)
    segments = {
        name: (
            rng.normal(0.5, 1, (n, *shape, LAYERS, DIM)),
            rng.integers(0, 3, (n, *shape)),
        )
        for name, shape in (
            ("vowels", ()),
            ("consonants", ()),
            ("vowel_classes", (6,)),
        )
    }
    rows = domain(noise(seed, n), labels, speakers, **segments)
    raw = {}
    for name, (values, frames) in rows.features.segments.items():
        values, frames = values.double().numpy(), frames.numpy()
        if name == "vowel_classes":
            for k, vowel in enumerate(VOWELS):
                raw[vowel] = values[:, k], frames[:, k] > 0
        else:
            raw[name] = values, frames > 0
    return rows, raw, labels, np.array(rows.clusters)


def raw_rows(x, labels, emotion):
    return x if emotion == "all" else x[labels == EMOTIONS.index(emotion)]


def cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def by_hand(measure, emotion, xs, ys, xt, yt):
    """One measure of one layer, (N, D) vectors and their labels."""
    s, t = raw_rows(xs, ys, emotion), raw_rows(xt, yt, emotion)
    if measure == "centroid":
        return cosine(s.mean(0), t.mean(0))
    if measure == "pairwise":
        return np.mean([cosine(a, b) for a in s for b in t])
    if measure == "centred":
        return cosine(s.mean(0) - xs.mean(0), t.mean(0) - xt.mean(0))
    if measure == "covariance_standardised":
        s, t = s / xs.std(0), t / xt.std(0)
    a, b = np.cov(s.T), np.cov(t.T)
    return (a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b)


def found(rows):
    """Rows by emotion, segment, measure and layer."""
    keys = ("emotion", "segment", "measure", "layer")
    by_key = {tuple(row[k] for k in keys): row for row in rows}
    assert len(by_key) == len(rows)
    return by_key


def curve(rows, measure, emotion, segment="utterance"):
    rows = [
        row
        for row in rows
        if (row["measure"], row["emotion"], row["segment"])
        == (measure, emotion, segment)
    ]
    assert [row["layer"] for row in rows] == list(range(1, len(rows) + 1))
    return np.array([row["value"] for row in rows])


def present(part, segment):
    """Vectors, labels and clusters of the rows that have a segment."""
    _, raw, labels, clusters = part
    x, has = raw[segment]
    return x[has], labels[has], clusters[has]
