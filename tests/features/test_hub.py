from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import torch
from conftest import make_encoder
from encoder_kinds import (
    LENS,
)
from safetensors.torch import load_file, save_file

from lam_sb.errors import UserError
from lam_sb.features.encoders import FrozenEncoder
from lam_sb.features.store import FeatureStore


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
    monkeypatch.setattr("huggingface_hub.utils.get_session", MagicMock)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", cached)
    ours = FrozenEncoder(str(folders["wavlm"])).digest
    assert FrozenEncoder("somebody/tiny-wavlm").digest == ours


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


def test_an_encoder_of_another_sampling_rate_is_refused(
    folders, clips, tmp_path
):
    copy = shutil.copytree(folders["hubert"], tmp_path / "hubert-44k")
    change_json("preprocessor_config.json", "sampling_rate", 44100)(copy)
    message = "hubert-44k wants sampling_rate: 44100, but only sampling_rate: 1"
    with pytest.raises(UserError, match=message):
        FeatureStore(str(tmp_path), FrozenEncoder(str(copy)))
    with pytest.raises(UserError, match=message):
        FrozenEncoder(str(copy)).load()


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.safetensors", POINTER, r"LFS pointer .* git -C \S+ lfs pull"),
        ("pytorch_model.bin", POINTER, r"LFS pointer .* git -C \S+ lfs pull"),
        ("config.json", POINTER, r"LFS pointer .* git -C \S+ lfs pull"),
        ("model.safetensors", None, r"half downloaded .* files again into"),
        ("model.safetensors", "", r"half downloaded .* files again into"),
        ("pytorch_model.bin", None, r"cannot be loaded .* files again into"),
    ],
)
def test_weights_that_are_not_whole_are_one_sentence(
    name, content, message, folders, tmp_path
):
    copy = shutil.copytree(folders["wav2vec2"], tmp_path / "part")
    if name.endswith(".bin"):
        tensors = load_file(copy / "model.safetensors")
        torch.save(tensors, copy / name)
        (copy / "model.safetensors").unlink()
    whole = (copy / name).read_bytes()
    half = whole[: len(whole) // 2] if content is None else content.encode()
    (copy / name).write_bytes(half)
    with pytest.raises(UserError, match=message) as error:
        FrozenEncoder(str(copy)).load()
    assert "\n" not in str(error.value)
    assert name in str(error.value) or name.endswith(".bin")


def test_a_checkpoint_that_lacks_a_shard_is_refused(folders, tmp_path):
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folders["wavlm"])
    model.save_pretrained(tmp_path / "parts", max_shard_size="60KB")
    parts = sorted((tmp_path / "parts").glob("*.safetensors"))
    assert len(parts) > 1
    parts[-1].unlink()
    with pytest.raises(UserError, match=r"cannot be loaded .* files again"):
        FrozenEncoder(str(tmp_path / "parts")).load()
