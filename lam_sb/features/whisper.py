"""Whisper's encoder on utterances of any length."""

from __future__ import annotations

from collections.abc import Callable

import torch
from speechbrain.dataio.dataio import length_to_mask
from torch import nn
from torch.nn import functional as F

from lam_sb.features.audio import SAMPLE_RATE

HOP = 320  # samples a frame: a hop of 160, then a stride of 2
# What the log-mel spectrogram of all Whispers is made with.
FRONT_END = {"sampling_rate": SAMPLE_RATE, "hop_length": 160, "n_fft": 400}


def make_log_mel(mel_bins: int, window: int) -> Callable:
    """Give transformers' log-mel spectrogram of windows of so many samples."""
    from transformers import WhisperFeatureExtractor

    log_mel = WhisperFeatureExtractor(feature_size=mel_bins)
    log_mel.n_samples = window
    return log_mel


def encode(
    model: nn.Module,
    log_mel: Callable,
    window: int,
    wavs: torch.Tensor,
    lens: torch.Tensor,
    context: str = "full",
    final_norm: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Encode in windows of so many samples, joined again row by row.

    As `FrozenEncoder.forward`, with `make_log_mel` for the log-mel
    spectrogram: its floor is that of each window.
    """
    frames = (lens + HOP - 1) // HOP
    if frames.min() < 1:
        return wavs, frames
    windows = [
        wav[start : min(start + window, n)]
        for wav, n in zip(wavs, lens.tolist(), strict=True)
        for start in range(0, n, window)
    ]
    valid = [-(-len(w) // HOP) for w in windows]
    mel = log_mel(
        [w.cpu().numpy() for w in windows],
        sampling_rate=SAMPLE_RATE,
        return_tensors="pt",
        device=str(wavs.device),
    ).input_features.to(wavs.device)
    layers = _encode_windows(
        model, mel, valid if context == "valid" else None, final_norm
    )
    kept = [x[:, :t] for x, t in zip(layers, valid, strict=True)]
    rows = []
    for n in lens.tolist():
        count = -(-n // window)
        rows.append(torch.cat(kept[:count], dim=1))
        kept = kept[count:]
    longest = int(frames.max())
    padded = [F.pad(r, (0, 0, 0, longest - r.shape[1])) for r in rows]
    return torch.stack(padded), frames


def _encode_windows(
    model: nn.Module,
    mel: torch.Tensor,
    valid: list[int] | None,
    final_norm: bool,
) -> torch.Tensor:
    """Blocks' outputs (W, L, T, D) on W windows, cut to their valid frames."""
    mask = None
    if valid is None:
        hidden = F.gelu(model.conv1(mel))
    else:
        mel = mel[..., : 2 * max(valid)]
        frames = torch.tensor(valid, device=mel.device)
        inside = length_to_mask(2 * frames, mel.shape[-1], torch.bool)[:, None]
        hidden = F.gelu(model.conv1(mel * inside)) * inside
        mask = torch.zeros(len(valid), 1, 1, max(valid), device=mel.device)
        mask = mask.masked_fill(
            ~inside[:, None, :, ::2], torch.finfo(torch.float32).min
        )
    hidden = F.gelu(model.conv2(hidden)).transpose(1, 2)
    hidden = hidden + model.embed_positions.weight[: hidden.shape[1]]
    outputs = []
    for block in model.layers:
        hidden = block(hidden, mask)
        outputs.append(hidden)
    if final_norm:
        outputs[-1] = model.layer_norm(hidden)
    return torch.stack(outputs, dim=1).float()
