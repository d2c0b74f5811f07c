from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from encoder_kinds import (
    KINDS,
    LENS,
    batch_error,
    layer_errors,
    plain_input,
    plain_layers,
    plain_model,
)
from torch import nn

from lam_sb.errors import UserError
from lam_sb.features.encoders import FrozenEncoder


@pytest.mark.parametrize("kind", KINDS)
def test_an_utterance_is_the_same_alone_and_in_a_batch(kind, folders, wavs):
    assert batch_error(FrozenEncoder(str(folders[kind])), wavs) < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_on_a_cpu_no_bit_depends_on_the_batch(kind, folders, wavs):
    encoder = FrozenEncoder(str(folders[kind]))
    layers, frames = encoder(wavs, LENS)
    for size in (1, 2):
        n = int(LENS[:size].max())
        part, count = encoder(wavs[:size, :n], LENS[:size])
        assert count.tolist() == frames[:size].tolist()
        first = layers[:1, :, : int(count[0])]
        assert torch.equal(part[:1, :, : int(count[0])], first)


def test_a_row_may_be_padded_with_anything(folders, wavs):
    encoder = FrozenEncoder(str(folders["wavlm"]))
    other = wavs.clone()
    for wav, n in zip(other, LENS, strict=True):
        wav[n:] = torch.nan
    ours, theirs = (encoder.encode_together(x, LENS)[0] for x in (wavs, other))
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("final_norm", [False, True])
def test_layer_l_is_what_block_l_of_transformers_gives(
    kind, final_norm, folders, wavs
):
    folder = folders[kind]
    encoder = FrozenEncoder(str(folder), final_norm=final_norm)
    layers, frames = encoder.encode_together(wavs, LENS)
    assert layers.shape[:2] == (8, 4)
    model = plain_model(folder)
    for row, wav, n, t in zip(layers, wavs, LENS, frames, strict=True):
        theirs, last = plain_layers(model, plain_input(folder, wav[:n]))
        if final_norm:
            theirs[-1] = last
        assert layer_errors(row[:, :t], theirs[:, :t]).max() < 1e-5


@pytest.mark.parametrize("kind", ["wav2vec2_stable", "wavlm_stable", "whisper"])
def test_the_final_norm_changes_the_last_layer_only(kind, folders, wavs):
    without, frames = FrozenEncoder(str(folders[kind]))(wavs, LENS)
    with_norm, _ = FrozenEncoder(str(folders[kind]), final_norm=True)(
        wavs, LENS
    )
    row, other = without[3, :, : frames[3]], with_norm[3, :, : frames[3]]
    assert torch.equal(row[:-1], other[:-1])
    assert layer_errors(row, other)[-1] > 0.1


def test_frames_are_those_that_transformers_gives(folders, wavs):
    # Kernels 10 3 3 3 3 2 2, strides 5 2 2 2 2 2 2: 400 samples, then 320 each.
    expected = [(n - 400) // 320 + 1 for n in LENS.tolist()]
    for kind in ("wavlm", "hubert", "wav2vec2", "wav2vec2_stable"):
        _, frames = FrozenEncoder(str(folders[kind]))(wavs, LENS)
        assert frames.tolist() == expected
    _, frames = FrozenEncoder(str(folders["whisper"]))(wavs, LENS)
    assert frames.tolist() == [-(-n // 320) for n in LENS.tolist()]


def test_frames_of_the_usual_front_ends_have_these_centres(folders):
    for kind in ("wavlm", "hubert", "wav2vec2"):
        centres = FrozenEncoder(str(folders[kind])).frame_centres(4)
        assert centres == [0.0125, 0.0325, 0.0525, 0.0725]
    centres = FrozenEncoder(str(folders["whisper"])).frame_centres(4)
    assert centres == [0.0, 0.02, 0.04, 0.06]


def dropped_out(folder: Path, to: Path) -> Path:
    """Copy an encoder, with heavy dropout and LayerDrop in its config."""
    shutil.copytree(folder, to)
    config = json.loads((to / "config.json").read_text())
    for key in config:
        if "layerdrop" in key:
            config[key] = 0.9
        elif "dropout" in key or key == "mask_time_prob":
            config[key] = 0.5
    assert config != json.loads((folder / "config.json").read_text())
    (to / "config.json").write_text(json.dumps(config))
    return to


@pytest.mark.parametrize(
    "kind", ["wavlm", "hubert", "wav2vec2", "wav2vec2_stable", "whisper"]
)
def test_dropout_and_layerdrop_never_act(kind, folders, wavs, tmp_path):
    calm = FrozenEncoder(str(folders[kind]))
    wild = FrozenEncoder(str(dropped_out(folders[kind], tmp_path / kind)))
    expected, frames = calm(wavs, LENS)
    parent = nn.ModuleDict({"encoder": wild})
    for _ in range(2):  # before the weights are loaded, and after
        parent.train()
        layers, _ = wild(wavs, LENS)
        assert layers.shape == expected.shape
        for ours, theirs, t in zip(layers, expected, frames, strict=True):
            assert torch.equal(ours[:, :t], theirs[:, :t])
    assert not any(module.training for module in wild.modules())


def test_no_parameter_is_ever_trained(folders, wavs):
    encoder = FrozenEncoder(str(folders["wavlm"]))
    assert encoder.train(True) is encoder
    layers, _ = encoder.encode_together(wavs.clone().requires_grad_(), LENS)
    assert list(encoder.parameters())
    assert not any(p.requires_grad for p in encoder.parameters())
    assert not layers.requires_grad


def test_construction_reads_the_config_alone(folders, tmp_path):
    code = "import sys\nfrom lam_sb.features.encoders import FrozenEncoder\n"
    for kind in ("wavlm", "whisper"):
        (tmp_path / kind).mkdir()
        shutil.copy(folders[kind] / "config.json", tmp_path / kind)
        code += (
            f"e = FrozenEncoder({str(tmp_path / kind)!r})\n"
            "print(e.family, e.num_layers, e.dim)\n"
        )
    code += "print('transformers' in sys.modules)\n"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "wavlm 4 32\nwhisper 4 32\nFalse\n"


@pytest.mark.parametrize("kind", ["wavlm", "whisper"])
def test_half_precision_checkpoints_are_read_in_float32(
    kind, folders, wavs, tmp_path
):
    from transformers import AutoModel

    folder = tmp_path / f"half-{kind}"
    shutil.copytree(folders[kind], folder)
    AutoModel.from_pretrained(folders[kind]).half().save_pretrained(folder)
    stored = json.loads((folder / "config.json").read_text())
    assert stored.get("dtype", stored.get("torch_dtype")) == "float16"

    encoder = FrozenEncoder(str(folder))
    layers, frames = encoder.encode_together(wavs, LENS)
    assert layers.dtype == torch.float32
    assert {p.dtype for p in encoder.parameters()} == {torch.float32}
    theirs, _ = plain_layers(
        plain_model(folder), plain_input(folder, wavs[5, : LENS[5]])
    )
    assert (
        layer_errors(layers[5, :, : frames[5]], theirs[:, : frames[5]]).max()
        < 1e-5
    )


def test_half_precision_waveforms_are_encoded_in_float32(folders, wavs):
    encoder = FrozenEncoder(str(folders["wavlm"]))
    layers, _ = encoder.encode_together(wavs.half(), LENS)
    expected, _ = encoder.encode_together(wavs.half().float(), LENS)
    assert torch.equal(layers, expected)


@pytest.mark.parametrize("kind", ["wavlm", "whisper"])
@pytest.mark.parametrize("others", [[], [16000]])
def test_an_utterance_without_one_frame_is_refused(kind, others, folders, wavs):
    n = {"wavlm": 399, "whisper": 0}[kind]
    encoder = FrozenEncoder(str(folders[kind]))
    lens = torch.tensor([*others, n])
    with pytest.raises(UserError, match=f"{n} samples is too short.*duration"):
        encoder(wavs[: len(lens)], lens)


def test_an_unknown_whisper_context_is_refused(folders):
    with pytest.raises(UserError, match="'half'; use one of full, valid"):
        FrozenEncoder(str(folders["whisper"]), whisper_context="half")
