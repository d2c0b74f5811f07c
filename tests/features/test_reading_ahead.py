"""Audio is read, and shards are written, while the encoder works."""

from __future__ import annotations

import threading

import pytest
import torch
from stores import Spy, extract, fresh, make_store, visible_files

from lam_sb import tensors
from lam_sb.features import encoding
from lam_sb.features.audio import UnreadableAudioError
from lam_sb.features.encoding import BATCHES_AHEAD, read_ahead
from lam_sb.features.store import FeatureStore

pytestmark = pytest.mark.usefixtures("small_shards")
PATIENCE = 20  # seconds; a test that fails takes as long


class Files:
    """Stands for the reading of files 0, 1, ..., which it notes."""

    def __init__(self, monkeypatch, broken=()):
        self.read, self.broken, self.threads = [], broken, set()
        self.more = threading.Condition()
        monkeypatch.setattr(encoding, "load_audio", self)

    def __call__(self, path):
        with self.more:
            self.read.append(path)
            self.threads.add(threading.get_ident())
            self.more.notify_all()
        if path in self.broken:
            raise UnreadableAudioError(f"{path} cannot be read")
        return torch.full((5,), float(path))

    def wait_for(self, count):
        with self.more:
            assert self.more.wait_for(lambda: len(self.read) >= count, PATIENCE)


def rows_of(numbers) -> list:
    return [(f"u{n}", {"wav": n, "duration": 1.0}) for n in numbers]


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_batches_come_in_order_without_what_cannot_be_read(
    workers, monkeypatch
):
    files = Files(monkeypatch, broken=(1, 5, 6))
    batches = [rows_of(b) for b in ([4, 1, 0], [5, 6], [2], [3, 7])]
    found = list(read_ahead(batches, workers))
    assert [[i for i, _ in b.rows] for b in found] == [
        ["u4", "u0"],
        [],
        ["u2"],
        ["u3", "u7"],
    ]
    assert [[int(w[0]) for w in b.wavs] for b in found] == [
        [4, 0],
        [],
        [2],
        [3, 7],
    ]
    lost = [[i for i, _ in b.unreadable] for b in found]
    assert lost == [["u1"], ["u5", "u6"], [], []]
    assert sorted(files.read) == list(range(8))
    assert (threading.get_ident() in files.threads) == (workers == 0)


def test_only_the_next_batches_are_read_ahead(monkeypatch):
    files = Files(monkeypatch)
    batches = read_ahead([rows_of([2 * n, 2 * n + 1]) for n in range(9)], 2)
    next(batches)
    files.wait_for(2 * (1 + BATCHES_AHEAD))
    batches.close()
    assert sorted(files.read) == list(range(2 * (1 + BATCHES_AHEAD)))


def test_without_workers_a_batch_is_read_when_it_is_asked_for(monkeypatch):
    files = Files(monkeypatch)
    batches = read_ahead([rows_of([n]) for n in range(3)], 0)
    next(batches)
    assert files.read == [0]


def test_an_error_of_a_reader_ends_the_reading(monkeypatch):
    files, before = Files(monkeypatch), threading.active_count()
    batches = read_ahead([rows_of([n]) for n in (0, "one", 2)], 2)
    next(batches)
    with pytest.raises(ValueError, match="could not convert"):
        next(batches)
    assert len(files.read) <= 3
    assert threading.active_count() == before


@pytest.mark.parametrize("workers", [0, 3])
def test_the_number_of_readers_changes_no_byte(
    workers, unbroken, clips, tmp_path
):
    store = FeatureStore(
        str(tmp_path), unbroken.encoder, batch_seconds=1.0, workers=workers
    )
    extract(store, clips)
    assert visible_files(store) == visible_files(unbroken)


def test_a_shard_is_written_while_the_next_is_encoded(
    unbroken, clips, tmp_path, monkeypatch
):
    store = make_store(tmp_path, unbroken.encoder)
    goes_on, writing = threading.Event(), threading.Event()
    spy, save = Spy(monkeypatch, store.encoder), tensors.save_file

    def save_late(*given):
        writing.set()
        assert goes_on.wait(PATIENCE)
        save(*given)

    def check():
        if spy.rows >= 4:  # the first shard is encoded
            assert writing.wait(PATIENCE)
            goes_on.set()

    spy.check = check
    monkeypatch.setattr(tensors, "save_file", save_late)
    extract(store, clips)
    assert visible_files(fresh(store)) == visible_files(unbroken)


@pytest.mark.parametrize("signal", [KeyboardInterrupt, SystemExit])
def test_a_signal_leaves_what_is_encoded_and_no_thread(
    signal, unbroken, clips, tmp_path, monkeypatch
):
    store = make_store(tmp_path, unbroken.encoder)
    spy = Spy(monkeypatch, store.encoder)

    def check():
        if spy.rows >= 4:  # the first shard is encoded, perhaps not written
            raise signal

    spy.check, before = check, threading.active_count()
    with pytest.raises(signal):
        extract(store, clips)
    assert threading.active_count() == before
    left, whole = visible_files(store), visible_files(unbroken)
    assert left.items() < whole.items()
    assert sum(name.endswith(".safetensors") for name in left) == 1
