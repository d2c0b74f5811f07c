from __future__ import annotations

import math

import numpy as np
import pytest
import soundfile
import torch
from conftest import make_encoder
from stores import (
    RATE,
    SPOKEN,
    TIMES,
    Spy,
    changed,
    extract,
    make_store,
    spoken,
    write_clip,
)

from lam_sb.corpora.phones import VOWELS
from lam_sb.errors import UserError
from lam_sb.features.encoders import FrozenEncoder
from lam_sb.features.store import FeatureStore

pytestmark = pytest.mark.usefixtures("small_shards")


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("float16", 1e-3), ("float32", 1e-5)]
)
def test_the_store_holds_the_means_of_what_the_encoder_gives(
    dtype, tolerance, encoder, clips, tmp_path
):
    store = make_store(tmp_path, encoder, storage_dtype=dtype, time_chunks=5)
    extract(store, clips)
    kept = store.rows(clips)
    assert len(kept) == 12
    means, frames = kept.gather("utterance", range(12))
    chunks, counts = kept.gather("chunks", range(12))
    assert means.shape == (12, 4, 32)
    assert chunks.shape == (12, 5, 4, 32)
    assert means.dtype == chunks.dtype == torch.float32
    for n, row in enumerate(clips.values()):
        wav = torch.from_numpy(soundfile.read(row["wav"], dtype="float32")[0])
        layers = encoder(wav[None], torch.tensor([len(wav)]))[0][0]
        t = layers.shape[1]
        edges = np.arange(6) * t // 5
        assert frames[n] == t == (len(wav) - 400) // 320 + 1
        assert counts[n].tolist() == np.diff(edges).tolist()
        expected = layers.numpy().mean(1)
        assert np.abs(means[n].numpy() - expected).max() < tolerance * 4
        for k in np.flatnonzero(np.diff(edges)):
            expected = layers[:, edges[k] : edges[k + 1]].numpy().mean(1)
            assert np.abs(chunks[n, k].numpy() - expected).max() < tolerance * 4


def test_chunks_of_an_utterance_with_too_few_frames_are_masked(unbroken, clips):
    # 1600 samples give (1600 - 400) // 320 + 1 = 4 frames for 8 chunks:
    # 0, 4/8, .. 32/8, rounded down: 0 0 1 1 2 2 3 3 4.
    (shortest,) = [i for i, row in clips.items() if row["duration"] == 0.1]
    kept = unbroken.rows({shortest: clips[shortest]})
    values, frames = kept.gather("chunks", [0])
    assert frames.tolist() == [[0, 1, 0, 1, 0, 1, 0, 1]]
    assert values.isfinite().all()


def test_whisper_and_reduced_precision_are_stored_too(encoder, clips, tmp_path):
    whisper = FrozenEncoder(
        str(make_encoder(tmp_path / "tiny-whisper", "whisper", layers=2)),
        whisper_context="valid",
    )
    store = make_store(tmp_path, whisper)
    extract(store, clips)
    means, frames = store.rows(clips).gather("utterance", range(12))
    assert means.shape == (12, 2, 32)
    expected = [soundfile.info(r["wav"]).frames for r in clips.values()]
    assert frames.tolist() == [math.ceil(n / 320) for n in expected]

    exact, rough = (
        make_store(tmp_path, encoder),
        make_store(tmp_path, encoder, extract_precision="bf16"),
    )
    for each in (exact, rough):
        extract(each, clips)
    ours, theirs = (
        each.rows(clips).gather("utterance", range(12))[0]
        for each in (exact, rough)
    )
    # bf16 has 8 bits of mantissa.
    assert 1e-4 < (ours - theirs).norm() / ours.norm() < 5e-2


def phone_means(layers: np.ndarray, centres: np.ndarray, names: str):
    """Mean over (L, T, D) of the frames in phones of some classes."""
    inside = np.zeros(len(centres), dtype=bool)
    for name, start, end in TIMES:
        if name in names:
            inside |= (centres >= start) & (centres < end)
    count = int(inside.sum())
    shape = (layers.shape[0], layers.shape[2])
    mean = layers[:, inside].mean(1) if count else np.zeros(shape)
    return mean, count


def check_phones(kept, index, layers, centres) -> None:
    """Compare what a store holds of a row with means of its frames."""
    for segment, names in (("vowels", "aVi"), ("consonants", "C")):
        values, frames = kept.gather(segment, [index])
        mean, count = phone_means(layers, centres, names)
        assert frames.tolist() == [count]
        assert np.abs(values[0].numpy() - mean).max() < 1e-5
    values, frames = kept.gather("vowel_classes", [index])
    assert values.shape == (1, 6, *mean.shape)
    for n, vowel in enumerate(VOWELS):
        mean, count = phone_means(layers, centres, vowel)
        assert frames[0, n] == count
        assert np.abs(values[0, n].numpy() - mean).max() < 1e-5


@pytest.mark.parametrize("phone_set", list(SPOKEN))
def test_the_store_holds_the_means_over_phones(
    phone_set, encoder, clips, tmp_path
):
    store = make_store(tmp_path, encoder, storage_dtype="float32")
    rows = spoken(clips, phone_set)
    extract(store, rows)
    kept = store.rows(rows)
    for n, row in enumerate(rows.values()):
        wav = torch.from_numpy(soundfile.read(row["wav"], dtype="float32")[0])
        layers = encoder(wav[None], torch.tensor([len(wav)]))[0][0].numpy()
        # From 400 samples, every 320 of them.
        centres = (200 + 320 * np.arange(layers.shape[1])) / RATE
        check_phones(kept, n, layers, centres)
    counts = kept.gather("vowel_classes", range(12))[1]
    assert (counts[:, VOWELS.index("a")] >= 2).all()
    assert not counts[:, VOWELS.index("u")].any()


def test_phones_after_the_first_window_of_whisper_are_found(tmp_path):
    folder = make_encoder(tmp_path / "tiny-whisper", "whisper", layers=2)
    whisper = FrozenEncoder(str(folder), whisper_context="valid")
    wav = 0.1 * np.random.default_rng(0).standard_normal(31 * RATE)
    clip = dict([write_clip(tmp_path / "long.wav", wav)])
    phones = [["AA1", 0.05, 0.07], ["UW1", 29.97, 30.01], ["S", 30.5, 31.0]]
    rows = changed(clip, phones=phones, phone_set="arpa")
    store = make_store(tmp_path, whisper, storage_dtype="float32")
    extract(store, rows)
    kept = store.rows(rows)
    wav = torch.from_numpy(soundfile.read(clip["long"]["wav"])[0]).float()
    layers = whisper(wav[None], torch.tensor([len(wav)]))[0][0]
    # Centres 29.98 s and 30.00 s: the last frame of a window, the next's first.
    values, frames = kept.gather("vowel_classes", [0])
    assert frames.tolist() == [[1, 0, 0, 0, 0, 2]]
    assert torch.allclose(values[0, 0], layers[:, 3], atol=1e-5)
    expected = layers[:, 1499:1501].mean(1)
    assert torch.allclose(values[0, 5], expected, atol=1e-5)
    values, frames = kept.gather("consonants", [0])
    assert frames.tolist() == [25]
    expected = layers[:, 1525:1550].mean(1)
    assert torch.allclose(values[0], expected, atol=1e-5)


class Outlier(Spy):
    """One utterance, that of the largest frame count, has a value too big."""

    def __init__(self, monkeypatch, encoder, value):
        super().__init__(monkeypatch, encoder)
        self.value = value

    def __call__(self, wavs, lens):
        layers, frames = super().__call__(wavs, lens)
        for row, n in zip(layers, lens, strict=True):
            if n == 8000:
                row[2, :, 5] = self.value
        return layers, frames


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (1e6, "float16"),  # its maximum is 65504
        (math.nan, "float16"),
        (math.nan, "float32"),
        (math.inf, "float32"),
    ],
)
def test_values_that_cannot_be_stored_are_refused_by_utterance(
    value, dtype, encoder, clips, tmp_path, monkeypatch
):
    (longest,) = [i for i, row in clips.items() if row["duration"] == 0.5]
    Outlier(monkeypatch, encoder, value)
    # In one batch with others.
    store = FeatureStore(
        str(tmp_path), encoder, batch_seconds=9.0, storage_dtype=dtype
    )
    with pytest.raises(UserError, match=f"{longest}: its features do not fit"):
        extract(store, clips)


def test_large_values_fit_into_float32(encoder, clips, tmp_path, monkeypatch):
    Outlier(monkeypatch, encoder, 1e6)
    store = make_store(tmp_path, encoder, storage_dtype="float32")
    extract(store, clips)
    values, _ = store.rows(clips).gather("utterance", range(12))
    assert values.max() == 1e6


def test_silence_is_encoded(encoder, tmp_path):
    rows = dict([write_clip(tmp_path / "quiet.wav", np.zeros(4000))])
    store = make_store(tmp_path, encoder)
    extract(store, rows)
    assert store.rows(rows).gather("utterance", [0])[0].isfinite().all()


def test_an_utterance_that_is_too_short_is_named(encoder, clips, tmp_path):
    short = dict([write_clip(tmp_path / "blip.wav", np.zeros(300))])
    with pytest.raises(UserError, match=r"blip.*too short.*min_duration"):
        extract(make_store(tmp_path, encoder), clips | short)
