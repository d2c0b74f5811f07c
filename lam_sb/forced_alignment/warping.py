"""Carrying phone times from one recording of a text to another.

Dynamic time warping (Sakoe and Chiba 1978) of mel cepstra. The warping is our
own: it takes twenty lines, and librosa's, the usual one, would bring a compiler
(numba) for that one function.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from scipy.fft import dct
from scipy.spatial.distance import cdist
from torchaudio.compliance.kaldi import fbank
from torchaudio.functional import compute_deltas

from lam_sb.features.audio import SAMPLE_RATE

SHIFT = 0.01  # seconds from frame to frame
CEPSTRA = 13
RANGE = 50.0  # dB; what is quieter than the loudest by more counts as that
SPEECH = 35.0  # dB below the loudest frames, in which speech lies
ABOVE_NOISE = 0.25  # of the way from the quietest frames to the loudest
PAUSE = 20  # frames; a shorter silence may be that of a plosive
# Frames of the one and of the other recording that a step goes forward by.
STEPS = ((1, 1), (1, 2), (2, 1))


def log_mel(wav: np.ndarray) -> np.ndarray:
    """Log energies (T, bands), in dB, of frames of 25 ms each 10 ms.

    Frame t has its centre at (t + 1/2) 10 ms.
    """
    samples = torch.as_tensor(wav, dtype=torch.float32)[None] * 2**15
    bands = fbank(
        samples,
        sample_frequency=SAMPLE_RATE,
        frame_shift=SHIFT * 1000,
        snip_edges=False,
        dither=0.0,
    )
    return bands.numpy() * (10 / np.log(10))


def speech_frames(bands: np.ndarray) -> np.ndarray:
    """Numbers of the frames (S,) of log energies (T, bands) that are speech.

    Without the silence at both ends, and pauses of at least `PAUSE` frames.
    Silence is what lies by more than `SPEECH` below the loudest frames (the
    95th percentile), and in a noisy recording what is less than `ABOVE_NOISE`
    of the way from the quietest frames (the 5th) to them.
    """
    energy = 10 * np.log10(np.sum(10 ** (bands / 10), axis=1))
    quiet, high = np.percentile(energy, (5, 95))
    loud = energy >= max(high - SPEECH, quiet + ABOVE_NOISE * (high - quiet))
    kept, at = np.ones(len(loud), bool), 0
    for is_loud, run in itertools.groupby(loud):
        end = at + len(list(run))
        is_edge = at == 0 or end == len(loud)
        if not is_loud and (is_edge or end - at >= PAUSE):
            kept[at:end] = False
        at = end
    return np.flatnonzero(kept)


def cepstra(bands: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Mel cepstra and their deltas (S, 2 * `CEPSTRA`) of some frames.

    Each has the mean 0 and the standard deviation 1.
    """
    floored = np.maximum(bands, bands.max() - RANGE)
    static = dct(floored, norm="ortho")[:, :CEPSTRA]
    deltas = compute_deltas(torch.from_numpy(static.T)).numpy().T
    both = np.hstack([static, deltas])[frames]
    deviation = both.std(0)
    return (both - both.mean(0)) / np.where(deviation > 0, deviation, 1)


def warping_path(cost: np.ndarray) -> list[tuple[int, int]]:
    """Find the cheapest path through the costs (R, A) of pairs of frames.

    From the first pair to the last by `STEPS`, so that neither recording goes
    more than twice as fast as the other: each frame of both is on the path. A
    pair costs twice its cost where both go on, and once where one waits
    (Sakoe and Chiba's symmetric form with slope constraint P = 1).

    Raises
    ------
    ValueError
        No path: one has more than twice the frames of the other.
    """
    rows, columns = cost.shape
    total = np.full((rows, columns), np.inf)
    total[0, 0] = 2 * cost[0, 0]
    step = np.zeros((rows, columns), np.int8)
    for row in range(1, rows):
        here, above = cost[row], cost[row - 1]
        ways = np.full((len(STEPS), columns), np.inf)
        ways[0, 1:] = total[row - 1, :-1] + 2 * here[1:]
        ways[1, 2:] = total[row - 1, :-2] + 2 * here[1:-1] + here[2:]
        if row > 1:
            ways[2, 1:] = total[row - 2, :-1] + 2 * above[1:] + here[1:]
        total[row], step[row] = ways.min(0), ways.argmin(0)
    if not np.isfinite(total[-1, -1]):
        raise ValueError(f"no path through {rows} x {columns} frames")
    path = [(rows - 1, columns - 1)]
    while path[-1] != (0, 0):
        row, column = path[-1]
        down, right = STEPS[step[row, column]]
        if right == 2:
            path.append((row, column - 1))
        elif down == 2:
            path.append((row - 1, column))
        path.append((row - down, column - right))
    return path[::-1]


def warp(reference: np.ndarray, recorded: np.ndarray) -> np.ndarray:
    """Where each frame of the reference begins in the recording.

    Arguments
    ---------
    reference, recorded : np.ndarray
        Cepstra (R, D) and (A, D). The reference is first stretched evenly to
        the length of the recording.

    Returns
    -------
    np.ndarray
        (R + 1,) places in the recording, in frames, rising from 0 to A; the
        last is where the reference ends.
    """
    count = len(recorded)
    place = np.linspace(0, len(reference) - 1, count)
    stretched = np.stack(
        [np.interp(place, np.arange(len(reference)), x) for x in reference.T],
        axis=1,
    )
    path = np.array(warping_path(cdist(stretched, recorded)))
    # Frame n begins between the places of the last pair of n - 1 and of the
    # first pair of n; where both are one frame, in the middle of that.
    first, last = np.zeros(count), np.zeros(count)
    first[path[::-1, 0]] = path[::-1, 1]
    last[path[:, 0]] = path[:, 1]
    edges = np.concatenate([[0], (last[:-1] + first[1:] + 1) / 2, [count]])
    wanted = np.linspace(0, count, len(reference) + 1)
    return np.interp(wanted, np.arange(count + 1), edges)


def carry_over(
    times: Sequence[tuple[float, float]],
    reference: np.ndarray,
    recorded: np.ndarray,
) -> list[tuple[float, float] | None]:
    """Carry spans of a reference over to a recording of the same words.

    Arguments
    ---------
    times : Sequence[tuple[float, float]]
        Start and end of each span in the reference, in seconds.
    reference, recorded : np.ndarray
        Log energies (T, bands) of both, as from `log_mel`.

    Returns
    -------
    list[tuple[float, float] | None]
        Start and end of each in the recording. Of a span with a pause in it,
        the longer part; None where all of a span is silence.
    """
    ours, theirs = speech_frames(reference), speech_frames(recorded)
    edges = warp(cepstra(reference, ours), cepstra(recorded, theirs))
    # Frames of speech before each frame of the reference.
    before = np.searchsorted(ours, np.arange(len(reference) + 1))
    spoken = np.interp(np.array(times) / SHIFT, np.arange(len(before)), before)
    placed = np.interp(spoken, np.arange(len(edges)), edges)
    return [_longest_part(start, end, theirs) for start, end in placed]


def _longest_part(
    start: float, end: float, frames: np.ndarray
) -> tuple[float, float] | None:
    """Seconds of a span of frames of speech, without a pause within it."""
    numbers = np.arange(int(start), min(int(np.ceil(end)), len(frames)))
    if not len(numbers):
        return None
    ahead = frames[numbers] - numbers  # frames of silence before
    starts = (np.maximum(numbers, start) + ahead) * SHIFT
    ends = (np.minimum(numbers + 1, end) + ahead) * SHIFT
    parts = np.split(
        np.arange(len(numbers)), np.flatnonzero(np.diff(ahead)) + 1
    )
    longest = max(parts, key=lambda part: ends[part[-1]] - starts[part[0]])
    return float(starts[longest[0]]), float(ends[longest[-1]])
