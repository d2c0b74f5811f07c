"""What was read or written before is neither read nor written again."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import soundfile
import toy_podcasts
from conftest import write_wav
from toy_corpora import by_speaker, prepare, write_corpus_of, write_damaged
from toy_podcasts import write_podcast, write_textgrid

import lam_sb.corpora.prepare
from lam_sb.corpora.audio import check_audio
from lam_sb.corpora.manifests import SPLITS


@pytest.fixture
def save(tmp_path) -> Path:
    return tmp_path / "manifests/toy"


@pytest.fixture
def ten_speakers(tmp_path) -> Path:
    return write_corpus_of(tmp_path / "ten", by_speaker(10))


@pytest.fixture
def damaged(tmp_path) -> Path:
    return write_damaged(tmp_path / "damaged")


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    """Names of the audio files that were opened, in order."""
    opened = []

    def recording(path: Path) -> dict:
        opened.append(path.name)
        return check_audio(path)

    monkeypatch.setattr(lam_sb.corpora.prepare, "check_audio", recording)
    return opened


def test_a_second_preparation_reads_no_audio(
    damaged, ten_speakers, save, monkeypatch, tmp_path
):
    def refuse(path: str):
        raise AssertionError(f"{path} was read again")

    first = prepare(damaged, save)
    prepare(ten_speakers, tmp_path / "m")
    monkeypatch.setattr(soundfile, "SoundFile", refuse)
    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert prepare(damaged, save) == first
    prepare(ten_speakers, tmp_path / "m", max_duration=1.0)  # same audio
    with pytest.raises(AssertionError, match="was read again"):
        prepare(damaged, tmp_path / "new")


def test_a_file_of_another_size_is_read_again(ten_speakers, save, reads):
    before = prepare(ten_speakers, save)
    path = ten_speakers / "007.wav"
    time = path.stat().st_mtime_ns
    write_wav(path, 7, count=4800)
    os.utime(path, ns=(time, time))
    reads.clear()
    after = prepare(ten_speakers, save)
    assert reads == ["007.wav"]
    rows = [
        next(m[s]["007"] for s in SPLITS if "007" in m[s])
        for m in (before, after)
    ]
    assert [row["duration"] for row in rows] == [0.2, 0.3]
    assert rows[0]["audio_sha"] != rows[1]["audio_sha"]


def test_a_file_of_another_time_is_read_again(ten_speakers, save, reads):
    before = prepare(ten_speakers, save)
    path = ten_speakers / "007.wav"
    time = path.stat().st_mtime_ns + 10**9
    os.utime(path, ns=(time, time))
    reads.clear()
    assert prepare(ten_speakers, save) == before
    assert reads == ["007.wav"]


def test_other_audio_of_the_same_size_and_time_is_read(
    ten_speakers, save, reads
):
    before = prepare(ten_speakers, save)
    path = ten_speakers / "007.wav"
    time = path.stat().st_mtime_ns
    write_wav(path, 70)
    os.utime(path, ns=(time, time))  # as archives and images do
    reads.clear()
    after = prepare(ten_speakers, save)
    assert reads == ["007.wav"]
    shas = [
        {i: r["audio_sha"] for s in SPLITS for i, r in m[s].items()}
        for m in (before, after)
    ]
    assert {i for i in shas[0] if shas[0][i] != shas[1][i]} == {"007"}


def test_another_folder_is_read_whatever_its_times(
    ten_speakers, save, tmp_path, monkeypatch
):
    same = {"st_size": 1, "st_mtime_ns": 1, "st_ctime_ns": 1}
    monkeypatch.setattr("lam_sb.corpora.file_cache._stamp", lambda _: same)
    prepare(ten_speakers, save)
    noisy = shutil.copytree(ten_speakers, tmp_path / "noisy")
    for path in noisy.glob("*.wav"):
        write_wav(path, 1000 + int(path.stem))
    assert prepare(noisy, save) == prepare(noisy, tmp_path / "new")


def test_a_drive_that_failed_once_is_asked_again(
    ten_speakers, save, monkeypatch
):
    def failing(path: Path) -> dict:
        if path.name == "007.wav":
            return {"problem": "unreadable audio"}
        return check_audio(path)

    with monkeypatch.context() as patch:
        patch.setattr(lam_sb.corpora.prepare, "check_audio", failing)
        report = prepare(ten_speakers, save)["prep_report"]
        assert report["skipped"] == {"007": "unreadable audio"}
    again = prepare(ten_speakers, save, max_duration=5.0)  # another stamp
    assert again["prep_report"]["skipped"] == {}


def test_what_an_earlier_version_kept_is_read_again(ten_speakers, save, reads):
    before = prepare(ten_speakers, save)
    path = save / "audio_cache.json"
    cache = json.loads(path.read_text())
    assert len(cache["files"]) == 40
    (save / "prep_stamp.json").unlink()
    reads.clear()
    assert prepare(ten_speakers, save) == before
    assert reads == []
    for older in (cache["files"], cache | {"format": 1}):
        path.write_text(json.dumps(older))
        (save / "prep_stamp.json").unlink()
        reads.clear()
        assert prepare(ten_speakers, save) == before
        assert len(reads) == 40


def test_a_file_that_appears_is_taken_in(damaged, save, reads):
    prepare(damaged, save)
    reads.clear()
    write_wav(damaged / "train-neutral-0.wav", 97)
    assert "train-neutral-0" in prepare(damaged, save)["train"]
    assert sorted(reads) == ["train-neutral-0.wav", "valid-angry-0.wav"]


def test_a_corpus_that_moved_has_the_same_manifests(ten_speakers, tmp_path):
    before = prepare(ten_speakers, tmp_path / "a")
    moved = shutil.move(ten_speakers, tmp_path / "moved")
    after = prepare(Path(moved), tmp_path / "b")
    assert after == before


@pytest.fixture
def msp(tmp_path) -> Path:
    return write_podcast(tmp_path / "msp")


MANIFEST = "manifests/msp_podcast/test.json"
LABELS = "Labels/labels_consensus.csv"


@pytest.fixture
def unchanged(msp):
    """Return a function: does another run leave the manifests alone?"""
    toy_podcasts.prepare(msp)
    path = msp.parent / "manifests/msp_podcast/train.json"
    before = path.stat().st_mtime_ns

    def run(**options) -> bool:
        toy_podcasts.prepare(msp, **options)
        return path.stat().st_mtime_ns == before

    return run


def test_nothing_is_written_when_nothing_changed(unchanged):
    assert unchanged()
    assert not unchanged(splits={"test": "Test2"})


@pytest.mark.parametrize(
    "change",
    [
        lambda msp: write_wav(msp / "Audios/MSP-PODCAST_0001_0000.wav", 77),
        lambda msp: (msp / "Audios/MSP-PODCAST_0001_0000.wav").unlink(),
        lambda msp: write_textgrid(
            msp / "ForceAligned/MSP-PODCAST_0001_0000.TextGrid"
        ),
        lambda msp: (msp / LABELS).write_text(
            (msp / LABELS).read_text().replace(",H,", ",A,")
        ),
        lambda msp: (msp.parent / MANIFEST).unlink(),
        lambda msp: (msp.parent / MANIFEST).write_text("{}"),
    ],
)
def test_what_changed_is_written_anew(change, msp, unchanged):
    change(msp)
    assert not unchanged()
    assert toy_podcasts.prepare(msp)["test"]


def test_a_limit_of_duration_is_a_change(msp, unchanged):
    assert not unchanged(common={"max_duration": 1.0})


def test_another_phone_set_is_a_change(unchanged):
    assert not unchanged(phone_set="pinyin")


def test_another_format_is_a_change(unchanged, monkeypatch):
    monkeypatch.setattr(lam_sb.corpora.prepare, "FORMAT", "another")
    assert not unchanged()
