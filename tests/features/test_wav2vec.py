from __future__ import annotations

import json
import shutil

import pytest
import torch
from conftest import make_encoder
from encoder_kinds import (
    LENS,
    RATE,
    STABLE,
    batch_error,
    layer_errors,
    plain_input,
    plain_layers,
    plain_model,
)
from torch import nn

from lam_sb.features.encoders import FrozenEncoder
from lam_sb.features.wav2vec import PositionConv1d, RowGroupNorm, attend


@pytest.mark.parametrize("kind", ["wavlm", "hubert", "wav2vec2"])
def test_a_plain_group_norm_would_make_features_depend_on_the_batch(
    kind, folders, wavs
):
    encoder = FrozenEncoder(str(folders[kind]))
    encoder(wavs, LENS)
    front = encoder.model.feature_extractor.conv_layers[0]
    ours = front.layer_norm
    assert isinstance(ours, RowGroupNorm)
    front.layer_norm = nn.GroupNorm(ours.num_groups, ours.num_channels)
    front.layer_norm.load_state_dict(ours.state_dict())
    assert batch_error(encoder, wavs) > 1e-2


def test_centres_follow_the_front_end_of_the_config(tmp_path):
    # A frame every 5 * 2 * 2 * 2 * 2 * 2 = 160 samples; it sees
    # 10 + 2 (5 + 10 + 20 + 40) + 80 + 2 * 160 = 560 of them.
    strides, kernels = (5, 2, 2, 2, 2, 2, 1), (10, 3, 3, 3, 3, 2, 3)
    folder = make_encoder(
        tmp_path, "hubert", conv_stride=strides, conv_kernel=kernels
    )
    centres = FrozenEncoder(str(folder)).frame_centres(3)
    assert centres == [280 / RATE, 440 / RATE, 600 / RATE]


def test_a_frame_is_centred_on_the_samples_that_it_sees(folders):
    encoder = FrozenEncoder(str(folders["wav2vec2_stable"]))
    encoder.load()
    wav = torch.randn(1, 8000, requires_grad=True)
    encoder.model.feature_extractor(wav)[0, :, 7].square().sum().backward()
    seen = wav.grad[0].nonzero()[:, 0]
    middle = (int(seen[0]) + int(seen[-1]) + 1) / 2
    assert encoder.frame_centres(8)[7] == middle / RATE


@pytest.mark.parametrize("file_exists", [True, False])
def test_waveforms_are_standardised_where_no_file_says_otherwise(
    file_exists, folders, wavs, tmp_path
):
    # Without the key, transformers' default; without the file, the custom of
    # encoders with a layer norm in front.
    copy = shutil.copytree(folders["wav2vec2_stable"], tmp_path / "copy")
    (copy / "preprocessor_config.json").write_text("{}")
    if not file_exists:
        (copy / "preprocessor_config.json").unlink()
    ours, frames = FrozenEncoder(str(copy))(wavs, LENS)
    expected, _ = FrozenEncoder(str(folders["wav2vec2_stable"]))(wavs, LENS)
    assert torch.equal(ours[5, :, : frames[5]], expected[5, :, : frames[5]])


@pytest.mark.parametrize(
    "kind", ["wav2vec2_stable", "hubert_stable", "wavlm_stable"]
)
def test_a_click_moves_the_frames_around_whose_centre_it_lies(kind, folders):
    encoder = FrozenEncoder(str(folders[kind]))
    encoder.load()
    front, clicks = encoder.model.feature_extractor, range(900, 2000)
    wavs = torch.zeros(len(clicks) + 1, 2400)
    for n, sample in enumerate(clicks):
        wavs[n, sample] = 1.0
    frames = torch.cat([front(part) for part in wavs.split(100)])
    moved = (frames - frames[-1:]).abs().amax(1)[:-1] > 1e-3  # clicks, frames
    # A frame of 400 samples every 320: 200 + 320 * 3 = 1160, 1480.
    for t, middle in ((3, 1160), (4, 1480)):
        seen = moved[:, t].nonzero()[:, 0] + clicks.start
        assert (int(seen[0]) + int(seen[-1]) + 1) / 2 == middle
        assert encoder.frame_centres(5)[t] == middle / RATE


@pytest.mark.parametrize("kind", ["wav2vec2", "wavlm_stable"])
@pytest.mark.parametrize("final_norm", [False, True])
def test_an_adapter_behind_the_blocks_changes_nothing(
    kind, final_norm, folders, wavs, tmp_path
):
    family, _, stable = kind.partition("_")
    config = STABLE if stable else {}
    folder = make_encoder(
        *(tmp_path / "adapted", family),
        **{"add_adapter": True, "num_adapter_layers": 2, **config},
    )
    encoder = FrozenEncoder(str(folder), final_norm=final_norm)
    layers, frames = encoder.encode_together(wavs, LENS)
    assert frames.tolist() == [(n - 400) // 320 + 1 for n in LENS.tolist()]
    plain = FrozenEncoder(str(folder), final_norm=final_norm)
    plain.load()
    weights = dict(encoder.model.named_parameters())
    assert not any(name.startswith("adapter") for name in weights)
    model = plain_model(folder)  # of transformers, which has the adapter
    assert model.adapter is not None
    t = int(frames[5])
    theirs, _ = plain_layers(model, plain_input(folder, wavs[5, : LENS[5]]))
    if final_norm and stable:
        theirs[-1] = model.encoder.layer_norm(theirs[-1])
    assert layer_errors(layers[5, :, :t], theirs).max() < 1e-5
    # A store that was made of an eighth of the frames is not taken for it.
    assert encoder.settings["adapter"] == "left out"
    assert "adapter" not in FrozenEncoder(str(folders[kind])).settings


def test_without_a_file_it_is_said_that_waveforms_are_guessed(
    folders, tmp_path, caplog
):
    copy = shutil.copytree(folders["hubert_stable"], tmp_path / "bare")
    (copy / "preprocessor_config.json").unlink()
    assert FrozenEncoder(str(copy)).digest
    (said,) = [r.message for r in caplog.records if "guess" in r.message]
    assert f"{copy} has neither preprocessor_config.json nor" in said
    assert "its waveforms are standardised, which is a guess" in said


@pytest.mark.parametrize("nested", [True, False])
def test_settings_may_stand_in_the_processors_config(
    nested, folders, wavs, tmp_path, caplog
):
    # transformers 5 nests them; the guess for this kind would be True.
    copy = shutil.copytree(folders["wavlm_stable"], tmp_path / "copy")
    before = FrozenEncoder(str(copy)).digest
    (copy / "preprocessor_config.json").unlink()
    settings = {"do_normalize": False, "sampling_rate": 16000}
    content = {"processor_class": "Wav2Vec2Processor"}
    content |= {"feature_extractor": settings} if nested else settings
    path = copy / "processor_config.json"
    path.write_text(json.dumps(content))
    encoder = FrozenEncoder(str(copy))
    digests = [before, encoder.digest]
    assert not encoder.standardises
    loud, quiet = (encoder(x * wavs[:1], LENS[:1])[0] for x in (1e4, 1))
    assert not torch.allclose(loud, quiet, rtol=0.1)
    assert "guess" not in caplog.text
    path.write_text(json.dumps(content).replace("false", "true"))
    other = FrozenEncoder(str(copy))
    assert other.standardises
    assert len({*digests, other.digest}) == 3


@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@torch.no_grad()
def test_fused_attention_is_wavlms_own(padded, precision):
    from transformers.models.wavlm.modeling_wavlm import WavLMAttention

    torch.manual_seed(5)
    own = WavLMAttention(768, 12).eval()  # of WavLM base
    hidden, inside = torch.randn(3, 70, 768), torch.ones(3, 70).long()
    if padded:
        inside[0, 40:] = inside[2, 1:] = 0
    bias = 3 * torch.randn(3 * 12, 70, 70)
    theirs, _ = own.torch_multi_head_self_attention(hidden, inside, bias)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        ours, _ = attend(own, hidden, inside if padded else None, bias)
    worst = layer_errors(*(x[inside.bool()][None] for x in (ours, theirs)))
    assert worst.max() < (1e-5 if precision == "fp32" else 2e-2)


@pytest.mark.parametrize("kind", ["wavlm", "wavlm_stable"])
def test_wavlm_asks_for_no_attention_weights(kind, folders, wavs, monkeypatch):
    from torch.nn import functional as F

    def refuse(*_, **__):
        raise AssertionError("one operation at a time")

    monkeypatch.setattr(F, "multi_head_attention_forward", refuse)
    encoder = FrozenEncoder(str(folders[kind]))
    encoder(wavs, LENS)
    position = encoder.model.encoder.pos_conv_embed.conv
    assert not hasattr(position, "parametrizations")


@torch.no_grad()
@pytest.mark.parametrize(("width", "frames"), [(128, 224), (19, 64), (8, 1)])
def test_positions_by_fourier_transform_are_those_of_the_convolution(
    width, frames
):
    conv = nn.Conv1d(12, 8, width, padding=width // 2, groups=4)
    x = torch.randn(3, 12, frames)
    ours = PositionConv1d.copy_of(conv)
    assert torch.equal(ours(x), conv(x))
    assert torch.allclose(ours.transformed(x), conv(x), atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("together", [False, True])  # as on a GPU
def test_group_norm_is_over_the_frames_of_each_row(together):
    torch.manual_seed(6)
    norm = RowGroupNorm(5, 5)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = 40 + torch.randn(2, 5, 30)
    norm.frames = torch.tensor([30, 11])
    plain = nn.GroupNorm(5, 5).double()
    plain.load_state_dict(norm.state_dict())
    ours = (norm._normalise_together if together else norm)(x.clone())
    for row, wav, count in zip(ours, x.double(), (30, 11), strict=True):
        expected = plain(wav[None, :, :count])[0].float()
        assert torch.allclose(row[:, :count], expected, atol=1e-5)
