"""Corpora with a labels.csv."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from toy_corpora import column, in_splits, prepare, write_corpus_of

from lam_sb.corpora.manifests import read_manifest
from lam_sb.errors import UserError


@pytest.fixture
def save(tmp_path) -> Path:
    return tmp_path / "manifests/toy"


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
    facts = manifests["prep_report"]["facts"]
    assert facts == {"unlabelled": counts}


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
    (tmp_path / "labels.csv").write_text("take,emotion\na.wav,sad\n")
    with pytest.raises(UserError, match=r"no column of paths.*take, emotion"):
        prepare(tmp_path, save)


def test_an_empty_table_is_an_error(tmp_path, save):
    (tmp_path / "labels.csv").write_text("path,emotion\n")
    with pytest.raises(UserError, match="lists no utterance"):
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
