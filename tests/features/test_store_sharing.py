from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import make_corpus
from stores import (
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
from lam_sb.features.encoders import FrozenEncoder
from lam_sb.features.store import FeatureStore

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.usefixtures("small_shards")


def test_ranks_write_what_one_process_writes(unbroken, clips, tmp_path, spy):
    store = make_store(tmp_path, unbroken.encoder)
    extract(store, clips, rank=1, world=2)
    assert list(shard_files(store)) == [planned_shards(store)[1]]
    extract(fresh(store), clips, rank=0, world=2)
    assert spy.rows == 12
    assert visible_files(store) == visible_files(unbroken)


def test_ranks_share_rows_with_phones(encoder, clips, tmp_path):
    rows = clips | spoken(clips)
    one, two = (make_store(tmp_path / n, encoder) for n in ("one", "two"))
    extract(one, rows)
    for rank in (1, 0):
        extract(fresh(two), rows, rank=rank, world=2)
    assert visible_files(two) == visible_files(one)


@pytest.mark.parametrize("machines", [1, 2])
def test_two_writers_at_once_end_with_the_same_complete_store(
    machines, unbroken, clips, tmp_path, monkeypatch
):
    store = make_store(tmp_path, unbroken.encoder)
    barrier = multiprocessing.get_context("fork").Barrier(2)
    save = tensors.save_file

    def save_together(*given):
        barrier.wait(20)  # both found no shard and encoded it
        save(*given)
        barrier.wait(20)  # both rename what they wrote

    def write():
        if machines == 2:  # which may give both the same number
            os.getpid = lambda: 7
        extract(store, clips)

    monkeypatch.setattr(tensors, "save_file", save_together)
    writers = [in_a_process(write) for _ in range(2)]
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert visible_files(store) == visible_files(unbroken)
    assert len(fresh(store).rows(clips)) == 12


def test_two_writers_of_other_rows_each_find_theirs(
    unbroken, clips, tmp_path, monkeypatch
):
    store = make_store(tmp_path, unbroken.encoder)
    ids = list(clips)
    parts = [{i: clips[i] for i in ids[:8]}, {i: clips[i] for i in ids[4:]}]
    barrier = multiprocessing.get_context("fork").Barrier(2)
    announce = FeatureStore._announce

    def announce_together(self, rows):
        announce(self, rows)
        barrier.wait(20)  # both have planned, none has encoded

    monkeypatch.setattr(FeatureStore, "_announce", announce_together)
    writers = [in_a_process(extract, store, part) for part in parts]
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0]
    for rows in (*parts, clips):
        ours, _ = fresh(store).rows(rows).gather("chunks", range(len(rows)))
        theirs, _ = unbroken.rows(rows).gather("chunks", range(len(rows)))
        assert torch.allclose(ours, theirs, atol=2e-3)


def run_extract(command, corpora, wavlm, folder) -> FeatureStore:
    arguments = {
        "data_folder": corpora,
        "source": "left",
        "target": "right",
        "encoder_source": wavlm,
        "output_root": folder / "results",
        "feature_folder": folder / "features",
        "extract_batch_seconds": 5,
        "device": "cpu",
    }
    done = subprocess.run(
        [*command, "-m", "lam_sb", "extract", "hparams/small/lam_gl.yaml"]
        + [f"--{key}={value}" for key, value in arguments.items()],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    store = FeatureStore(str(folder / "features"), FrozenEncoder(str(wavlm)))
    assert str(store.path) in done.stdout
    return store


def test_torchrun_writes_the_bytes_of_one_process(wavlm, tmp_path):
    for seed, name in enumerate(("left", "right")):
        corpus = tmp_path / "corpora" / name
        make_corpus(corpus, speakers=11, takes=2, seed=seed)
    torchrun = str(Path(sys.executable).with_name("torchrun"))
    stores = [
        run_extract(command, tmp_path / "corpora", wavlm, tmp_path / name)
        for name, command in (
            ("one", [sys.executable]),
            ("two", [torchrun, "--standalone", "--nproc_per_node=2"]),
        )
    ]
    one, two = map(visible_files, stores)
    assert sum(name.endswith(".safetensors") for name in one) > 8
    assert one.keys() == two.keys()
    assert one == two
