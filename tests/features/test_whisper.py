from __future__ import annotations

import shutil

import pytest
import torch
from conftest import make_encoder
from encoder_kinds import (
    LENS,
    RATE,
    batch_error,
    layer_errors,
    plain_input,
    plain_layers,
    plain_model,
)
from stores import PHONES, changed, extract, fresh, make_store
from torch import nn
from torch.nn import functional as F

from lam_sb.errors import UserError
from lam_sb.features.encoders import FrozenEncoder
from lam_sb.features.whisper import make_log_mel


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
    layers, frames = encoder.encode_together(
        wavs, torch.tensor([2 * window + 321, n])
    )
    # 1500 a window of 30 s; 321 samples need 2 more, 1000 need 4 more.
    assert frames.tolist() == [1500 + 1500 + 2, 1500 + 4]
    assert layers.shape == (2, 4, 3002, 32)
    parts = [wavs[1, :window], wavs[1, window:n]]
    alone = [encoder(p[None], torch.tensor([len(p)]))[0][0] for p in parts]
    expected = torch.cat(alone, dim=1)
    assert layer_errors(layers[1, :, :1504], expected).max() < 1e-5
    assert not layers[1, :, 1504:].any()


def test_a_click_moves_the_frames_around_whose_centre_it_lies(folders):
    encoder = FrozenEncoder(str(folders["whisper"]))
    encoder.load()
    log_mel = make_log_mel(80, window=RATE)
    clicks = range(2400, 4800, 8)
    wavs = torch.zeros(len(clicks), RATE)
    for wav, sample in zip(wavs, clicks, strict=True):
        wav[sample] = 0.5
    mel = log_mel(
        [*wavs.numpy()], sampling_rate=RATE, return_tensors="pt"
    ).input_features
    model = encoder.model
    hidden = F.gelu(model.conv2(F.gelu(model.conv1(mel))))
    moved = (hidden - hidden[..., 30:31]).abs().amax(1) > 1e-4  # silence there
    for t in (10, 12):
        seen = moved[:, t].nonzero()[:, 0] * 8 + 2400
        middle = (int(seen[0]) + int(seen[-1])) / 2
        assert middle == pytest.approx(320 * t, abs=8)
        assert encoder.frame_centres(13)[t] == 320 * t / RATE


@pytest.mark.parametrize("context", ["full", "valid"])
def test_a_shorter_window_is_that_of_the_checkpoint(context, tmp_path):
    # 75 frames of 0.02 s: 1.5 s.
    folder = make_encoder(
        tmp_path / "short-whisper", "whisper", max_source_positions=75
    )
    encoder = FrozenEncoder(str(folder), whisper_context=context)
    assert encoder.settings["whisper_window"] == 1.5
    assert encoder.seconds_encoded(2.0) == 3.0
    torch.manual_seed(3)
    wav = 0.1 * torch.randn(1, 2 * RATE)
    layers, frames = encoder(wav, torch.tensor([2 * RATE]))
    assert frames.tolist() == [100]
    first, _ = encoder(wav[:, :24000], torch.tensor([24000]))
    assert layer_errors(layers[0, :, :75], first[0]).max() < 1e-5
    model, log_mel = plain_model(folder), make_log_mel(80, 24000)
    mel = log_mel(
        wav[0, :24000].numpy(), sampling_rate=RATE, return_tensors="pt"
    ).input_features
    assert mel.shape[-1] == 150
    assert layer_errors(first[0], plain_layers(model, mel)[0]).max() < 1e-5


def test_phones_of_other_centres_are_encoded_again(folders, clips, tmp_path):
    encoder = FrozenEncoder(str(folders["whisper"]), whisper_context="valid")
    few = {i: clips[i] for i in ("u01", "u02")}
    store, with_phones = make_store(tmp_path, encoder), changed(few, **PHONES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FrozenEncoder, "phone_revision", 0)  # as before
        extract(store, few)
        extract(store, with_phones)
    assert len(fresh(store).rows(few)) == 2
    with pytest.raises(UserError, match="2 of 2 rows are not in the store"):
        fresh(store).rows(with_phones)


def test_a_whisper_of_another_hop_is_refused(folders, tmp_path):
    copy = shutil.copytree(folders["whisper"], tmp_path / "whisper-hop")
    text = '{"feature_extractor": {"hop_length": 200, "sampling_rate": 16000}}'
    (copy / "preprocessor_config.json").write_text(text)
    message = "whisper-hop wants hop_length: 200, but only hop_length: 160 is"
    with pytest.raises(UserError, match=message):
        FrozenEncoder(str(copy)).load()
