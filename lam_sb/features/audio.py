"""Reading speech as the encoders want it."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path

import numpy as np
import torch
from scipy.signal import resample_poly
from speechbrain.dataio import audio_io

from lam_sb.errors import UserError

SAMPLE_RATE = 16000  # of all encoders
ZERO_CROSSINGS = 6  # of the resampling filter, to each side
ROLLOFF = 0.99  # its cutoff, as a part of the lower Nyquist frequency


class UnreadableAudioError(UserError):
    """A file cannot be read, or only its header can."""


def load_audio(path: str | Path) -> torch.Tensor:
    """Read one file as a mono waveform at 16 kHz.

    Arguments
    ---------
    path : str | Path
        Any format that libsndfile reads, any rate, any number of channels.

    Returns
    -------
    torch.Tensor
        (N,) samples.

    Raises
    ------
    UnreadableAudioError
        The file cannot be read, or holds no samples, or some that are no
        numbers.
    """
    try:
        wav, rate = audio_io.load(str(path), dtype=torch.float32)
    except (RuntimeError, OSError) as error:
        raise UnreadableAudioError(f"{path} cannot be read: {error}") from error
    if not wav.numel():
        raise UnreadableAudioError(f"{path} holds no samples that can be read.")
    if not wav.isfinite().all():
        raise UnreadableAudioError(f"{path} holds samples that are no numbers.")
    wav = wav.mean(0)
    if rate != SAMPLE_RATE:
        wav = _resample(wav, rate)
    return wav


def _resample(wav: torch.Tensor, rate: int) -> torch.Tensor:
    """Bring a waveform (N,) to 16 kHz, from any rate.

    By the filter of ``torchaudio.functional.resample``, but one phase of it at
    a time: that function holds all phases at once, gigabytes where the rates
    have hardly a divisor in common (24414 Hz).
    """
    divisor = math.gcd(rate, SAMPLE_RATE)
    up, down = SAMPLE_RATE // divisor, rate // divisor
    resampled = resample_poly(wav.numpy(), up, down, window=_filter(up, down))
    return torch.from_numpy(resampled.astype(np.float32))


@cache
def _filter(up: int, down: int) -> np.ndarray:
    """Sinc with a Hann window, at the rate that both rates divide."""
    cutoff = ROLLOFF / max(up, down)
    half = math.ceil(ZERO_CROSSINGS / cutoff)
    time = np.arange(-half, half + 1) * cutoff
    inside = time.clip(-ZERO_CROSSINGS, ZERO_CROSSINGS)
    window = np.cos(inside * np.pi / 2 / ZERO_CROSSINGS)
    return np.sinc(time) * window**2 * cutoff
