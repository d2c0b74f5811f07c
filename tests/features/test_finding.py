"""Stores of encoders that lie at the hub, which is asked last."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from conftest import make_encoder
from stores import extract, make_store, shard_files, write_clip

from lam_sb.errors import UserError
from lam_sb.features import hub
from lam_sb.features.encoders import FrozenEncoder
from lam_sb.features.hub import OutOfReachError

pytestmark = pytest.mark.usefixtures("small_shards")
SOURCE = "somebody/tiny-wavlm"


class Hub:
    """Stands for the hub, which holds one folder, and for its cache."""

    def __init__(self, monkeypatch, cache: Path):
        self.folder, self.cache, self.asked = None, cache, 0
        cache.mkdir()
        monkeypatch.setattr(
            "huggingface_hub.hf_hub_download", lambda _id, name: self.get(name)
        )
        monkeypatch.setattr("huggingface_hub.utils.get_session", lambda: self)
        monkeypatch.setattr(
            "huggingface_hub.try_to_load_from_cache",
            lambda _id, name: self.cached(name),
        )
        load_model = hub.load_model
        monkeypatch.setattr(
            hub, "load_model", lambda _id: load_model(str(self.fetch_all()))
        )

    def head(self, _url, timeout):
        self.asked += 1
        if self.folder is None:
            raise ConnectionError(f"no answer in {timeout} s")

    def cached(self, name):
        path = self.cache / name
        return str(path) if path.exists() else None

    def get(self, name):
        assert self.folder is not None, "tried again and again"
        return shutil.copy(self.folder / name, self.cache)

    def fetch_all(self):
        return shutil.copytree(self.folder, self.cache, dirs_exist_ok=True)


@pytest.fixture
def online(monkeypatch, tmp_path) -> Hub:
    return Hub(monkeypatch, tmp_path / "cache")


@pytest.fixture
def copied(unbroken, tmp_path) -> Path:
    """Folder with a copy of the store of all clips."""
    folder = tmp_path / "features"
    shutil.copytree(unbroken.path, folder / unbroken.path.name)
    return folder


def test_an_encoder_that_a_store_describes_is_not_looked_for(
    online, copied, clips, unbroken
):
    encoder = FrozenEncoder(SOURCE, feature_folder=str(copied))
    store = make_store(copied, encoder)
    extract(store, clips)
    assert online.asked == 0
    assert (encoder.family, encoder.num_layers, encoder.dim) == ("wavlm", 4, 32)
    assert store.path.name == unbroken.path.name


def test_a_config_alone_in_the_cache_is_not_completed(
    online, copied, wavlm, unbroken
):
    shutil.copy(wavlm / "config.json", online.cache)
    encoder = FrozenEncoder(SOURCE, feature_folder=str(copied))
    assert make_store(copied, encoder).path.name == unbroken.path.name
    # Nor is a checkpoint whose preprocessor config was never asked for.
    shutil.copy(wavlm / "model.safetensors", online.cache)
    encoder = FrozenEncoder(SOURCE, feature_folder=str(copied))
    assert make_store(copied, encoder).path.name == unbroken.path.name
    assert online.asked == 0


def test_a_hub_that_does_not_answer_is_asked_once(online, tmp_path):
    with pytest.raises(OutOfReachError, match=r"ConnectionError: no answer"):
        FrozenEncoder(SOURCE, feature_folder=str(tmp_path))
    assert online.asked == 1


def test_without_a_store_that_fits_the_hub_is_asked(online, copied, wavlm):
    online.folder = wavlm
    encoder = FrozenEncoder(SOURCE, feature_folder=str(copied))
    store = make_store(copied, encoder, time_chunks=3)
    assert online.asked > 0
    assert store.settings["digest"] == FrozenEncoder(str(wavlm)).digest


def test_rows_that_a_copy_lacks_are_encoded_by_the_encoder_of_the_hub(
    online, copied, clips, wavlm, tmp_path
):
    rows = clips | dict([write_clip(tmp_path / "new.wav", [0.1, -0.1] * 2000)])
    store = make_store(
        copied, FrozenEncoder(SOURCE, feature_folder=str(copied))
    )
    with pytest.raises(UserError, match=f"{SOURCE} cannot be read"):
        extract(store, rows)
    online.folder = wavlm
    before = shard_files(store)
    extract(store, rows)
    assert before.items() < shard_files(store).items()
    assert len(store.rows(rows)) == 13


def test_other_weights_of_the_same_name_add_nothing_to_a_copy(
    online, copied, clips, tmp_path
):
    online.folder = make_encoder(tmp_path / "other", layer_norm_eps=0.1)
    rows = clips | dict([write_clip(tmp_path / "new.wav", [0.1, -0.1] * 2000)])
    store = make_store(
        copied, FrozenEncoder(SOURCE, feature_folder=str(copied))
    )
    before = shard_files(store)
    with pytest.raises(UserError, match=r"other weights .* the same command"):
        extract(store, rows)
    assert shard_files(store) == before
    again = FrozenEncoder(SOURCE, feature_folder=str(copied))
    assert make_store(copied, again).path != store.path
