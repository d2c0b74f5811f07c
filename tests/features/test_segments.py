from __future__ import annotations

import numpy as np
import pytest
import torch

from lam_sb.corpora.phones import VOWELS
from lam_sb.features.segments import (
    by_segment,
    chunk_bounds,
    frame_classes,
    segment_means,
)

CENTRES = {
    "wavlm": [0.0125, 0.0325, 0.0525, 0.0725, 0.0925, 0.1125],
    "whisper": [0.0, 0.02, 0.04, 0.06, 0.08, 0.1],
}
# They begin and end on centres of either family.
SPANS = [
    ["consonant", 0.0, 0.0325],
    ["a", 0.0325, 0.06],
    ["vowel", 0.06, 0.0925],
    ["u", 0.1, 0.1125],
]


def means_of(layers, time_chunks, phones=()):
    """Means and counts by segment of one utterance, layers (L, T, D)."""
    means, counts = segment_means(
        layers[None], [layers.shape[1]], time_chunks, [phones] if phones else []
    )
    values, counts = (by_segment(x, time_chunks) for x in (means, counts))
    return {name: (values[name][0], counts[name][0]) for name in values}


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
    means = means_of(layers, time_chunks=8)
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
    means = means_of(torch.full((2, 3, 4), 5.0), time_chunks=8)
    values, counts = means["chunks"]
    # 0, 3/8, .. 24/8, rounded down: 0 0 0 1 1 1 2 2 3.
    assert counts.tolist() == [0, 0, 1, 0, 0, 1, 0, 1]
    assert values.isfinite().all()
    assert (values[counts > 0] == 5).all()


def test_chunk_means_weighted_by_frames_give_the_utterance_mean():
    torch.manual_seed(0)
    means = means_of(torch.randn(3, 21, 4), time_chunks=8)
    values, counts = means["chunks"]
    weighted = (values * counts[:, None, None]).sum(0) / counts.sum()
    assert torch.allclose(weighted, means["utterance"][0], atol=1e-6)


def test_means_do_not_depend_on_the_order_within_a_chunk():
    torch.manual_seed(0)
    layers = torch.randn(3, 16, 4)
    swapped = layers.clone()
    swapped[:, [4, 5]] = layers[:, [5, 4]]
    ours, theirs = (means_of(x, 8)["chunks"][0] for x in (layers, swapped))
    assert torch.equal(ours, theirs)


# Phones


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        ("wavlm", ["consonant", "a", "a", "vowel", "", ""]),
        ("whisper", ["consonant", "consonant", "a", "vowel", "vowel", "u"]),
    ],
)
def test_a_frame_belongs_to_the_phone_that_holds_its_centre(family, expected):
    assert frame_classes(SPANS, CENTRES[family]) == expected


def test_frames_before_and_after_all_phones_belong_to_none():
    phones = [["a", 0.03, 0.05]]
    assert frame_classes(phones, [0.01, 0.03, 0.05]) == ["", "a", ""]
    assert frame_classes([], [0.01, 0.03]) == ["", ""]


@pytest.mark.parametrize(
    ("family", "vowels", "consonants", "of_a", "of_u"),
    [
        # Frames 1, 2 and 3; frame 0; frames 1 and 2; none.
        ("wavlm", (2.0, 3), (0.0, 1), (1.5, 2), (0.0, 0)),
        # Frames 2 to 5; frames 0 and 1; frame 2; frame 5.
        ("whisper", (3.5, 4), (0.5, 2), (2.0, 1), (5.0, 1)),
    ],
)
def test_means_over_phones_by_hand(family, vowels, consonants, of_a, of_u):
    # Frame t of layer 1 is t, and 10 t in layer 2; two dimensions alike.
    layers = torch.arange(6.0)[None, :, None].repeat(2, 1, 2)
    layers[1] *= 10
    phones = frame_classes(SPANS, CENTRES[family])
    means = means_of(layers, 2, phones)
    both = torch.tensor([[1.0, 1.0], [10.0, 10.0]])
    for name, (value, count) in (
        ("vowels", vowels),
        ("consonants", consonants),
    ):
        assert torch.allclose(means[name][0], value * both)
        assert means[name][1].tolist() == count
    values, counts = means["vowel_classes"]
    expected = dict.fromkeys(VOWELS, (0.0, 0)) | {"a": of_a, "u": of_u}
    assert values.shape == (6, 2, 2)
    assert counts.tolist() == [count for _, count in expected.values()]
    for vowel, (value, _) in zip(values, expected.values(), strict=True):
        assert torch.allclose(vowel, value * both)


def test_phones_change_no_other_segment():
    torch.manual_seed(0)
    layers = torch.randn(3, 6, 4)
    without = means_of(layers, 8)
    means = means_of(layers, 8, ["a", "", "i", "consonant", "", "a"])
    assert {*means} - {*without} == {"vowels", "consonants", "vowel_classes"}
    for name, (values, counts) in without.items():
        assert torch.equal(means[name][0], values)
        assert torch.equal(means[name][1], counts)


def test_phones_without_a_frame_are_masked_and_zero():
    means = means_of(torch.full((2, 3, 4), 5.0), 2, ["", "", ""])
    for name, shape in (
        ("vowels", (2, 4)),
        ("consonants", (2, 4)),
        ("vowel_classes", (6, 2, 4)),
    ):
        values, counts = means[name]
        assert torch.equal(values, torch.zeros(shape))
        assert not counts.any()


def test_means_of_a_batch_leave_padding_out():
    torch.manual_seed(3)
    layers, frames = torch.randn(3, 2, 11, 4), [11, 1, 7]
    phones = [["a", "consonant", "", "i"] * 3, ["vowel"], ["u"] * 7]
    phones = [classes[:n] for classes, n in zip(phones, frames, strict=True)]
    means, counts = (
        by_segment(x, 3) for x in segment_means(layers, frames, 3, phones)
    )
    for n, (count, classes) in enumerate(zip(frames, phones, strict=True)):
        alone = means_of(layers[n, :, :count], 3, classes)
        assert alone.keys() == means.keys()
        for name, (values, held) in alone.items():
            assert torch.allclose(means[name][n], values, atol=1e-6)
            assert torch.equal(counts[name][n], held)
    # Of row 2 all seven frames are u: its chunks hold 2, 2 and 3.
    assert counts["vowel_classes"][2].tolist() == [0, 0, 0, 0, 0, 7]
    assert counts["chunks"][2].tolist() == [2, 2, 3]
