from __future__ import annotations

import math
from resource import RUSAGE_SELF, getrusage

import numpy as np
import pytest
import soundfile
import torch
from stores import RATE

from lam_sb.features.audio import UnreadableAudioError, load_audio


def test_stereo_at_another_rate_becomes_mono_at_16_khz(tmp_path):
    time = np.arange(44100) / 44100
    left = 0.4 * np.sin(2 * np.pi * 1000 * time)
    right = 0.2 * np.sin(2 * np.pi * 1000 * time)
    path = tmp_path / "stereo.flac"
    soundfile.write(path, np.stack([left, right], 1), 44100)
    wav = load_audio(path)
    assert wav.shape == (16000,)
    assert wav.dtype == torch.float32
    # One second: bin k of the spectrum is k Hz.
    assert np.abs(np.fft.rfft(wav.numpy())).argmax() == 1000
    expected = 0.3 * np.sin(2 * np.pi * 1000 * np.arange(16000) / RATE)
    assert np.abs(wav.numpy() - expected)[100:-100].max() < 1e-3


@pytest.mark.parametrize("count", [44100, 30001, 441])
def test_resampled_audio_keeps_its_duration(count, tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(count), 44100)
    expected = math.ceil(count * 16000 / 44100)
    assert len(load_audio(tmp_path / "a.wav")) == expected


def decibels(difference, of) -> float:
    inside = slice(400, -400)  # beside what begins and ends at once
    return 20 * np.log10(np.std(difference[inside]) / np.std(of[inside]))


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 24414, 44100, 96000])
def test_what_both_rates_hold_comes_out_as_it_was(rate, tmp_path):
    tones = np.array([61.0, 740.0, 3300.0, 0.9 * min(rate, RATE) / 2])
    wav, expected = (
        np.sin(2 * np.pi * tones[:, None] * np.arange(n) / r).mean(0)
        for n, r in ((rate, rate), (RATE, RATE))
    )
    soundfile.write(tmp_path / "a.wav", wav, rate, subtype="FLOAT")
    found = load_audio(tmp_path / "a.wav").numpy()
    assert decibels(found - expected, expected) < -110


@pytest.mark.parametrize("rate", [22050, 32000, 47999])
def test_what_only_the_higher_rate_holds_is_gone(rate, tmp_path):
    wav = np.sin(2 * np.pi * 8100 * np.arange(rate) / rate)
    soundfile.write(tmp_path / "a.wav", wav, rate, subtype="FLOAT")
    assert decibels(load_audio(tmp_path / "a.wav").numpy(), wav) < -110


def test_the_end_of_a_resampled_file_is_not_heard_at_its_beginning(tmp_path):
    wav = np.zeros(44100)
    wav[-200:] = 0.5
    soundfile.write(tmp_path / "a.wav", wav, 44100, subtype="FLOAT")
    assert np.abs(load_audio(tmp_path / "a.wav").numpy()[:8000]).max() < 5e-5


@pytest.mark.parametrize("rate", [24414, 47999, 12347])
def test_rates_without_a_common_divisor_take_no_more_memory(rate, tmp_path):
    time = np.arange(rate) / rate
    wav = 0.4 * np.sin(2 * np.pi * 1000 * time) + 0.2
    soundfile.write(tmp_path / "a.wav", wav, rate, subtype="FLOAT")
    before = getrusage(RUSAGE_SELF).ru_maxrss
    found = load_audio(tmp_path / "a.wav").numpy()
    # Kilobytes; all phases of a filter together take a gigabyte.
    assert getrusage(RUSAGE_SELF).ru_maxrss - before < 200_000
    assert found.shape == (16000,)
    expected = 0.4 * np.sin(2 * np.pi * 1000 * np.arange(16000) / RATE) + 0.2
    assert np.abs(found - expected)[100:-100].max() < 2e-3


def test_audio_at_16_khz_is_read_as_it_is(tmp_path):
    wav = np.random.default_rng(0).uniform(-1, 1, 1000).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", wav, RATE, subtype="FLOAT")
    assert np.array_equal(load_audio(tmp_path / "a.wav").numpy(), wav)


def test_audio_that_vanished_is_named(tmp_path):
    with pytest.raises(UnreadableAudioError, match=r"gone\.wav cannot be read"):
        load_audio(tmp_path / "gone.wav")
