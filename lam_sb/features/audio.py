"""Reading speech as the encoders want it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from scipy import fft
from speechbrain.dataio import audio_io

from lam_sb.corpora.audio import RATES
from lam_sb.errors import UserError

SAMPLE_RATE = 16000  # of all encoders
# Raised when waveforms of other rates come out otherwise.
# 1: what lies near the lower Nyquist frequency was damped, or folded back.
RESAMPLING_REVISION = 1
PASSED = 0.92  # of the lower Nyquist frequency, when resampling
SILENCE = 0.05  # seconds behind the end, in which a resampled end fades


class UnreadableAudioError(UserError):
    """A file cannot be read, or only its header can."""


def load_audio(
    path: str | Path, start: float = 0.0, end: float | None = None
) -> torch.Tensor:
    """Read one file, or a part of it, as a mono waveform at 16 kHz.

    Arguments
    ---------
    path : str | Path
        Any format that libsndfile reads, any rate, any number of channels.
    start, end : float
        Seconds; None is the file's end.

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
    part = {}
    if not Path(path).is_file():  # a pipe would be waited for
        raise UnreadableAudioError(f"{path} cannot be read: it is no file.")
    try:
        if start or end is not None:
            rate = audio_io.info(str(path)).sample_rate
            part["frame_offset"] = first = round(start * rate)
            part["num_frames"] = (
                -1 if end is None else round(end * rate) - first
            )
        wav, rate = audio_io.load(str(path), dtype=torch.float32, **part)
    except (RuntimeError, OSError) as error:
        raise UnreadableAudioError(f"{path} cannot be read: {error}") from error
    if not wav.numel():
        raise UnreadableAudioError(f"{path} holds no samples that can be read.")
    if not wav.isfinite().all():
        raise UnreadableAudioError(f"{path} holds samples that are no numbers.")
    wav = wav.mean(0)
    if rate not in RATES:
        raise UnreadableAudioError(f"{path} has {rate} samples a second.")
    if rate != SAMPLE_RATE:
        wav = _resample(wav, rate)
    return wav


def _resample(wav: torch.Tensor, rate: int) -> torch.Tensor:
    """Bring a waveform (N,) to 16 kHz, from any rate, by its spectrum.

    Frequencies up to `PASSED` of the lower Nyquist frequency stay as they are,
    those from that on are gone; in between the gain falls like a cosine. The
    spectrum is that of the whole waveform and silence behind it, so that any
    two rates will do and memory grows with the duration alone.
    """
    divisor = math.gcd(rate, SAMPLE_RATE)
    up, down = SAMPLE_RATE // divisor, rate // divisor
    padded = math.ceil((len(wav) + SILENCE * rate) / down)
    blocks = fft.next_fast_len(padded, real=True)
    spectrum = fft.rfft(wav.numpy(), blocks * down)
    nyquist = blocks * min(up, down) / 2  # the lower one
    first = math.ceil(nyquist * PASSED)
    falling = (np.arange(first, nyquist) / nyquist - PASSED) / (1 - PASSED)
    last = first + len(falling)
    gain = np.cos(falling * np.pi / 2) ** 2
    spectrum[first:last] *= gain.astype(np.float32)
    resampled = fft.irfft(spectrum[:last], blocks * up)
    kept = resampled[: math.ceil(len(wav) * up / down)]
    return torch.from_numpy(kept * np.float32(up / down))
