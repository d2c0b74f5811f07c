"""Judge the alignments of ``python -m lam_sb align`` on a corpus with texts.

    python tests/benchmarks/judge_alignment.py CORPUS [--language de]

On a corpus with a labels.csv (path, text, language), no true times are known:
of the frames (25 ms, each 10 ms) of speech under vowels and under consonants it
prints the mean energy in dB, relative to the utterance's, and the share that is
voiced: whose autocorrelation has a peak of at least 0.5 at 60 to 400 Hz. With
``--demo`` for CORPUS, the synthetic corpora of the demo, whose times are known:
mean error of the boundaries, share within 20 and 50 ms, and the share of frames
of the right class (vowel, consonant, silence).

Beside ``dtw`` stand eSpeak NG's durations spread in proportion over the speech
(``linear``), that is without time warping, and over the whole file
(``linear, whole file``).
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from scipy.signal import resample_poly

from data_prep.demo_prepare import CORPORA, plan, speak
from lam_sb.corpora.phones import CONSONANT, phone_class
from lam_sb.features.audio import UnreadableAudioError, load_audio
from lam_sb.forced_alignment import align, warping
from lam_sb.forced_alignment.espeak import phone_times

KINDS = ("dtw", "linear", "linear, whole file")


def spread(reference: np.ndarray, recorded: np.ndarray) -> np.ndarray:
    """Edges as from `warp`, in proportion."""
    return np.linspace(0, len(recorded), len(reference) + 1)


def carried(kind: str, spans: list, reference: np.ndarray, bands: np.ndarray):
    """Carry spans over in one of `KINDS`."""
    if kind == "dtw":
        return warping.carry_over(spans, reference, bands)
    with patch.object(warping, "warp", spread):
        if kind == "linear":
            return warping.carry_over(spans, reference, bands)
        everything = patch.object(
            warping, "speech_frames", lambda b: np.arange(len(b))
        )
        with everything:
            return warping.carry_over(spans, reference, bands)


def frame_kinds(spans: list, labels: list, phone_set: str, count: int) -> list:
    """``v``, ``c`` or empty for each frame, by its centre."""
    kinds = [""] * count
    for span, label in zip(spans, labels, strict=True):
        if span is not None:
            first, last = (np.array(span) / warping.SHIFT + 0.5).astype(int)
            name = phone_class(label, phone_set)
            kinds[first:last] = ["cv"[name != CONSONANT]] * len(
                kinds[first:last]
            )
    return kinds


def voiced(wav: np.ndarray, count: int) -> np.ndarray:
    """Whether each frame is periodic, by normalised cross-correlation."""
    lags = np.arange(16000 // 400, 16000 // 60)
    padded = np.pad(wav, (400, 800))
    result = np.zeros(count, bool)
    for t in range(count):
        here = padded[t * 160 + 280 :][:400]
        if not here.any():
            continue
        shifted = np.lib.stride_tricks.sliding_window_view(
            padded[t * 160 + 280 :][: 400 + lags[-1]], 400
        )[lags]
        norm = np.linalg.norm(shifted, axis=1) * np.linalg.norm(here)
        result[t] = (shifted @ here / np.maximum(norm, 1e-9)).max() >= 0.5
    return result


def corpus_pairs(folder: Path, language: str | None) -> Iterator[tuple]:
    """Reference and recording of each row that can be aligned."""
    rows, _ = align.corpus_rows(folder, Path("none"), language)
    for row, reference in align.references(rows):
        if reference is None or reference.bands is None:
            continue
        with suppress(UnreadableAudioError):
            yield reference, load_audio(row.audio).numpy()


def judge_corpus(folder: Path, language: str | None) -> None:
    """Print energy and voicing under vowels and consonants."""
    found: dict = {kind: defaultdict(list) for kind in KINDS}
    for reference, wav in corpus_pairs(folder, language):
        bands = warping.log_mel(wav)
        energy = 10 * np.log10(np.sum(10 ** (bands / 10), axis=1))
        energy -= energy[warping.speech_frames(bands)].mean()
        is_voiced = voiced(wav, len(bands))
        spans = [p[:2] for p in reference.phones]
        labels = [p[2] for p in reference.phones]
        for kind in KINDS:
            placed = carried(kind, spans, reference.bands, bands)
            kinds = np.array(frame_kinds(placed, labels, "espeak", len(bands)))
            for name in "vc":
                found[kind][name, "dB"].append(energy[kinds == name])
                found[kind][name, "voiced"].append(is_voiced[kinds == name])
    for kind, values in found.items():
        means = {k: np.concatenate(v).mean() for k, v in values.items()}
        print(
            f"{kind:20} vowels {means['v', 'dB']:+.1f} dB, "
            f"{means['v', 'voiced']:.0%} voiced; consonants "
            f"{means['c', 'dB']:+.1f} dB, {means['c', 'voiced']:.0%} voiced"
        )


def judge_demo() -> None:
    """Print boundary errors and frame accuracy on the demo's speech."""
    rng = np.random.default_rng(0)
    for corpus, language in CORPORA.items():
        lines = plan(language, 0)
        texts = [
            align.Row(Path(), Path(str(n)), language["voice"], line.text)
            for n, line in enumerate(lines)
        ]
        spoken = speak(lines, 0)
        errors: dict = {kind: [] for kind in KINDS}
        right: dict = {kind: [] for kind in KINDS}
        for row, reference in align.references(texts):
            samples, events, _ = spoken[int(str(row.textgrid))]
            true = [p for p in phone_times(events, len(samples)) if p[2]]
            if [p[2] for p in true] != [p[2] for p in reference.phones]:
                continue
            wav = resample_poly(samples, 320, 441)
            wav = np.concatenate([np.zeros(4800), wav, np.zeros(4800)])
            noise = rng.standard_normal(len(wav))
            wav += 0.03 * np.sqrt(np.mean(wav**2)) * noise
            bands = warping.log_mel(wav)
            times = [(a + 0.3, b + 0.3) for a, b, *_ in true]
            labels = [p[2] for p in true]
            truth = frame_kinds(times, labels, "espeak", len(bands))
            spans = [p[:2] for p in reference.phones]
            for kind in KINDS:
                placed = carried(kind, spans, reference.bands, bands)
                errors[kind] += [
                    abs(p[0] - t[0])
                    for p, t in zip(placed, times, strict=True)
                    if p is not None
                ]
                kinds = frame_kinds(placed, labels, "espeak", len(bands))
                right[kind] += [
                    a == b for a, b in zip(kinds, truth, strict=True)
                ]
        for kind in KINDS:
            e = np.array(errors[kind])
            print(
                f"{corpus}, {kind:20} {1000 * e.mean():.0f} ms, "
                f"{(e <= 0.02).mean():.0%} within 20 ms, "
                f"{(e <= 0.05).mean():.0%} within 50 ms, "
                f"{np.mean(right[kind]):.1%} of frames right, {len(e)} phones"
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", nargs="?")
    parser.add_argument("--demo", action="store_true")
    parser.add_argument("--language")
    given = parser.parse_args()
    if given.demo:
        judge_demo()
    if given.corpus:
        judge_corpus(Path(given.corpus), given.language)
