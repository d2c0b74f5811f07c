from __future__ import annotations

import pytest
import torch
from encoder_kinds import (
    LENS,
    RATE,
    batch_error,
    layer_errors,
    plain_input,
    plain_layers,
    plain_model,
)
from torch import nn

from lam_sb.features.encoders import FrozenEncoder


def test_whisper_on_valid_frames_is_the_same_alone_and_in_a_batch(
    folders, wavs
):
    encoder = FrozenEncoder(str(folders["whisper"]), whisper_context="valid")
    assert batch_error(encoder, wavs) < 1e-5


def test_a_log_mel_floor_of_the_batch_would_make_whisper_depend_on_it(
    folders, wavs
):
    encoder = FrozenEncoder(str(folders["whisper"]))
    encoder(wavs, LENS)
    of_each = encoder.options["log_mel"]

    def of_batch(*args, **kwargs):
        data = of_each(*args, **kwargs)
        mel = data.input_features  # (log10 + 4) / 4: eight decades are 2
        data["input_features"] = mel.maximum(mel.max() - 2)
        return data

    encoder.options["log_mel"] = of_batch
    assert batch_error(encoder, wavs) > 1e-3


def test_whisper_on_valid_frames_is_whisper_with_a_shorter_window(
    folders, wavs
):
    folder, n = folders["whisper"], 12345
    encoder = FrozenEncoder(str(folder), whisper_context="valid")
    ours, frames = encoder(wavs[4:5, :n], torch.tensor([n]))
    assert frames.tolist() == [39]  # 12345 / 320 = 38.6
    model = plain_model(folder)
    model.config.max_source_positions = 39
    model.embed_positions = nn.Embedding.from_pretrained(
        model.embed_positions.weight[:39]
    )
    mel = plain_input(folder, wavs[4, :n])[..., : 2 * 39]
    assert layer_errors(ours[0], plain_layers(model, mel)[0]).max() < 1e-5


@pytest.mark.parametrize("context", ["full", "valid"])
def test_long_speech_goes_through_whisper_in_windows(context, folders):
    encoder = FrozenEncoder(str(folders["whisper"]), whisper_context=context)
    torch.manual_seed(2)
    window, n = 30 * RATE, 30 * RATE + 1000
    wavs = 0.1 * torch.randn(2, 2 * window + 321)
    layers, frames = encoder(wavs, torch.tensor([2 * window + 321, n]))
    # 1500 a window of 30 s; 321 samples need 2 more, 1000 need 4 more.
    assert frames.tolist() == [1500 + 1500 + 2, 1500 + 4]
    assert layers.shape == (2, 4, 3002, 32)
    parts = [wavs[1, :window], wavs[1, window:n]]
    alone = [encoder(p[None], torch.tensor([len(p)]))[0][0] for p in parts]
    expected = torch.cat(alone, dim=1)
    assert layer_errors(layers[1, :, :1504], expected).max() < 1e-5
    assert not layers[1, :, 1504:].any()
