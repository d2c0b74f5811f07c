from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import make_encoder
from safetensors.torch import load_file, save_file
from torch import nn

from lam_sb.errors import UserError
from lam_sb.features.encoders import FrozenEncoder, RowGroupNorm

RATE = 16000
LENS = torch.tensor([400, 1680, 5000, 8000, 12345, 16000, 20001, 24000])
STABLE = {
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
    "do_normalize": True,
}
KINDS = {
    "wavlm": ("wavlm", {}),
    "hubert": ("hubert", {}),
    "hubert_batch_norm": ("hubert", {"conv_pos_batch_norm": True}),
    "wav2vec2": ("wav2vec2", {}),
    "wav2vec2_normalized": ("wav2vec2", {"do_normalize": True}),
    "wav2vec2_stable": ("wav2vec2", STABLE),
    "hubert_stable": ("hubert", STABLE),
    "wavlm_stable": ("wavlm", STABLE),
    "whisper": ("whisper", {}),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("kinds")
    return {
        kind: make_encoder(root / f"tiny-{kind}", family, **config)
        for kind, (family, config) in KINDS.items()
    }


@pytest.fixture(scope="module")
def wavs():
    """Eight utterances, each louder than the last, with an offset and noise
    after their end."""
    torch.manual_seed(1)
    wavs = torch.randn(8, 24000) + torch.linspace(-0.5, 0.5, 8)[:, None]
    wavs *= torch.logspace(-4, -0.5, 8)[:, None]
    for wav, n in zip(wavs, LENS, strict=True):
        wav[n:] = 100.0
    return wavs


def layer_errors(ours, theirs) -> torch.Tensor:
    """Relative error of each layer of (L, T, D)."""
    assert ours.shape == theirs.shape
    difference = (ours - theirs).flatten(1).norm(dim=1)
    return difference / theirs.flatten(1).norm(dim=1)


def batch_error(encoder, wavs) -> float:
    """Largest relative error of a layer, in a batch against alone."""
    layers, frames = encoder(wavs, LENS)
    worst = 0.0
    for row, n, wav, t in zip(layers, LENS, wavs, frames, strict=True):
        alone, count = encoder(wav[None, :n], n[None])
        assert count.tolist() == [t]
        assert alone.shape[2] == t
        worst = max(worst, float(layer_errors(row[:, :t], alone[0]).max()))
    return worst


def plain_model(folder):
    """Transformers' own encoder, with the weights in float32."""
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    return model.encoder if "whisper" in str(folder) else model


def plain_input(folder, wav) -> torch.Tensor:
    from transformers import Wav2Vec2FeatureExtractor, WhisperFeatureExtractor

    if "whisper" in str(folder):
        extractor = WhisperFeatureExtractor(feature_size=80)
    else:
        text = (folder / "preprocessor_config.json").read_text()
        extractor = Wav2Vec2FeatureExtractor(**json.loads(text))
    data = extractor(wav.numpy(), sampling_rate=RATE, return_tensors="pt")
    return next(iter(data.values()))


@torch.no_grad()
def plain_layers(model, data) -> tuple[torch.Tensor, torch.Tensor]:
    """What leaves each block (L, T, D), and the last hidden state (T, D)."""
    blocks = getattr(model, "layers", None) or model.encoder.layers
    outputs = {}
    for n, block in enumerate(blocks):
        block.register_forward_hook(
            lambda _block, _inputs, out, n=n: outputs.__setitem__(
                n, out[0] if isinstance(out, tuple) else out
            )
        )
    last = model(data).last_hidden_state[0]
    return torch.cat([outputs[n] for n in range(len(blocks))]), last


@pytest.mark.parametrize("kind", KINDS)
def test_an_utterance_is_the_same_alone_and_in_a_batch(kind, folders, wavs):
    assert batch_error(FrozenEncoder(str(folders[kind])), wavs) < 1e-5


def test_whisper_on_valid_frames_is_the_same_alone_and_in_a_batch(
    folders, wavs
):
    encoder = FrozenEncoder(str(folders["whisper"]), whisper_context="valid")
    assert batch_error(encoder, wavs) < 1e-5


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


def test_a_log_mel_floor_of_the_batch_would_make_whisper_depend_on_it(
    folders, wavs
):
    encoder = FrozenEncoder(str(folders["whisper"]))
    encoder(wavs, LENS)
    of_each = encoder.preprocessor

    def of_batch(*args, **kwargs):
        data = of_each(*args, **kwargs)
        mel = data.input_features  # (log10 + 4) / 4: eight decades are 2
        data["input_features"] = mel.maximum(mel.max() - 2)
        return data

    encoder.preprocessor = of_batch
    assert batch_error(encoder, wavs) > 1e-3


def test_a_row_may_be_padded_with_anything(folders, wavs):
    encoder = FrozenEncoder(str(folders["wavlm"]))
    other = wavs.clone()
    for wav, n in zip(other, LENS, strict=True):
        wav[n:] = torch.nan
    assert torch.equal(encoder(wavs, LENS)[0], encoder(other, LENS)[0])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("final_norm", [False, True])
def test_layer_l_is_what_block_l_of_transformers_gives(
    kind, final_norm, folders, wavs
):
    folder = folders[kind]
    encoder = FrozenEncoder(str(folder), final_norm=final_norm)
    layers, frames = encoder(wavs, LENS)
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


# When a frame is heard


def test_frames_of_the_usual_front_ends_have_these_centres(folders):
    for kind in ("wavlm", "hubert", "wav2vec2"):
        centres = FrozenEncoder(str(folders[kind])).frame_centres(4)
        assert centres == [0.0125, 0.0325, 0.0525, 0.0725]
    centres = FrozenEncoder(str(folders["whisper"])).frame_centres(4)
    assert centres == [0.01, 0.03, 0.05, 0.07]


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
    layers, _ = encoder(wavs.clone().requires_grad_(), LENS)
    assert list(encoder.parameters())
    assert not any(p.requires_grad for p in encoder.parameters())
    assert not layers.requires_grad


@pytest.mark.parametrize("kind", ["wavlm", "whisper"])
def test_construction_reads_the_config_alone(kind, folders, tmp_path):
    shutil.copy(folders[kind] / "config.json", tmp_path)
    code = (
        "import sys; from lam_sb.features.encoders import FrozenEncoder; "
        f"e = FrozenEncoder({str(tmp_path)!r}); "
        "print(e.family, e.num_layers, e.dim, 'transformers' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [kind, "4", "32", "False"]


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
    layers, frames = encoder(wavs, LENS)
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
    layers, _ = encoder(wavs.half(), LENS)
    expected, _ = encoder(wavs.half().float(), LENS)
    assert torch.equal(layers, expected)


def test_an_encoder_of_another_type_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(UserError, match=r"'bert'.*wavlm, hubert, wav2vec2"):
        FrozenEncoder(str(tmp_path))


def test_a_folder_without_a_config_says_what_it_holds(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "model.pt").write_text("")
    with pytest.raises(
        UserError, match=r"holds no config.json; found: model.pt, notes.txt"
    ):
        FrozenEncoder(str(tmp_path))


@pytest.mark.parametrize("text", ["{", '{"model_type": "wavlm"}', "[]"])
def test_a_broken_config_is_named(text, tmp_path):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match=str(tmp_path)):
        FrozenEncoder(str(tmp_path))


@pytest.mark.parametrize(
    "source", ["nobody/no-encoder", "/nowhere/at/all", "no-such-folder/a/b"]
)
def test_an_encoder_out_of_reach_is_named_with_what_to_do(source):
    with pytest.raises(
        UserError,
        match=f"{source} cannot be read.*--encoder_source a local folder.*"
        f"hf download {source}",
    ):
        FrozenEncoder(source)


def test_missing_weights_are_named(folders, wavs, tmp_path):
    shutil.copy(folders["wavlm"] / "config.json", tmp_path)
    encoder = FrozenEncoder(str(tmp_path))
    with pytest.raises(UserError, match=f"weights of {tmp_path} cannot be"):
        encoder(wavs, LENS)


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


def change_weight(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    tensors = load_file(path)
    next(iter(tensors.values())).view(-1)[0] += 1
    save_file(tensors, path, metadata={"format": "pt"})


def change_json(name: str, key: str, value: object):
    def change(folder: Path) -> None:
        content = json.loads((folder / name).read_text()) | {key: value}
        (folder / name).write_text(json.dumps(content))

    return change


def test_the_digest_of_a_copied_folder_is_the_same(folders, tmp_path):
    copy = shutil.copytree(folders["wavlm"], tmp_path / "elsewhere")
    os.utime(copy / "model.safetensors", (0, 0))
    ours = FrozenEncoder(str(folders["wavlm"])).digest
    assert FrozenEncoder(str(copy)).digest == ours
    assert FrozenEncoder(str(folders["hubert"])).digest != ours


@pytest.mark.parametrize(
    "change",
    [
        change_weight,
        change_json("config.json", "layer_norm_eps", 0.1),
        change_json("preprocessor_config.json", "do_normalize", True),
    ],
)
def test_the_digest_changes_with_weights_and_configs(change, folders, tmp_path):
    copy = shutil.copytree(folders["wavlm"], tmp_path / "changed")
    before = FrozenEncoder(str(copy)).digest
    change(copy)
    assert FrozenEncoder(str(copy)).digest != before


def test_the_digest_covers_a_preprocessor_that_the_hub_still_holds(
    folders, tmp_path, monkeypatch
):
    def download(_source, filename):
        return shutil.copy(folders["wavlm"] / filename, tmp_path)

    def cached(_source, filename):
        path = tmp_path / filename
        return str(path) if path.exists() else None

    for name in ("config.json", "model.safetensors"):  # as AutoModel leaves
        shutil.copy(folders["wavlm"] / name, tmp_path)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", cached)
    ours = FrozenEncoder(str(folders["wavlm"])).digest
    assert FrozenEncoder("somebody/tiny-wavlm").digest == ours


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


def test_a_checkpoint_that_lacks_weights_is_refused(tmp_path):
    folder = make_encoder(tmp_path / "lacking")
    weights = load_file(folder / "model.safetensors")
    gone = [k for k in weights if k.startswith("encoder.layers.2.")]
    kept = {k: v for k, v in weights.items() if k not in gone}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=f"lacks {len(gone)} weights"):
        FrozenEncoder(str(folder)).load()


def test_weights_used_in_training_only_may_be_missing(tmp_path):
    folder = make_encoder(tmp_path / "whole")
    weights = load_file(folder / "model.safetensors")
    weights.pop("masked_spec_embed", None)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    FrozenEncoder(str(folder)).load()
