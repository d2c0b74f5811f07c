"""Audio that turns out damaged, or too long, when it is encoded."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import soundfile
import torch
from stores import Spy, fresh, make_store, shard_files, write_clip

from lam_sb.errors import UserError
from lam_sb.features import encoding
from lam_sb.inputs import encode

pytestmark = pytest.mark.usefixtures("small_shards")


@pytest.fixture
def copies(clips, tmp_path) -> dict[str, dict]:
    """The clips, as files that may be changed."""
    folder = Path(clips["u00"]["wav"]).parent
    shutil.copytree(folder, tmp_path / "clips")
    return {
        i: row | {"wav": str(tmp_path / "clips" / f"{i}.wav"), "corpus": "c"}
        for i, row in clips.items()
    }


def damage(row: dict, kind: str = "ogg") -> None:
    """Leave a good header before nothing that can be decoded."""
    path = row["wav"]
    wav, rate = soundfile.read(path)
    if kind == "numbers":
        wav[:] = float("nan")
        soundfile.write(path, wav, rate, subtype="FLOAT")
        return
    soundfile.write(path, wav, rate, format=kind)
    with open(path, "rb+") as file:
        file.truncate(90)


def test_damaged_rows_are_left_out_and_given(
    encoder, copies, unbroken, clips, tmp_path
):
    store = make_store(tmp_path / "features", encoder)
    whole = shutil.copytree(tmp_path / "clips", tmp_path / "whole")
    for name, kind in (("u02", "flac"), ("u09", "ogg"), ("u05", "numbers")):
        damage(copies[name], kind)
    lost = store.extract(copies.items(), progress=False)
    assert sorted(i for i, _ in lost) == ["u02", "u05", "u09"]
    rest = {i: copies[i] for i in copies if i not in dict(lost)}
    ours = store.rows(rest).gather("chunks", range(9))[0]
    theirs = unbroken.rows({i: clips[i] for i in rest})
    assert torch.allclose(ours, theirs.gather("chunks", range(9))[0], atol=2e-3)
    with pytest.raises(UserError, match="3 of 12 rows are not in the store"):
        store.rows(copies)
    # Still damaged, they are tried and given again; nothing else is encoded.
    before = shard_files(store)
    again = fresh(store).extract(copies.items(), progress=False)
    assert sorted(i for i, _ in again) == ["u02", "u05", "u09"]
    assert shard_files(store) == before
    for path in whole.iterdir():
        shutil.copy(path, tmp_path / "clips")
    assert fresh(store).extract(copies.items(), progress=False) == []
    assert len(fresh(store).rows(copies)) == 12


def test_a_missing_file_is_left_out_too(encoder, copies, tmp_path):
    store = make_store(tmp_path / "features", encoder)
    copies["u04"]["wav"] = str(tmp_path / "gone.wav")
    (row,) = store.extract(copies.items(), progress=False)
    assert row == ("u04", copies["u04"])


class Decoded:
    """Stands for a store that could not decode some rows."""

    def __init__(self, *lost: int):
        self.lost = lost

    def extract(self, rows, *_, **__):
        return [rows[n] for n in self.lost]


def rows_of(corpus: str, count: int) -> dict[str, dict]:
    return {f"{corpus}{n}": {"corpus": corpus} for n in range(count)}


def test_up_to_a_twentieth_of_a_corpus_may_be_lost(caplog):
    rows = {"source_train": {"a": rows_of("a", 20)}}
    rows |= {"target_train": {"b": rows_of("b", 40)}}
    rows["target_test"] = rows["target_train"]
    kept, lost = encode(Decoded(3, 20, 21), rows, "cpu")
    assert lost == {"a": ["a3"], "b": ["b0", "b1"]}
    assert [len(p) for part in kept.values() for p in part.values()] == [
        *(19, 38, 38)
    ]
    assert "a3" not in kept["source_train"]["a"]
    assert "a: the audio of 1 of 20 utterances cannot be deco" in caplog.text
    assert (
        "of 2 of 40 utterances cannot be decoded (b0, b1): dro" in caplog.text
    )
    with pytest.raises(UserError, match=r"b: .* 3 of 40 .* more than 5%: mend"):
        encode(Decoded(20, 21, 22), rows, "cpu")
    kept, lost = encode(Decoded(), rows, "cpu")
    assert (kept, lost) == (rows, {})


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB"),
        RuntimeError(
            "[enforce fail] DefaultCPUAllocator: can't allocate memory"
        ),
        MemoryError("Unable to allocate 9 GiB"),
    ],
)
@pytest.mark.parametrize("where", ["reading", "encoding"])
def test_memory_that_ends_names_the_longest_utterance(
    where, error, encoder, copies, tmp_path, monkeypatch
):
    def fail(*_):
        raise error

    name, row = write_clip(tmp_path / "speech.wav", [0.1] * 32000)
    if where == "reading":
        monkeypatch.setattr(encoding, "load_audio", fail)
    else:
        Spy(monkeypatch, encoder).check = fail
    store = make_store(tmp_path / "features", encoder)
    message = r"encode speech \(2\.0 s, .* --extract_batch_.*--max_duration 1$"
    with pytest.raises(UserError, match=message):
        store.extract([(name, row)], progress=False)


def test_other_errors_are_no_matter_of_memory(encoder, copies, tmp_path, spy):
    def fail():
        raise RuntimeError("shapes differ")

    spy.check = fail
    store = make_store(tmp_path / "features", encoder)
    with pytest.raises(RuntimeError, match="shapes differ"):
        store.extract(copies.items(), progress=False)
