"""Manifests of made-up corpora, with counts worked out by hand."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import sys
import types
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import EMOTIONS, write_table, write_wav

from lam_sb.corpora.manifests import (
    SPLITS,
    PrepOptions,
    Utterance,
    cluster_of,
    prepare_corpus,
    read_manifest,
    target_train_path,
    write_corpus,
)
from lam_sb.errors import UserError

FOUR_FILES = [*(f"{s}.json" for s in SPLITS), "prep_report.json"]


def write_corpus_of(folder: Path, lines: Iterable[dict]) -> Path:
    """Write a corpus with these lines in its labels.csv."""
    lines = [
        {**line, "path": line.get("path") or f"{n:03d}.wav"}
        for n, line in enumerate(lines, 1)
    ]
    for number, line in enumerate(lines, 1):
        write_wav(folder / line["path"], number)
    write_table(folder / "labels.csv", lines)
    return folder


def by_speaker(speakers: int, takes: int = 1) -> list[dict]:
    """List one row an emotion, speaker and take."""
    return [
        {"emotion": emotion, "speaker": f"s{speaker:02d}"}
        for speaker in range(speakers)
        for emotion in EMOTIONS
        for _ in range(takes)
    ]


def in_splits(*lines: dict) -> list[dict]:
    """List the lines as training rows, with one row each to valid and test."""
    train = [{"emotion": "", "split": "train"} | line for line in lines]
    others = [{"emotion": "sad", "split": s} for s in ("valid", "test")]
    columns = dict.fromkeys(key for line in train for key in line)
    return [{c: line.get(c, "") for c in columns} for line in train + others]


def prepare(folder: Path, save_folder: Path, corpus="toy", **options) -> dict:
    """Prepare a corpus; return rows and report by the file's stem."""
    label_map = options.pop("label_map", None)
    prepare_corpus(
        corpus,
        str(folder),
        str(save_folder),
        PrepOptions(**options),
        label_map=label_map,
    )
    return {
        Path(name).stem: json.loads((save_folder / name).read_text("utf-8"))
        for name in FOUR_FILES
    }


def column(rows: dict, name: str) -> set:
    return {row[name] for row in rows.values()}


@pytest.fixture
def save(tmp_path) -> Path:
    return tmp_path / "manifests/toy"


@pytest.fixture
def ten_speakers(tmp_path) -> Path:
    return write_corpus_of(tmp_path / "ten", by_speaker(10))


# The format


def test_a_row_has_the_fields_of_the_contract_and_no_others(tmp_path, save):
    lines = in_splits(
        {
            "emotion": "Happiness",
            "speaker": "7",
            "gender": "male",
            "language": "en",
            "text": "so {happy}",
        }
    )
    folder = write_corpus_of(tmp_path / "toy", lines)
    sha = hashlib.sha256((folder / "001.wav").read_bytes()).hexdigest()
    rows = prepare(folder, save)["train"]
    assert rows == {
        "001": {
            "wav": "{data_root}/001.wav",
            "audio_sha": sha[:16],
            "duration": 0.2,
            "emo": "happy",
            "speaker": "7",
            "gender": "male",
            "corpus": "toy",
            "language": "en",
            "phones": [],
            "phone_set": "",
        }
    }
    assert re.fullmatch("[0-9a-f]{16}", rows["001"]["audio_sha"])


def test_what_the_table_does_not_say_is_unknown(tmp_path, save):
    folder = write_corpus_of(tmp_path / "toy", in_splits({}))
    row = prepare(folder, save)["train"]["001"]
    assert row["emo"] is None
    assert {row[k] for k in ("speaker", "gender", "language")} == {"unknown"}


def test_a_table_of_paths_alone_is_an_unlabelled_corpus(tmp_path, save):
    lines = [{"path": f"take_{n}_a.wav"} for n in range(3)]
    manifests = prepare(write_corpus_of(tmp_path / "toy", lines), save)
    for split in SPLITS:
        assert column(manifests[split], "emo") == {None}


def test_the_duration_is_in_seconds_at_any_rate(tmp_path, save):
    folder = write_corpus_of(tmp_path / "toy", in_splits({}))
    soundfile.write(folder / "001.wav", np.zeros((12000, 2)), 48000)
    assert prepare(folder, save)["train"]["001"]["duration"] == 0.25


def test_rows_are_sorted_by_id_whatever_the_order_of_the_table(tmp_path, save):
    lines = [{"path": f"{n:03d}.wav", **r} for n, r in enumerate(by_speaker(5))]
    folder = write_corpus_of(tmp_path / "toy", lines)
    before = prepare(folder, save)
    random.Random(0).shuffle(lines)
    write_table(folder / "labels.csv", lines)
    after = prepare(folder, save)
    for split in SPLITS:
        assert list(before[split]) == sorted(before[split])
        assert list(after[split].items()) == list(before[split].items())


def test_a_second_run_writes_the_same_bytes(ten_speakers, tmp_path):
    for name in ("a", "b"):
        prepare(ten_speakers, tmp_path / name)
    prepare(ten_speakers, tmp_path / "b")
    for name in FOUR_FILES:
        expected = (tmp_path / "a" / name).read_bytes()
        assert (tmp_path / "b" / name).read_bytes() == expected


def test_a_run_leaves_the_four_files_and_what_spares_work(ten_speakers, save):
    prepare(ten_speakers, save)
    left = sorted(p.name for p in save.iterdir())
    assert left == sorted([*FOUR_FILES, "audio_cache.json", "prep_stamp.json"])


# labels.csv


def test_a_byte_order_mark_and_stray_spaces_do_no_harm(tmp_path, save):
    folder = write_corpus_of(tmp_path / "toy", in_splits({}))
    text = (
        "path , emotion, speaker ,split\r\n"
        " 001.wav, Sad ,s1 , train \r\n"
        "002.wav,sad,s2,valid\r\n"
        "003.wav,sad,s3,test\r\n"
    )
    (folder / "labels.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    row = prepare(folder, save)["train"]["001"]
    assert (row["wav"], row["emo"]) == ("{data_root}/001.wav", "sad")
    assert row["speaker"] == "s1"


@pytest.mark.parametrize(
    ("values", "emo"),
    [
        (["neutral", "NEU", "Neutrality"], "neutral"),
        (["happy", "hap", "Happiness", "joy"], "happy"),
        (["angry", "ANG", "anger"], "angry"),
        (["sad", "Sadness", "SAD"], "sad"),
    ],
)
def test_the_usual_names_of_the_four_emotions_are_read(
    values, emo, tmp_path, save
):
    lines = in_splits(*({"emotion": value} for value in values))
    folder = write_corpus_of(tmp_path / "toy", lines)
    rows = prepare(folder, save)["train"]
    assert len(rows) == len(values)
    assert column(rows, "emo") == {emo}


def test_other_emotions_are_kept_unlabelled_and_counted(tmp_path, save):
    names = ["disgust", "Surprise", "calm", "excited", "fear", "contempt", ""]
    lines = in_splits(*({"emotion": name} for name in names))
    manifests = prepare(write_corpus_of(tmp_path / "toy", lines), save)
    assert len(manifests["train"]) == 7
    assert column(manifests["train"], "emo") == {None}
    counts = dict.fromkeys(["(empty)", *names[:-1]], 1)
    notes = manifests["prep_report"]["notes"]
    assert notes == {"unlabelled": counts}


def test_label_map_names_other_labels_and_null_is_no_label(tmp_path, save):
    values = ["W", "x x", "5", "joy", "disgust"]
    lines = in_splits(*({"emotion": value} for value in values))
    folder = write_corpus_of(tmp_path / "toy", lines)
    label_map = {"W": "angry", "x x": None, 5: "sad", "joy": None}
    rows = prepare(folder, save, label_map=label_map)["train"]
    emotions = [row["emo"] for row in rows.values()]
    assert emotions == ["angry", None, "sad", None, None]


def test_label_map_may_only_give_the_four_emotions(tmp_path, save):
    folder = write_corpus_of(tmp_path / "toy", in_splits({"emotion": "W"}))
    with pytest.raises(UserError, match=r"label_map of toy gives \['anger'\]"):
        prepare(folder, save, label_map={"W": "anger"})


def test_unknown_emotions_are_listed_with_their_counts(tmp_path, save):
    values = ["wut", "sad", "grumpy", "wut"]
    lines = in_splits(*({"emotion": value} for value in values))
    folder = write_corpus_of(tmp_path / "toy", lines)
    with pytest.raises(UserError, match=r"wut \(2\), grumpy \(1\)") as error:
        prepare(folder, save)
    assert "label_map" in str(error.value)


def test_a_table_without_path_names_the_columns_it_has(tmp_path, save):
    (tmp_path / "labels.csv").write_text("file,emotion\na.wav,sad\n")
    with pytest.raises(UserError, match=r"column 'path'.*file, emotion"):
        prepare(tmp_path, save)


def test_an_empty_table_is_an_error(tmp_path, save):
    (tmp_path / "labels.csv").write_text("path,emotion\n")
    with pytest.raises(UserError, match="none are listed"):
        prepare(tmp_path, save)


def test_a_table_in_another_encoding_is_an_error(tmp_path, save):
    text = "path,speaker\na.wav,Jürgen\n"
    (tmp_path / "labels.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=r"labels\.csv.*UTF-8"):
        prepare(tmp_path, save)


@pytest.mark.parametrize(
    ("split", "names"),
    [
        ("train", ["train", "Train", "training"]),
        ("valid", ["valid", "Validation", "dev", "DEVELOPMENT"]),
        ("test", ["test", "Test1", "testing"]),
    ],
)
def test_an_official_split_is_read_in_its_variants(
    split, names, tmp_path, save
):
    lines = in_splits({}) + [{"emotion": "happy", "split": n} for n in names]
    rows = prepare(write_corpus_of(tmp_path / "toy", lines), save)[split]
    happy = [row for row in rows.values() if row["emo"] == "happy"]
    assert len(happy) == len(names)


def test_another_split_is_an_error(tmp_path, save):
    folder = write_corpus_of(tmp_path / "toy", in_splits({"split": "Test7"}))
    with pytest.raises(UserError, match="'Test7'"):
        prepare(folder, save)


def test_rows_outside_the_official_splits_are_counted(tmp_path, save):
    folder = write_corpus_of(tmp_path / "toy", in_splits({}, {"split": ""}))
    manifests = prepare(folder, save)
    assert list(manifests["train"]) == ["001"]
    report = manifests["prep_report"]
    assert report["skipped"] == {"002": "in no official split"}
    assert report["steps"][-1]["dropped"] == {"in no official split": 1}


def test_ids_are_stems_or_whole_paths_where_stems_repeat(tmp_path, save):
    paths = ["a/1.wav", "b/1.wav", "b/2.wav"]
    lines = in_splits(*({"path": path} for path in paths))
    rows = prepare(write_corpus_of(tmp_path / "toy", lines), save)["train"]
    assert list(rows) == ["2", "a-1", "b-1"]


def test_a_column_of_ids_goes_before_the_stems(tmp_path, save):
    lines = in_splits({"id": "u1"}, {"id": ""})
    rows = prepare(write_corpus_of(tmp_path / "toy", lines), save)["train"]
    assert list(rows) == ["002", "u1"]


def test_two_rows_of_one_id_are_an_error(tmp_path, save):
    lines = in_splits({"id": "u"}, {"id": "u"}, {"id": "v"})
    folder = write_corpus_of(tmp_path / "toy", lines)
    with pytest.raises(UserError, match="u the first"):
        prepare(folder, save)


@pytest.mark.parametrize(
    "line", [{"path": "{a}.wav"}, {"speaker": "}"}, {"language": "{en}"}]
)
def test_braces_are_an_error_that_shows_them(line, tmp_path, save):
    folder = write_corpus_of(tmp_path / "toy", in_splits(line))
    with pytest.raises(UserError, match=re.escape(next(iter(line.values())))):
        prepare(folder, save)


def test_an_absolute_path_leads_to_its_file(tmp_path, save):
    outside = tmp_path / "elsewhere/x.wav"
    lines = in_splits({"path": str(outside)})
    folder = write_corpus_of(tmp_path / "toy", lines)
    prepare(folder, save)
    rows = read_manifest(save / "train.json", folder)
    assert Path(rows["x"]["wav"]) == outside


# What cannot be used


@pytest.fixture
def damaged(tmp_path) -> Path:
    """64 rows, 16 an emotion: 8 train, 4 valid, 4 test; some are damaged.

    Rows are named by split, emotion and number: train-sad-1.
    """
    counts = {"train": 8, "valid": 4, "test": 4}
    speakers = {"train": "a", "valid": "b", "test": "c"}
    lines = [
        {
            "path": f"{split}-{emotion}-{n}.wav",
            "emotion": emotion,
            "speaker": speakers[split],
            "split": split,
        }
        for split in SPLITS
        for emotion in EMOTIONS
        for n in range(counts[split])
    ]
    labels = {line["path"]: line for line in lines}
    labels["test-neutral-0.wav"]["emotion"] = ""
    labels["test-happy-0.wav"]["emotion"] = "disgust"
    labels["test-angry-3.wav"]["speaker"] = "a"
    folder = write_corpus_of(tmp_path / "damaged", lines)
    (folder / "train-neutral-0.wav").unlink()
    (folder / "train-happy-0.wav").write_bytes(b"")
    (folder / "valid-angry-0.wav").write_text("no audio")
    write_wav(folder / "test-sad-0.wav", 99, count=800)  # 0.05 s
    shutil.copy(folder / "train-sad-0.wav", folder / "train-sad-1.wav")
    return folder


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


def test_an_empty_split_is_an_error_and_leaves_no_mixture(
    ten_speakers, tmp_path, save
):
    prepare(ten_speakers, save)
    before = {name: (save / name).read_bytes() for name in FOUR_FILES}
    lines = [line for line in in_splits({}) if line["split"] != "valid"]
    folder = write_corpus_of(tmp_path / "toy", lines)
    with pytest.raises(UserError, match="the split valid is empty"):
        prepare(folder, save)
    for name, content in before.items():
        assert (save / name).read_bytes() == content


# Splits by speaker


def test_six_of_ten_speakers_train_and_two_each_validate_and_test(
    ten_speakers, save
):
    manifests = prepare(ten_speakers, save)
    speakers = [column(manifests[split], "speaker") for split in SPLITS]
    assert [len(s) for s in speakers] == [6, 2, 2]
    assert len(set.union(*speakers)) == 10  # disjoint
    assert [len(manifests[split]) for split in SPLITS] == [24, 8, 8]
    report = manifests["prep_report"]
    assert report["speakers"] == {"train": 6, "valid": 2, "test": 2}
    assert report["speakers_in_two_splits"] == {
        "train+valid": [],
        "train+test": [],
        "valid+test": [],
    }


def test_the_splits_depend_on_split_seed_alone(ten_speakers, tmp_path):
    def test_speakers(name: str, seed: int) -> tuple:
        rows = prepare(ten_speakers, tmp_path / name, split_seed=seed)["test"]
        return tuple(sorted(column(rows, "speaker")))

    first = [test_speakers("a", seed) for seed in range(5)]
    assert [test_speakers("b", seed) for seed in range(5)] == first
    assert len(set(first)) > 1


@pytest.mark.parametrize("seed", range(3))
def test_each_split_has_each_emotion_where_that_is_possible(
    seed, tmp_path, save
):
    lines = by_speaker(10)
    for line in lines:  # three speakers are sad: one a split
        if line["emotion"] == "sad" and line["speaker"] > "s02":
            line["emotion"] = "neutral"
    folder = write_corpus_of(tmp_path / "toy", lines)
    manifests = prepare(folder, save, split_seed=seed)
    for split in SPLITS:
        assert column(manifests[split], "emo") == set(EMOTIONS)
    absent = manifests["prep_report"]["emotions_absent"]
    assert absent == {"train": [], "valid": [], "test": []}


def test_the_report_says_which_split_lacks_an_emotion(tmp_path, save):
    lines = by_speaker(5)
    for line in lines:  # only one speaker is sad
        if line["emotion"] == "sad" and line["speaker"] != "s00":
            line["emotion"] = "neutral"
    manifests = prepare(write_corpus_of(tmp_path / "toy", lines), save)
    absent = manifests["prep_report"]["emotions_absent"]
    for split in SPLITS:
        sad = "sad" in column(manifests[split], "emo")
        assert absent[split] == ([] if sad else ["sad"])
    assert sorted(absent.values()) == [[], ["sad"], ["sad"]]


def test_recordings_stand_for_speakers_that_are_unknown(tmp_path, save):
    lines = [
        {"path": f"pod_{show}_{n}.wav", "emotion": "sad"}
        for show in range(5)
        for n in range(3)
    ]
    manifests = prepare(write_corpus_of(tmp_path / "toy", lines), save)
    shows = [{i.split("_")[1] for i in manifests[split]} for split in SPLITS]
    assert [len(s) for s in shows] == [3, 1, 1]
    assert len(set.union(*shows)) == 5


def test_too_few_speakers_are_an_error(tmp_path, save):
    folder = write_corpus_of(tmp_path / "toy", by_speaker(2))
    with pytest.raises(UserError, match=r"2 speakers .* too few for 3"):
        prepare(folder, save)


@pytest.mark.parametrize(("speakers", "folds"), [(7, 5), (3, 3), (10, 4)])
def test_folds_test_each_speaker_exactly_once(speakers, folds, tmp_path, save):
    folder = write_corpus_of(tmp_path / "toy", by_speaker(speakers))
    tested, validated = [], []
    for fold in range(folds):
        manifests = prepare(folder, save, folds=folds, fold=fold)
        parts = [column(manifests[split], "speaker") for split in SPLITS]
        assert sum(map(len, parts)) == len(set.union(*parts)) == speakers
        rows = [i for split in SPLITS for i in manifests[split]]
        assert len(rows) == len(set(rows)) == 4 * speakers
        tested.append(sorted(parts[2]))
        validated.append(sorted(parts[1]))
    names = [f"s{n:02d}" for n in range(speakers)]
    assert sorted(s for group in tested for s in group) == names
    assert validated == tested[1:] + tested[:1]


def test_folds_go_before_official_splits(tmp_path, save):
    lines = [{**line, "split": "train"} for line in by_speaker(3)]
    folder = write_corpus_of(tmp_path / "toy", lines)
    manifests = prepare(folder, save, folds=3)
    assert [len(manifests[split]) for split in SPLITS] == [4, 4, 4]


@pytest.mark.parametrize(
    "options",
    [
        {"protocol": "transduction"},
        {"folds": 2},
        {"folds": 3, "fold": 3},
        {"folds": 3, "fold": -1},
        {"folds": 3, "protocol": "transductive"},
    ],
)
def test_protocols_and_folds_that_make_no_sense_are_refused(options):
    with pytest.raises(UserError, match="protocol"):
        PrepOptions(**options)


def test_transductive_tests_on_every_row_and_validates_on_a_fifth(
    ten_speakers, save
):
    manifests = prepare(ten_speakers, save, protocol="transductive")
    train, valid, test = (manifests[split] for split in SPLITS)
    assert len(test) == 40
    assert train | valid == test
    assert len(column(train, "speaker")) == 8
    assert len(column(valid, "speaker")) == 2
    assert not column(train, "speaker") & column(valid, "speaker")
    assert (len(train), len(valid)) == (32, 8)


def test_transductive_leaves_official_splits_aside(tmp_path, save):
    lines = [{**line, "split": "test"} for line in by_speaker(5)]
    folder = write_corpus_of(tmp_path / "toy", lines)
    manifests = prepare(folder, save, protocol="transductive")
    assert [len(manifests[split]) for split in SPLITS] == [16, 4, 20]


def test_a_target_adapts_on_train_or_transductively_on_test():
    assert target_train_path("m", "x", "speakers") == "m/x/train.json"
    assert target_train_path("m", "x", "transductive") == "m/x/test.json"


# The audio is read once


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    """Names of the audio files that were opened, in order."""
    opened, info = [], soundfile.info

    def recording(path: str):
        opened.append(Path(path).name)
        return info(path)

    monkeypatch.setattr(soundfile, "info", recording)
    return opened


def test_a_second_preparation_reads_no_audio(
    damaged, save, monkeypatch, tmp_path
):
    def refuse(path: str):
        raise AssertionError(f"{path} was read again")

    first = prepare(damaged, save)
    monkeypatch.setattr(soundfile, "info", refuse)
    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert prepare(damaged, save) == first
    prepare(damaged, save, max_duration=1.0)  # other options, same audio
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


def test_a_file_that_appears_is_taken_in(damaged, save, reads):
    prepare(damaged, save)
    reads.clear()
    write_wav(damaged / "train-neutral-0.wav", 97)
    assert "train-neutral-0" in prepare(damaged, save)["train"]
    assert reads == ["train-neutral-0.wav"]


def test_a_corpus_that_moved_has_the_same_manifests(ten_speakers, tmp_path):
    before = prepare(ten_speakers, tmp_path / "a")
    moved = shutil.move(ten_speakers, tmp_path / "moved")
    after = prepare(Path(moved), tmp_path / "b")
    assert after == before


# Who reads a corpus


def test_a_missing_corpus_folder_names_what_the_parent_holds(tmp_path, save):
    for name in ("esd", "emodb"):
        (tmp_path / "corpora" / name).mkdir(parents=True)
    with pytest.raises(UserError, match="holds: emodb, esd") as error:
        prepare(tmp_path / "corpora/emo-db", save, corpus="emo-db")
    assert str(tmp_path / "corpora/emo-db") in str(error.value)


def test_a_corpus_without_a_reader_names_both_ways(tmp_path, save):
    (tmp_path / "esd/0001").mkdir(parents=True)
    with pytest.raises(UserError) as error:
        prepare(tmp_path / "esd", save, corpus="nobody_knows")
    message = str(error.value)
    assert "holds no labels.csv (found: 0001)" in message
    assert "data_prep/nobody_knows_prepare.py" in message


def test_a_corpus_of_its_own_is_read_by_its_own_module(
    tmp_path, save, monkeypatch
):
    calls = []
    module = types.ModuleType("toy_prepare")
    module.prepare = lambda *args, **options: calls.append((args, options))
    monkeypatch.setitem(sys.modules, "data_prep.toy_prepare", module)
    options = PrepOptions(split_seed=3)
    prepare_corpus("toy", str(tmp_path), str(save), options, splits=[1])
    assert calls == [(("toy", tmp_path, save, options), {"splits": [1]})]


# Reading


def good_row(**changes) -> dict:
    row = {
        "wav": "{data_root}/a.wav",
        "audio_sha": "0123456789abcdef",
        "duration": 1.5,
        "emo": "sad",
        "speaker": "1",
        "gender": "unknown",
        "corpus": "toy",
        "language": "en",
        "phones": [["AA", 0.1, 0.2]],
        "phone_set": "arpa",
    }
    row |= changes
    return {k: v for k, v in row.items() if v is not Ellipsis}


def write_manifest(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


def test_a_manifest_is_read_with_its_root_filled_in(tmp_path):
    path = write_manifest(tmp_path / "m.json", {"a": good_row()})
    rows = read_manifest(path, tmp_path / "corpus")
    assert rows == {"a": good_row(wav=f"{tmp_path}/corpus/a.wav")}


def test_what_prepare_writes_can_be_read(ten_speakers, save):
    manifests = prepare(ten_speakers, save)
    for split in SPLITS:
        rows = read_manifest(save / f"{split}.json", ten_speakers)
        assert list(rows) == list(manifests[split])
        assert all(Path(row["wav"]).is_file() for row in rows.values())


@pytest.mark.parametrize("name", list(good_row()))
def test_a_missing_field_is_named(name, tmp_path):
    rows = {"a": good_row(), "b": good_row(**{name: ...})}
    path = write_manifest(tmp_path / "m.json", rows)
    with pytest.raises(UserError, match=rf"m\.json, row b: {name} missing"):
        read_manifest(path, "")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("duration", "1.5"),
        ("speaker", 1),
        ("phones", None),
        ("phone_set", None),
        ("emo", 2),
    ],
)
def test_a_field_of_a_wrong_type_is_named(name, value, tmp_path):
    rows = {"a": good_row(**{name: value})}
    path = write_manifest(tmp_path / "m.json", rows)
    with pytest.raises(UserError, match=rf"row a: {name} .*wrong type"):
        read_manifest(path, "")


def test_another_emotion_is_an_error_that_lists_the_four(tmp_path):
    path = write_manifest(tmp_path / "m.json", {"a": good_row(emo="fear")})
    with pytest.raises(UserError, match=r"'fear'.*neutral, happy, angry, sad"):
        read_manifest(path, "")


@pytest.mark.parametrize(
    "changes",
    [{"phone_set": "ipa"}, {"phone_set": ""}, {"phones": []}],
)
def test_a_phone_set_belongs_to_phones_and_is_known(changes, tmp_path):
    path = write_manifest(tmp_path / "m.json", {"a": good_row(**changes)})
    with pytest.raises(UserError, match=r"row a: phone_set is .* pinyin, or"):
        read_manifest(path, "")


def test_a_row_without_phones_has_no_phone_set(tmp_path):
    row = good_row(phones=[], phone_set="")
    path = write_manifest(tmp_path / "m.json", {"a": row})
    assert read_manifest(path, "")["a"]["phone_set"] == ""


def test_a_row_without_a_label_is_read(tmp_path):
    path = write_manifest(tmp_path / "m.json", {"a": good_row(emo=None)})
    assert read_manifest(path, "")["a"]["emo"] is None


def test_a_missing_manifest_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"none\.json does not exist"):
        read_manifest(tmp_path / "none.json", "")


@pytest.mark.parametrize("content", [b"{", b"", b"\xff\xfe{\x00"])
def test_a_manifest_that_is_no_json_is_an_error(content, tmp_path):
    (tmp_path / "m.json").write_bytes(content)
    with pytest.raises(UserError, match="is no JSON"):
        read_manifest(tmp_path / "m.json", "")


@pytest.mark.parametrize("content", [{}, [], None, [good_row()], "rows"])
def test_a_manifest_without_rows_is_an_error(content, tmp_path):
    path = write_manifest(tmp_path / "m.json", content)
    with pytest.raises(UserError, match="holds no rows"):
        read_manifest(path, "")


@pytest.mark.parametrize("row", [None, "wav", ["wav"]])
def test_a_row_that_is_no_mapping_is_an_error(row, tmp_path):
    path = write_manifest(tmp_path / "m.json", {"a": row})
    with pytest.raises(UserError, match="row a: wav"):
        read_manifest(path, "")


@pytest.mark.parametrize(
    ("utt_id", "speaker", "cluster"),
    [
        ("MSP-PODCAST_0001_0008", "30", "30"),
        ("MSP-PODCAST_0001_0008", "unknown", "MSP-PODCAST_0001"),
        ("MSP-PODCAST_0001_0008_0002", "unknown", "MSP-PODCAST_0001"),
        ("03a01Fa", "unknown", "unknown"),
        ("talk_7", "unknown", "unknown"),
    ],
)
def test_a_cluster_is_the_speaker_or_the_recording(utt_id, speaker, cluster):
    assert cluster_of(utt_id, speaker) == cluster
