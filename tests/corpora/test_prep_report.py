"""What cannot be used is dropped and counted; counts are worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import EMOTIONS, RATE, write_wav
from toy_corpora import (
    by_speaker,
    in_splits,
    prepare,
    write_corpus_of,
    write_damaged,
)

from lam_sb.corpora.manifests import SPLITS, Utterance
from lam_sb.corpora.options import PrepOptions
from lam_sb.corpora.prepare import write_corpus
from lam_sb.errors import UserError


@pytest.fixture
def save(tmp_path) -> Path:
    return tmp_path / "manifests/toy"


@pytest.fixture
def ten_speakers(tmp_path) -> Path:
    return write_corpus_of(tmp_path / "ten", by_speaker(10))


@pytest.fixture
def damaged(tmp_path) -> Path:
    return write_damaged(tmp_path / "damaged")


def test_the_report_counts_each_step_by_split_and_emotion(damaged, save):
    def counts(neutral: int, happy: int, angry: int, sad: int, **none: int):
        numbers = (neutral, happy, angry, sad)
        return dict(zip(EMOTIONS, numbers, strict=True)) | none

    report = prepare(damaged, save)["prep_report"]
    valid, test = counts(4, 4, 3, 4), counts(3, 3, 4, 3, none=2)
    assert report["steps"] == [
        {
            "step": "listed",
            "dropped": {},
            "kept": {
                "train": counts(8, 8, 8, 8),
                "valid": counts(4, 4, 4, 4),
                "test": counts(3, 3, 4, 4, none=2),
            },
        },
        {
            "step": "audio",
            "dropped": {
                "missing audio": 1,
                "empty audio file": 1,
                "unreadable audio": 1,
            },
            "kept": {
                "train": counts(7, 7, 8, 8),
                "valid": valid,
                "test": counts(3, 3, 4, 4, none=2),
            },
        },
        {
            "step": "duration",
            "dropped": {"shorter than min_duration": 1},
            "kept": {
                "train": counts(7, 7, 8, 8),
                "valid": valid,
                "test": test,
            },
        },
        {
            "step": "duplicates",
            "dropped": {"same audio as an earlier row": 1},
            "kept": {
                "train": counts(7, 7, 8, 7),
                "valid": valid,
                "test": test,
            },
        },
        {
            "step": "official splits",
            "dropped": {},
            "kept": {
                "train": counts(7, 7, 8, 7),
                "valid": valid,
                "test": test,
            },
        },
    ]
    assert report["splits"] == report["steps"][-1]["kept"]


def test_emotions_that_nobody_has_are_said(tmp_path, save):
    lines = [row for row in by_speaker(6) if row["emotion"] != "happy"]
    folder = write_corpus_of(tmp_path / "toy", lines)
    report = prepare(folder, save)["prep_report"]
    assert report["notes"] == ["toy has no rows of happy."]
    lines = in_splits({"emotion": "neutral"}, {"emotion": "angry"})
    lines = [row | {"speaker": row["split"]} for row in lines]
    folder = write_corpus_of(tmp_path / "other", lines)
    report = prepare(folder, tmp_path / "m")["prep_report"]
    assert report["notes"] == ["toy has no rows of happy."]
    lines[-1]["emotion"] = "happy"  # in the test
    folder = write_corpus_of(tmp_path / "other", lines)
    report = prepare(folder, tmp_path / "m")["prep_report"]
    note = "The training rows of toy hold no happy, sad."
    assert report["notes"] == [note]
    lines = [row | {"emotion": ""} for row in lines]  # no labels at all
    folder = write_corpus_of(tmp_path / "none", lines)
    assert prepare(folder, save)["prep_report"]["notes"] == []


def test_the_report_lists_what_was_skipped_and_why(damaged, save):
    report = prepare(damaged, save)["prep_report"]
    assert report["skipped"] == {
        "train-neutral-0": "missing audio",
        "train-happy-0": "empty audio file",
        "valid-angry-0": "unreadable audio",
        "test-sad-0": "shorter than min_duration",
        "train-sad-1": "same audio as an earlier row",
    }


def test_the_manifests_hold_what_the_report_says(damaged, save):
    manifests = prepare(damaged, save)
    lengths = [len(manifests[split]) for split in SPLITS]
    assert lengths == [29, 15, 15]  # 64 rows less 5
    assert manifests["test"]["test-neutral-0"]["emo"] is None
    assert manifests["test"]["test-happy-0"]["emo"] is None
    ids = {i for split in SPLITS for i in manifests[split]}
    assert not ids & manifests["prep_report"]["skipped"].keys()


def test_speakers_in_two_official_splits_are_named(damaged, save):
    report = prepare(damaged, save)["prep_report"]
    assert report["speakers"] == {"train": 1, "valid": 1, "test": 2}
    assert report["speakers_in_two_splits"] == {
        "train+valid": [],
        "train+test": ["a"],
        "valid+test": [],
    }
    (note,) = (n for n in report["notes"] if "share speakers" in n)
    assert "The own splits of toy share speakers (1 in train+test)" in note


@pytest.mark.parametrize(
    "options", [{"folds": 3}, {"protocol": "transductive"}, {}]
)
def test_splits_that_are_made_share_no_speakers(options, tmp_path, save):
    lines = by_speaker(10)
    if options:  # left aside
        lines = [r | {"split": SPLITS[n % 3]} for n, r in enumerate(lines)]
    folder = write_corpus_of(tmp_path / "toy", lines)
    report = prepare(folder, save, **options)["prep_report"]
    assert not any("share speakers" in note for note in report["notes"])


def test_an_unknown_speaker_stands_in_no_two_splits(tmp_path, save):
    folder = write_corpus_of(tmp_path / "toy", in_splits({}))
    overlaps = prepare(folder, save)["prep_report"]["speakers_in_two_splits"]
    assert set(map(tuple, overlaps.values())) == {()}


def test_the_duration_limits_belong_to_what_is_kept(damaged, save):
    manifests = prepare(damaged, save, min_duration=0.05)
    assert "test-sad-0" in manifests["test"]
    manifests = prepare(damaged, save, max_duration=0.2)
    assert len(manifests["train"]) == 29
    for count in (3200, 3201):
        write_wav(damaged / "train-sad-7.wav", 98, count)
        report = prepare(damaged, save, max_duration=0.2)["prep_report"]
        reason = report["skipped"].get("train-sad-7")
        assert reason == (None if count == 3200 else "longer than max_duration")


def test_more_than_5_percent_missing_stops_with_counts_by_reason(damaged, save):
    (damaged / "valid-sad-3.wav").unlink()  # 4 of 64: 6.25 %
    with pytest.raises(UserError) as error:
        prepare(damaged, save)
    message = str(error.value)
    assert "of 64 rows" in message
    assert "1 empty audio file, 2 missing audio, 1 unreadable" in message
    assert str(damaged) in message
    assert not (save / "train.json").exists()


def test_5_percent_missing_is_still_accepted(tmp_path, save):
    folder = write_corpus_of(tmp_path / "toy", by_speaker(5))
    (folder / "001.wav").unlink()  # 1 of 20
    assert prepare(folder, save)["prep_report"]["skipped"] == {
        "001": "missing audio"
    }


def test_the_first_missing_file_is_named_not_what_the_reader_dropped(
    tmp_path, save
):
    rows = [Utterance(id="gone", path="gone.wav")]
    with pytest.raises(UserError, match="the first: gone"):
        write_corpus(
            "toy", tmp_path, save, rows, PrepOptions(), {"a": "no agreement"}
        )


def test_what_a_reader_dropped_is_counted_as_listed(ten_speakers, save):
    rows = [
        Utterance(id=f"u{n}", path=f"{n:03d}.wav", speaker=str(n))
        for n in range(1, 6)
    ]
    gone = {"x": "no agreement", "y": "no agreement", "z": "tie"}
    write_corpus("toy", ten_speakers, save, rows, PrepOptions(), gone)
    report = json.loads((save / "prep_report.json").read_text())
    counts = {"no agreement": 2, "tie": 1}
    assert report["steps"][0]["dropped"] == counts
    assert report["skipped"] == gone


@pytest.mark.parametrize(
    ("sound", "silence", "is_said"),
    [
        (1.0, 1.0, True),
        (1.0, 0.9, False),
        (5.0, 1.5, False),
        (30.0, 20.0, True),
    ],
)
def test_files_that_end_in_silence_are_counted(
    sound, silence, is_said, tmp_path, save
):
    folder = write_corpus_of(tmp_path / "toy", by_speaker(5))
    tone = np.sin(np.arange(int(sound * RATE)))
    wav = np.pad(tone, (0, int(silence * RATE)))
    soundfile.write(folder / "001.wav", wav, RATE)
    soundfile.write(folder / "002.wav", wav[::-1], RATE)  # it begins so
    notes = prepare(folder, save)["prep_report"]["notes"]
    said = [n for n in notes if "end in digital silence" in n]
    assert len(said) == is_said
    assert all(n.startswith("1 files of toy") for n in said)
