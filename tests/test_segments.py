from __future__ import annotations

import numpy as np
import pytest
import torch

from lam_sb.segments import chunk_bounds, segment_means


@pytest.mark.parametrize(
    ("frames", "chunks", "expected"),
    [
        (8, 4, [(0, 2), (2, 4), (4, 6), (6, 8)]),
        # 0, 10/4 = 2.5, 5, 7.5 and 10, rounded down.
        (10, 4, [(0, 2), (2, 5), (5, 7), (7, 10)]),
        (7, 1, [(0, 7)]),
        # 0, 3/4, 6/4, 9/4 and 3: the first chunk holds no frame.
        (3, 4, [(0, 0), (0, 1), (1, 2), (2, 3)]),
        (1, 3, [(0, 0), (0, 0), (0, 1)]),
        (0, 2, [(0, 0), (0, 0)]),
    ],
)
def test_chunk_bounds_by_hand(frames, chunks, expected):
    assert chunk_bounds(frames, chunks) == expected


@pytest.mark.parametrize("chunks", [1, 2, 7, 8])
def test_chunks_hold_each_frame_once_and_are_nearly_equal(chunks):
    for frames in range(1, 60):
        bounds = chunk_bounds(frames, chunks)
        held = [t for start, end in bounds for t in range(start, end)]
        assert held == list(range(frames))
        sizes = {end - start for start, end in bounds}
        assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("frames", [1, 5, 8, 50, 1499])
def test_means_are_those_of_numpy(frames):
    torch.manual_seed(frames)
    layers = torch.randn(3, frames, 4)
    means = segment_means(layers, time_chunks=8)
    array = layers.numpy().astype(np.float64)

    values, count = means["utterance"]
    assert values.numpy() == pytest.approx(array.mean(1), abs=1e-6)
    assert count.item() == frames

    values, counts = means["chunks"]
    assert values.shape == (8, 3, 4)
    edges = np.arange(9) * frames // 8
    assert counts.tolist() == np.diff(edges).tolist()
    for k in np.flatnonzero(np.diff(edges)):
        expected = array[:, edges[k] : edges[k + 1]].mean(1)
        assert values[k].numpy() == pytest.approx(expected, abs=1e-6)


def test_a_chunk_without_frames_is_masked_and_finite():
    means = segment_means(torch.full((2, 3, 4), 5.0), time_chunks=8)
    values, counts = means["chunks"]
    # 0, 3/8, .. 24/8, rounded down: 0 0 0 1 1 1 2 2 3.
    assert counts.tolist() == [0, 0, 1, 0, 0, 1, 0, 1]
    assert values.isfinite().all()
    assert (values[counts > 0] == 5).all()


def test_chunk_means_weighted_by_frames_give_the_utterance_mean():
    torch.manual_seed(0)
    means = segment_means(torch.randn(3, 21, 4), time_chunks=8)
    values, counts = means["chunks"]
    weighted = (values * counts[:, None, None]).sum(0) / counts.sum()
    assert torch.allclose(weighted, means["utterance"][0], atol=1e-6)


def test_means_do_not_depend_on_the_order_within_a_chunk():
    torch.manual_seed(0)
    layers = torch.randn(3, 16, 4)
    swapped = layers.clone()
    swapped[:, [4, 5]] = layers[:, [5, 4]]
    ours, theirs = (segment_means(x, 8)["chunks"][0] for x in (layers, swapped))
    assert torch.equal(ours, theirs)
