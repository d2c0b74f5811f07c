from __future__ import annotations

import multiprocessing
import os
import resource
import shutil
import signal
from pathlib import Path

import pytest
from safetensors import SafetensorError
from safetensors.torch import load_file
from stores import (
    SHARD_ROWS,
    SHARDS,
    extract,
    fresh,
    in_a_process,
    make_store,
    planned_shards,
    shard_files,
    spoken,
    visible_files,
)

from lam_sb import tensors
from lam_sb.errors import UserError
from lam_sb.features import plan
from lam_sb.features.store import FeatureStore

pytestmark = pytest.mark.usefixtures("small_shards")


def test_a_broken_run_keeps_its_shards_and_the_next_encodes_the_rest(
    unbroken, clips, tmp_path, monkeypatch, spy
):
    store = make_store(tmp_path, unbroken.encoder)

    def check():
        if spy.rows >= SHARD_ROWS * (SHARDS - 1):
            raise RuntimeError("killed in the last shard")

    spy.check = check
    with pytest.raises(RuntimeError, match="killed"):
        extract(store, clips)
    whole = shard_files(unbroken)
    kept = shard_files(store)
    assert len(whole) == SHARDS
    assert len(kept) == SHARDS - 1
    assert kept.items() < whole.items()

    spy.check, spy.rows = lambda: None, 0
    # The plan is followed even where the next run would plan otherwise.
    monkeypatch.setattr(plan, "ROWS_PER_SHARD", 2)
    extract(FeatureStore(str(tmp_path), store.encoder, batch_seconds=9), clips)
    (rest,) = whole.keys() - kept.keys()
    assert spy.rows == len(load_file(unbroken.path / rest)["utterance"])
    assert visible_files(store) == visible_files(unbroken)


def test_a_run_killed_while_it_writes_does_no_harm(
    unbroken, clips, tmp_path, monkeypatch
):
    store = make_store(tmp_path, unbroken.encoder)

    def die(_tensors, path, _metadata):
        Path(path).write_bytes(b"half a shard")
        os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patch:
        patch.setattr(tensors, "save_file", die)
        process = in_a_process(extract, store, clips)
        process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert not shard_files(store)
    (stale,) = [n for n in visible_files(store) if n.endswith(".tmp")]

    extract(fresh(store), clips)
    (store.path / stale).unlink()
    assert visible_files(store) == visible_files(unbroken)


@pytest.mark.parametrize("size", ["empty", "half", "all but one byte"])
def test_a_truncated_shard_is_named_and_encoded_again(
    size, unbroken, clips, tmp_path, spy, caplog
):
    folder = shutil.copytree(unbroken.path.parent, tmp_path / "features")
    store = make_store(folder, unbroken.encoder)
    path = store.path / planned_shards(store)[1]
    content = path.read_bytes()
    ends = {"empty": 0, "half": len(content) // 2, "all but one byte": -1}
    path.write_bytes(content[: ends[size]])

    extract(store, clips)
    assert any(
        str(path) in r.getMessage() and "encoded anew" in r.getMessage()
        for r in caplog.records
    )
    assert spy.rows == len(load_file(path)["utterance"])
    assert visible_files(store) == visible_files(unbroken)


def test_rows_of_a_truncated_shard_are_missing_until_extracted(
    unbroken, clips, tmp_path, caplog
):
    folder = shutil.copytree(unbroken.path.parent, tmp_path / "features")
    store = make_store(folder, unbroken.encoder)
    path = store.path / planned_shards(store)[0]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match="rows are not in the store"):
        store.rows(clips)
    assert str(path) in caplog.text
    extract(store, clips)
    assert len(store.rows(clips)) == 12


def test_part_of_a_broken_run_is_encoded_alone(
    unbroken, clips, tmp_path, monkeypatch, spy
):
    """A planned shard of which only some rows are wanted is not waited for."""
    store = make_store(tmp_path, unbroken.encoder)

    def check():
        raise RuntimeError("killed at once")

    spy.check = check
    with pytest.raises(RuntimeError, match="killed"):
        extract(store, clips)
    spy.check = lambda: None
    part = {i: clips[i] for i in ("u00", "u05")}
    extract(fresh(store), part)
    assert spy.rows == 2
    assert len(fresh(store).rows(part)) == 2
    extract(fresh(store), clips)
    assert len(fresh(store).rows(clips)) == 12


def test_a_disk_that_is_too_small_is_refused_before_encoding(
    encoder, clips, tmp_path, monkeypatch, spy
):
    # 12 rows x 9 means x 4 layers x 32 values x 2 bytes, and 3 rows x 17
    needed = (12 * 9 + 3 * 17) * 4 * 32 * 2
    clips = clips | spoken(dict(list(clips.items())[:3]))
    usage = type(shutil.disk_usage(tmp_path))
    store = make_store(tmp_path, encoder)
    for free in (needed - 1, needed):
        disk = usage(10**9, 10**9 - free, free)
        monkeypatch.setattr(shutil, "disk_usage", lambda _path, disk=disk: disk)
        if free < needed:
            with pytest.raises(UserError, match="GB free; set feature_folder"):
                extract(store, clips)
            assert spy.rows == 0
    extract(store, clips)
    assert spy.rows == 15


def test_a_folder_that_cannot_be_made_is_named(encoder, clips, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=f"{tmp_path}/file/.* cannot be made"):
        extract(make_store(tmp_path / "file" / "features", encoder), clips)


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        SafetensorError("I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_disk_that_fills_up_is_an_error_without_litter(
    error, unbroken, clips, tmp_path, monkeypatch
):
    store = make_store(tmp_path, unbroken.encoder)
    save = tensors.save_file

    def fill(values, path, metadata):
        if len(shard_files(store)) < SHARDS - 1:
            return save(values, path, metadata)
        Path(path).write_bytes(b"half a shard")
        raise error

    monkeypatch.setattr(tensors, "save_file", fill)
    with pytest.raises(
        UserError, match=r"cannot be written \(.*No space.*what is done is kept"
    ):
        extract(store, clips)
    whole = visible_files(unbroken)
    kept = visible_files(store)
    assert kept.items() < whole.items()
    assert len(kept) == len(whole) - 1


@pytest.mark.parametrize(
    ("limit", "name"), [(100, "store.json"), (4000, ".safetensors")]
)
def test_a_file_that_the_system_refuses_is_an_error_without_litter(
    limit, name, unbroken, clips, tmp_path
):
    store = make_store(tmp_path, unbroken.encoder)
    ours, theirs = multiprocessing.get_context("fork").Pipe()

    def write_with_a_limit():
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        try:
            extract(store, clips)
        except UserError as error:
            theirs.send(str(error))

    in_a_process(write_with_a_limit).join(60)
    assert ours.poll()
    said = ours.recv()
    assert f"{name} cannot be written (" in said
    assert "File too large" in said
    left = {*visible_files(store)}
    assert left == ({"store.json", "plan.json"} if limit > 100 else set())
