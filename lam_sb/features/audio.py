"""Reading speech as the encoders want it."""

from __future__ import annotations

from pathlib import Path

import torch
import torchaudio
from speechbrain.dataio import audio_io

from lam_sb.errors import UserError

SAMPLE_RATE = 16000  # of all encoders


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
        wav = torchaudio.functional.resample(wav, rate, SAMPLE_RATE)
    return wav
