from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_encoder
from filelock import FileLock
from safetensors.torch import load_file
from stores import (
    PHONES,
    changed,
    extract,
    fresh,
    make_store,
    shard_files,
    visible_files,
    write_clip,
)

from lam_sb.corpora.phones import VOWELS
from lam_sb.errors import UserError
from lam_sb.features import store as store_module
from lam_sb.features.encoders import FrozenEncoder
from lam_sb.features.store import FeatureStore

pytestmark = pytest.mark.usefixtures("small_shards")


def test_rows_that_are_not_in_the_store_are_counted(unbroken, clips):
    others = {i: clips[i] | {"audio_sha": "0" * 16} for i in ("u03", "u07")}
    with pytest.raises(
        UserError, match=r"2 of 12 rows.*u03 the first.*extract"
    ):
        unbroken.rows(clips | others)


def test_the_rows_of_a_store_that_is_not_there_are_missing(
    encoder, clips, tmp_path
):
    with pytest.raises(UserError, match="12 of 12 rows are not in the store"):
        make_store(tmp_path, encoder).rows(clips)


def test_equal_ids_of_two_corpora_do_not_collide(encoder, tmp_path):
    rng = np.random.default_rng(0)
    ours, theirs = (
        dict([write_clip(tmp_path / c / "a.wav", rng.normal(0, 0.1, n))])
        for c, n in (("ours", 4000), ("theirs", 8000))
    )
    store = make_store(tmp_path, encoder)
    store.extract([*ours.items(), *theirs.items()], progress=False)
    # (4000 - 400) // 320 + 1 and (8000 - 400) // 320 + 1.
    assert store.rows(ours).gather("utterance", [0])[1].tolist() == [12]
    assert store.rows(theirs).gather("utterance", [0])[1].tolist() == [24]


def test_store_json_says_what_the_features_are(unbroken, encoder):
    said = json.loads((unbroken.path / "store.json").read_text())
    assert said["encoder"] == {
        "source": encoder.source,
        "family": "wavlm",
        "num_layers": 4,
        "dim": 32,
    }
    settings = said["settings"]
    assert settings["digest"] == encoder.digest
    assert settings["time_chunks"] == 8
    assert settings["storage_dtype"] == "float16"
    assert settings["extract_precision"] == "fp32"


def test_another_phone_set_is_encoded_again(encoder, clips, tmp_path, spy):
    phones = [["t", 0.0, 0.05], ["o", 0.05, 0.1]]
    part = {i: clips[i] for i in ("u00", "u01")}
    english, mandarin = (
        changed(part, phones=phones, phone_set=phone_set)
        for phone_set in ("mfa_english", "mfa_mandarin")
    )
    store = make_store(tmp_path, encoder)
    extract(store, english)
    with pytest.raises(UserError, match="2 of 2 rows are not in the store"):
        store.rows(mandarin)
    extract(store, mandarin)
    assert spy.rows == 4
    for rows, count in ((english, 0), (mandarin, 1)):
        frames = store.rows(rows).gather("vowel_classes", [0, 1])[1]
        assert (frames[:, VOWELS.index("ə")] > 0).tolist() == [count] * 2


@pytest.mark.parametrize("case", ["relabelled", "moved", "subset", "again"])
def test_labels_paths_and_filters_cost_nothing(
    case, unbroken, clips, tmp_path, spy
):
    rows = clips
    if case == "relabelled":
        rows = {
            i: {k: v for k, v in row.items() if k not in ("emo", "speaker")}
            for i, row in clips.items()
        }
    elif case == "moved":
        rows = changed(clips, wav=str(tmp_path / "elsewhere.wav"))
    elif case == "subset":
        rows = {i: clips[i] for i in ("u11", "u02", "u05")}
    before = visible_files(unbroken)
    store = fresh(unbroken)
    extract(store, rows)
    assert store.path == unbroken.path
    assert spy.rows == 0
    assert visible_files(store) == before
    ours, _ = store.rows(rows).gather("chunks", range(len(rows)))
    whole, _ = unbroken.rows(clips).gather("chunks", range(12))
    assert torch.equal(ours, whole[[list(clips).index(i) for i in rows]])


@pytest.mark.parametrize("columns", [{"audio_sha": "0123456789abcdef"}, PHONES])
def test_other_audio_or_phones_are_encoded_and_appended(
    columns, unbroken, clips, tmp_path, spy
):
    folder = shutil.copytree(unbroken.path.parent, tmp_path / "features")
    store = make_store(folder, unbroken.encoder)
    before = shard_files(store)
    rows = clips | {i: clips[i] | columns for i in ("u03", "u07")}
    extract(store, rows)
    assert spy.rows == 2
    after = shard_files(store)
    assert before.items() < after.items()
    (added,) = after.keys() - before.keys()
    tensors = load_file(store.path / added)
    assert tensors["utterance"].shape == (2, 4, 32)
    # The rows as they were are still there.
    assert len(store.rows(clips)) == len(store.rows(rows)) == 12


@pytest.mark.parametrize(
    "settings",
    [
        {"extract_precision": "bf16"},
        {"storage_dtype": "float32"},
        {"time_chunks": 1},
    ],
)
def test_other_settings_have_a_folder_of_their_own(settings, unbroken, encoder):
    store = make_store(unbroken.path.parent, encoder, **settings)
    assert store.path != unbroken.path
    assert store.path.parent == unbroken.path.parent
    assert store.path.name.startswith("tiny-wavlm-")


def test_batch_size_and_place_of_the_encoder_are_in_no_folder_name(
    unbroken, wavlm, tmp_path
):
    copy = shutil.copytree(wavlm, tmp_path / wavlm.name)
    store = FeatureStore(
        str(unbroken.path.parent), FrozenEncoder(str(copy)), batch_seconds=7
    )
    assert store.path == unbroken.path


def test_other_weights_norms_and_versions_have_a_folder_of_their_own(
    unbroken, encoder, wavlm, tmp_path, monkeypatch
):
    folder = unbroken.path.parent
    copy = shutil.copytree(wavlm, tmp_path / wavlm.name)
    config = json.loads((copy / "config.json").read_text())
    config["layer_norm_eps"] = 0.1
    (copy / "config.json").write_text(json.dumps(config))
    others = [
        make_store(folder, FrozenEncoder(str(copy))).path,
        make_store(folder, FrozenEncoder(str(wavlm), final_norm=True)).path,
    ]
    monkeypatch.setattr(store_module, "version", lambda _package: "0.0")
    others.append(make_store(folder, encoder).path)
    assert len({unbroken.path, *others}) == 4


def test_whisper_context_has_a_folder_of_its_own(tmp_path):
    folder = str(make_encoder(tmp_path / "tiny-whisper", "whisper", layers=1))
    stores = [
        make_store(tmp_path, FrozenEncoder(folder, whisper_context=context))
        for context in ("full", "valid")
    ]
    assert stores[0].path != stores[1].path


@pytest.mark.parametrize("key", ["extract_precision", "storage_dtype"])
def test_an_unknown_setting_is_refused(key, encoder, tmp_path):
    with pytest.raises(UserError, match=f"{key} is 'int8'; use one of"):
        make_store(tmp_path, encoder, **{key: "int8"})


def copied(unbroken, folder: Path) -> FrozenEncoder:
    """Copy the store; give its encoder, out of reach."""
    shutil.copytree(unbroken.path, folder / unbroken.path.name)
    source = f"/nowhere/{unbroken.encoder.name}"
    return FrozenEncoder(source, feature_folder=str(folder))


def test_a_copied_store_needs_no_encoder(unbroken, clips, tmp_path):
    encoder = copied(unbroken, tmp_path)
    assert (encoder.family, encoder.num_layers, encoder.dim) == ("wavlm", 4, 32)
    store = make_store(tmp_path, encoder)
    before = visible_files(store)
    extract(store, clips)
    assert visible_files(store) == before == visible_files(unbroken)
    ours, _ = store.rows(clips).gather("chunks", range(12))
    theirs, _ = unbroken.rows(clips).gather("chunks", range(12))
    assert torch.equal(ours, theirs)


def test_a_complete_store_is_only_read(unbroken, clips, monkeypatch):
    def refuse(lock):
        raise OSError(30, "Read-only file system", lock.lock_file)

    monkeypatch.setattr(FileLock, "acquire", refuse)
    store = fresh(unbroken)
    extract(store, clips)
    assert len(store.rows(clips)) == 12


def test_a_copied_store_cannot_be_added_to(unbroken, clips, tmp_path):
    store = make_store(tmp_path, copied(unbroken, tmp_path))
    rows = clips | {"new": clips["u00"]}
    with pytest.raises(UserError, match="/nowhere/tiny-wavlm cannot be read"):
        extract(store, rows)
    extract(store, clips)  # what it has is still at hand


def test_a_copied_store_may_come_from_other_transformers(
    unbroken, clips, tmp_path, monkeypatch
):
    monkeypatch.setattr(store_module, "version", lambda _package: "0.0")
    store = make_store(tmp_path, copied(unbroken, tmp_path))
    assert len(store.rows(clips)) == 12


def test_two_fitting_copies_or_none_are_told_apart_by_nobody(
    unbroken, tmp_path
):
    encoder = copied(unbroken, tmp_path)
    with pytest.raises(UserError, match=r"0 stores under .* fit"):
        make_store(tmp_path, encoder, time_chunks=3)
    twin = f"{encoder.name}-{'0' * 16}"
    shutil.copytree(unbroken.path, tmp_path / twin)
    with pytest.raises(UserError, match=r"2 stores under .* fit"):
        make_store(tmp_path, encoder)


def test_a_store_of_an_encoder_with_a_longer_name_is_not_taken(
    unbroken, tmp_path
):
    # wavlm-base and wavlm-base-plus
    hash16 = unbroken.path.name.rpartition("-")[2]
    shutil.copytree(unbroken.path, tmp_path / f"tiny-wavlm-plus-{hash16}")
    with pytest.raises(UserError, match="/nowhere/tiny-wavlm cannot be read"):
        FrozenEncoder("/nowhere/tiny-wavlm", feature_folder=str(tmp_path))
    encoder = copied(unbroken, tmp_path)
    assert make_store(tmp_path, encoder).path.name == unbroken.path.name


def test_where_and_how_much_is_said_before_encoding(
    encoder, clips, tmp_path, spy, caplog
):
    said = []
    spy.check = lambda: said.append(caplog.text)
    caplog.set_level("INFO")
    store = make_store(tmp_path, encoder)
    extract(store, clips)
    assert "Encoding 12 utterances" in said[0]
    assert str(store.path) in said[0]
