from __future__ import annotations

import shutil

import pytest
import torch
from conftest import make_encoder
from encoder_kinds import (
    LENS,
    RATE,
    batch_error,
)
from torch import nn

from lam_sb.features.encoders import FrozenEncoder
from lam_sb.features.wav2vec import RowGroupNorm


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
