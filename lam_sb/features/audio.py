"""Reading speech as the encoders want it."""

from __future__ import annotations

from pathlib import Path

import torch
import torchaudio
from speechbrain.dataio import audio_io

from lam_sb.errors import UserError

SAMPLE_RATE = 16000  # of all encoders


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
    UserError
        The file cannot be read.
    """
    try:
        wav, rate = audio_io.load(str(path), dtype=torch.float32)
    except (RuntimeError, OSError) as error:
        raise UserError(
            f"Audio that was readable is not now: {error}"
        ) from error
    wav = wav.mean(0)
    if rate != SAMPLE_RATE:
        wav = torchaudio.functional.resample(wav, rate, SAMPLE_RATE)
    return wav
