from __future__ import annotations

import numpy as np
import pytest
import torch
from raw_features import (
    DIM,
    LAYERS,
    domain,
    noise,
    phoned,
)

from lam_sb.analysis import sums as sums_module
from lam_sb.analysis.similarity import (
    similarity_rows,
)
from lam_sb.analysis.sums import corpus_sums


def test_masked_segments_count_nowhere():
    rows, raw, *_ = phoned(1)
    for name, (values, frames) in rows.features.segments.items():
        assert name == "utterance" or (frames == 0).any()
        values[frames == 0] = torch.nan
    sums = corpus_sums(rows)
    for name, part in sums.segments.items():
        values, has = raw[name]
        assert np.allclose(part.vectors.sum((0, 1)), values[has].sum(0))
        assert part.counts.sum() == has.sum()
        assert np.isfinite(part.units).all()


def test_segments_that_no_row_has_are_left_out():
    x = noise(0)
    x_vowels = np.ones((60, 6, LAYERS, DIM)), np.zeros((60, 6))
    x_vowels[1][3:7, 4] = 2
    some = domain(x, vowel_classes=x_vowels)
    assert list(corpus_sums(some).segments) == ["utterance", "o"]
    sums = corpus_sums(domain(x))
    assert list(sums.segments) == ["utterance"]
    rows = similarity_rows(corpus_sums(some), sums, ["centroid"])
    assert {row["segment"] for row in rows} == {"utterance"}


@pytest.mark.parametrize("block", [1, 7, 60])
def test_the_block_size_changes_nothing(monkeypatch, block):
    rows, *_ = phoned(2, n=50)
    expected = corpus_sums(rows, covariance=True)
    monkeypatch.setattr(sums_module, "READ_AT_ONCE", block)
    sums = corpus_sums(rows, covariance=True)
    assert set(sums.segments) == set(expected.segments)
    for name, part in sums.segments.items():
        other = expected.segments[name]
        assert np.array_equal(part.counts, other.counts)
        assert np.allclose(part.vectors, other.vectors, rtol=1e-12)
        assert np.allclose(part.units, other.units, rtol=1e-12)
    assert np.allclose(sums.products, expected.products, rtol=1e-12)


def test_each_block_of_each_segment_is_read_once(monkeypatch):
    rows, *_ = phoned(1)
    monkeypatch.setattr(sums_module, "READ_AT_ONCE", 25)
    rows.features.calls.clear()
    corpus_sums(rows, covariance=True)
    blocks = [list(range(25)), list(range(25, 50)), list(range(50, 60))]
    names = ("utterance", "vowels", "consonants", "vowel_classes")
    expected = [(name, block) for block in blocks for name in names]
    assert sorted(rows.features.calls) == sorted(expected)


def size(sums):
    arrays = [sums.products]
    for part in sums.segments.values():
        arrays += [part.counts, part.vectors, part.units]
    return sum(array.nbytes for array in arrays)


def test_memory_does_not_grow_with_the_utterances():
    sums = []
    for n in (100, 1000):
        rows = domain(noise(0, n), speakers=np.arange(n))
        sums.append(corpus_sums(rows, covariance=True))
    assert size(sums[0]) == size(sums[1])
    assert sums[0].num_groups == sums[1].num_groups == 50
    counts = sums[1].utterances.counts.sum(1)
    assert counts.tolist() == [20] * 50  # 1,000 speakers in equal groups


def test_up_to_50_clusters_are_groups_of_their_own():
    speakers = np.repeat(np.arange(50), 2)
    x = noise(0, 100)
    sums = corpus_sums(domain(x, speakers=speakers)).utterances
    own = x.astype(np.float32).astype(float).reshape(50, 2, LAYERS, DIM).sum(1)
    groups = sums.vectors.sum(1)
    order = [np.abs(groups - mine).sum((1, 2)).argmin() for mine in own]
    assert sorted(order) == list(range(50)) != order
    assert np.allclose(groups[order], own)
