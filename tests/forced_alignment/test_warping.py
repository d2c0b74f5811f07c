"""Dynamic time warping, against SciPy's shortest paths and by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.sparse import lil_matrix
from scipy.sparse.csgraph import dijkstra

from lam_sb.forced_alignment.warping import (
    SHIFT,
    _longest_part,
    carry_over,
    log_mel,
    speech_frames,
    warp,
    warping_path,
)


def shortest(cost: np.ndarray) -> float:
    """Least cost of a path, as a graph's whose nodes say who has waited."""
    rows, columns = cost.shape

    def node(row: int, column: int, waited: bool) -> int:
        return 2 * (row * columns + column) + waited

    graph = lil_matrix((2 * cost.size, 2 * cost.size))
    for row, column in itertools.product(range(rows), range(columns)):
        for waited in (False, True):
            here = node(row, column, waited)
            if row + 1 < rows and column + 1 < columns:
                ahead = 2 * cost[row + 1, column + 1]
                graph[here, node(row + 1, column + 1, False)] = ahead
            if not waited and row + column:  # no wait after a wait
                for r, c in ((row + 1, column), (row, column + 1)):
                    if r < rows and c < columns:
                        graph[here, node(r, c, True)] = cost[r, c]
    ends = [node(rows - 1, columns - 1, waited) for waited in (False, True)]
    return 2 * cost[0, 0] + dijkstra(graph.tocsr(), indices=0)[ends].min()


@pytest.mark.parametrize("shape", [(6, 6), (7, 10), (10, 6), (2, 3), (1, 1)])
@pytest.mark.parametrize("seed", range(3))
def test_the_path_is_the_shortest(shape, seed):
    cost = np.random.default_rng(seed).uniform(0.1, 1, shape)
    path = warping_path(cost)
    assert path[0] == (0, 0)
    assert path[-1] == (shape[0] - 1, shape[1] - 1)
    steps = [(b[0] - a[0], b[1] - a[1]) for a, b in itertools.pairwise(path)]
    assert set(steps) <= {(1, 1), (0, 1), (1, 0)}
    total = 2 * cost[0, 0] + sum(
        cost[pair] * sum(step)
        for pair, step in zip(path[1:], steps, strict=True)
    )
    assert total == pytest.approx(shortest(cost))


def test_one_goes_at_most_twice_as_fast_as_the_other():
    assert warping_path(np.ones((3, 5))) == [
        *((0, 0), (1, 1), (1, 2), (2, 3), (2, 4)),
    ]
    with pytest.raises(ValueError, match="no path through 3 x 6 frames"):
        warping_path(np.ones((3, 6)))


def frames(*runs: tuple[float, int]) -> np.ndarray:
    """One band with so many frames of each level in dB."""
    return np.concatenate([np.full((n, 1), level) for level, n in runs])


def test_silence_at_the_ends_and_long_pauses_are_no_speech():
    speech = (60, 30)
    bands = frames(
        *((0, 10), speech, (0, 19), speech, (0, 20), speech, (0, 10))
    )
    assert speech_frames(bands).tolist() == [*range(10, 89), *range(109, 139)]


@pytest.mark.parametrize(
    ("floor", "threshold"),
    # 35 dB below the loudest; with noise, a quarter of the way from it to them.
    [(-70, 25), (0, 25), (20, 30), (30, 37.5), (50, 52.5)],
)
def test_the_threshold_follows_the_noise(floor, threshold):
    bands = frames(
        *((floor, 30), (threshold - 0.1, 2), (threshold + 0.1, 2), (60, 99))
    )
    assert speech_frames(bands).tolist() == [*range(32, 133)]


def test_what_is_of_one_level_is_speech():
    assert speech_frames(frames((40, 3))).tolist() == [0, 1, 2]


def test_places_of_equal_recordings_are_equal():
    ramp = np.arange(6.0)[:, None]
    assert warp(ramp, ramp).tolist() == [0, 1, 2, 3, 4, 5, 6]


def test_a_recording_of_half_the_speed_has_places_twice_as_far():
    ramp = np.arange(4.0)[:, None]
    slow = np.linspace(0, 3, 8)[:, None]
    assert warp(ramp, slow) == pytest.approx([0, 2, 4, 6, 8])


def test_a_change_comes_where_it_is_in_the_recording():
    reference = np.array([[0.0]] * 3 + [[1.0]] * 3)
    recorded = np.array([[0.0]] * 2 + [[1.0]] * 4)
    places = warp(reference, recorded)
    assert places[[0, 3, 6]].tolist() == [0, 2, 6]
    assert (np.diff(places) > 0).all()


@pytest.mark.parametrize(
    ("span", "seconds"),
    [
        ((1.0, 1.5), (0.11, 0.115)),
        ((2.5, 5.0), (0.125, 0.14)),  # 15 ms before the pause, 10 after it
        ((3.5, 6.0), (0.40, 0.42)),  # 5 ms before it, 20 after it
        ((4.0, 5.0), (0.40, 0.41)),
        ((6.0, 6.0), None),
    ],
)
def test_of_a_span_with_a_pause_the_longer_part_is_kept(span, seconds):
    speech = np.array([10, 11, 12, 13, 40, 41])
    part = _longest_part(*span, speech)
    assert part == (seconds and pytest.approx(seconds))


def test_frames_stand_where_the_sound_is():
    wav = np.zeros(16000)
    wav[8000] = 0.5
    energy = log_mel(wav).sum(1)
    assert len(energy) == 1 / SHIFT
    # Its 25 ms reach over the sample from 0.4875 to 0.5125 s.
    loud = np.flatnonzero(energy > energy.min() + 1)
    assert abs((loud.mean() + 0.5) * SHIFT - 0.5) < 0.006


def test_times_move_with_the_silence_before():
    rng = np.random.default_rng(0)
    tones = [
        np.sin(2 * np.pi * hertz * np.arange(3200) / 16000)
        for hertz in (300, 900, 2700, 600)
    ]
    tones = np.concatenate(tones)

    def padded(seconds: float) -> np.ndarray:
        wav = np.pad(tones, round(16000 * seconds))
        return log_mel(wav + 1e-4 * rng.standard_normal(len(wav)))

    spans = [(0.1, 0.3), (0.3, 0.5), (0.5, 0.7), (0.7, 0.9)]
    carried = carry_over(spans, padded(0.1), padded(0.5))
    expected = [(start + 0.4, end + 0.4) for start, end in spans]
    assert np.array(carried) == pytest.approx(np.array(expected), abs=0.021)
