"""Podcast corpora as published, in their variants, by hand."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from conftest import write_wav
from toy_podcasts import (
    KEPT,
    UNLABELLED,
    all_rows,
    column,
    prepare,
    rows_of,
    write_podcast,
    write_textgrid,
)

from lam_sb.errors import UserError


@pytest.fixture
def msp(tmp_path) -> Path:
    return write_podcast(tmp_path / "msp")


def test_msp_podcast_is_read_as_published(msp):
    manifests = prepare(msp)
    report = manifests["prep_report"]
    assert report["splits"] == KEPT
    assert report["facts"] == {
        "unlabelled": UNLABELLED,
        "label_file": "Labels/labels_consensus.csv",
        "unused_columns": ["EmoAct", "EmoVal", "EmoDom"],
    }
    assert report["speaker_labels"] == "partly"
    row = manifests["train"]["MSP-PODCAST_0001_0000"]
    assert row["wav"] == "{data_root}/Audios/MSP-PODCAST_0001_0000.wav"
    assert (row["emo"], row["speaker"]) == ("neutral", "1")
    assert (row["gender"], row["language"]) == ("male", "en")
    assert row["phones"] == []


def test_each_step_is_counted_by_split_and_emotion(msp):
    (msp / "Audios/MSP-PODCAST_0001_0000.wav").unlink()  # neutral, Train
    (msp / "Audios/MSP-PODCAST_0005_0090.wav").write_bytes(b"")  # happy, Test1
    shutil.copy(  # a copy of S in Train as S in Development
        msp / "Audios/MSP-PODCAST_0002_0030.wav",
        msp / "Audios/MSP-PODCAST_0004_0080.wav",
    )
    for name in ("0001_0010", "0004_0070"):  # happy, Train; neutral, Devel.
        write_textgrid(msp / f"ForceAligned/MSP-PODCAST_{name}.TextGrid")
    report = prepare(msp)["prep_report"]
    without_two = {
        "train": KEPT["train"] | {"neutral": 3},
        "valid": KEPT["valid"],
        "test": KEPT["test"] | {"happy": 3},
    }
    without_copy = without_two | {"valid": {"neutral": 4, "sad": 3}}
    assert report["steps"] == [
        {
            "step": "listed",
            "dropped": {"split Test2 not used": 8},
            "kept": KEPT,
        },
        {
            "step": "audio",
            "dropped": {"missing audio": 1, "empty audio file": 1},
            "kept": without_two,
        },
        {"step": "duration", "dropped": {}, "kept": without_two},
        {
            "step": "duplicates",
            "dropped": {"same audio as an earlier row": 1},
            "kept": without_copy,
        },
        {"step": "official splits", "dropped": {}, "kept": without_copy},
    ]
    # Of 44 rows two are damaged and one is a copy; two of 41 are aligned.
    counts = {"missing alignment": 39, "with phones": 2}
    assert report["alignments"] == counts


def test_rows_of_unknown_speakers_are_dropped_where_one_is_required(msp):
    report = prepare(msp, require_known_speaker=True)["prep_report"]
    # Test2: 4 A and 4 X; unknown: 4 A and 4 O, both in Train.
    dropped = {"unknown speaker": 8, "split Test2 not used": 8}
    assert report["steps"][0]["dropped"] == dropped
    train = {"happy": 4, "neutral": 4, "none": 8, "sad": 4}
    assert report["splits"] == KEPT | {"train": train}
    assert report["facts"]["unlabelled"] == {"C": 4, "U": 4, "X": 4}


@pytest.mark.parametrize(
    "labels",
    [
        "Labels/labels_consensus.csv",
        "Labels/labels_concensus.csv",
        "Labels/labels_consensus.json",
        "Labels/labels_concensus.json",
        "labels/labels_consensus.csv",
        "label/labels_concensus.csv",
        "Labels/Labels/labels_consensus.csv",
        "labels_consensus.csv",
    ],
)
@pytest.mark.parametrize("corpus", ["msp_podcast", "biic_podcast"])
def test_label_tables_are_found_in_their_variants(labels, corpus, tmp_path):
    folder = write_podcast(tmp_path / "c", labels=labels)
    report = prepare(folder, corpus)["prep_report"]
    assert report["splits"] == KEPT
    assert report["facts"]["unlabelled"] == UNLABELLED
    assert report["facts"]["label_file"] == labels


def test_the_csv_goes_before_the_json(msp):
    (msp / "Labels/labels_consensus.json").write_text("{")
    assert prepare(msp)["prep_report"]["splits"] == KEPT


@pytest.mark.parametrize(
    "audio",
    ["Audios", "Audio", "Audios/Audio", "Audios/Audios", "wavs", "wav", "."],
)
@pytest.mark.parametrize("corpus", ["msp_podcast", "biic_podcast"])
def test_audio_is_found_in_its_variants(audio, corpus, tmp_path):
    folder = write_podcast(tmp_path / "c", audio=audio)
    rows = all_rows(prepare(folder, corpus))
    assert len(rows) == 44  # 52 less Test2's 8
    for utt_id, row in rows.items():
        path = Path("{data_root}", audio, f"{utt_id}.wav")
        assert row["wav"] == str(path)


def test_audio_in_folders_of_podcasts_is_found(tmp_path):
    folder = write_podcast(tmp_path / "c", audio=".")
    for path in sorted(folder.glob("*.wav")):
        place = folder / "Audios" / path.stem.split("_")[1]
        place.mkdir(parents=True, exist_ok=True)
        path.rename(place / path.name)
    rows = all_rows(prepare(folder))
    wav = rows["MSP-PODCAST_0005_0090"]["wav"]
    assert wav == "{data_root}/Audios/0005/MSP-PODCAST_0005_0090.wav"


def test_files_of_macos_and_of_no_row_are_no_rows(msp):
    for name in ("._MSP-PODCAST_0001_0000.wav", "MSP-PODCAST_0009_0001.wav"):
        write_wav(msp / "Audios" / name, 99)
    (msp / "Labels/._labels_consensus.csv").write_bytes(b"\x00\x05\x16\x07")
    rows = all_rows(prepare(msp))
    assert len(rows) == 44
    assert not {"._MSP-PODCAST_0001_0000", "MSP-PODCAST_0009_0001"} & set(rows)


def test_a_byte_order_mark_is_no_part_of_the_first_column(msp):
    path = msp / "Labels/labels_consensus.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert prepare(msp)["prep_report"]["splits"] == KEPT


def test_names_of_the_releases_1_10_to_2_0_name_their_podcast(tmp_path):
    rows = rows_of()
    names = ["0001_008", "0001_0008", "0001_0008_0002"]
    for row, name in zip(rows, names, strict=False):
        row |= {"FileName": f"MSP-PODCAST_{name}.wav", "SpkrID": "Unknown"}
    manifests = prepare(write_podcast(tmp_path / "c", rows=rows))
    assert {f"MSP-PODCAST_{name}" for name in names} <= set(manifests["train"])
    unknown = column(manifests["train"], "speaker")
    assert {unknown[f"MSP-PODCAST_{name}"] for name in names} == {"unknown"}


def test_old_names_of_the_splits_are_read(tmp_path):
    rows = rows_of()
    for row in rows:
        old = {"Development": "Validation"}
        row["Split_Set"] = old.get(row["Split_Set"], row["Split_Set"])
    folder = write_podcast(tmp_path / "c", rows=rows)
    assert prepare(folder)["prep_report"]["splits"] == KEPT


def test_splits_of_the_partitions_file_serve_where_the_table_has_none(tmp_path):
    rows = rows_of()
    folder = write_podcast(
        tmp_path / "c",
        rows=[{k: v for k, v in r.items() if k != "Split_Set"} for r in rows],
    )
    lines = [f"{row['Split_Set']}; {row['FileName']}" for row in rows]
    (folder / "Partitions.txt").write_text("\n".join(lines) + "\n")
    assert prepare(folder)["prep_report"]["splits"] == KEPT


def test_the_option_splits_chooses_among_the_corpus_splits(msp):
    splits = {"test": ["Test1", "Test2"]}
    report = prepare(msp, splits=splits)["prep_report"]
    test = {"angry": 4, "happy": 4, "none": 8}
    assert report["splits"] == KEPT | {"test": test}
    splits = {"valid": "Test1", "test": "Test2"}
    report = prepare(msp, splits=splits)["prep_report"]
    assert report["splits"] == {
        "train": KEPT["train"],
        "valid": KEPT["test"],
        "test": {"angry": 4, "none": 4},
    }
    dropped = {"split Development not used": 8}
    assert report["steps"][0]["dropped"] == dropped


def test_a_split_that_is_not_there_is_an_error_that_lists_the_splits(msp):
    found = r"Train \(28\), Development \(8\), Test1 \(8\), Test2 \(8\)"
    with pytest.raises(UserError, match=f"Test3.*{found}"):
        prepare(msp, splits={"test": "Test3"})
    with pytest.raises(UserError, match=r"test1.*names of the split test;"):
        prepare(msp, splits={"train": ["Train", "Test1"]})
    with pytest.raises(UserError, match=r"'tset'.*train, valid, test"):
        prepare(msp, splits={"tset": "Test1"})


def test_a_corpus_whose_splits_are_left_aside_needs_none(tmp_path):
    rows = [row for row in rows_of() if row["Split_Set"] == "Train"]
    folder = write_podcast(tmp_path / "c", rows=rows)
    with pytest.raises(UserError, match="no row is in valid"):
        prepare(folder)
    manifests = prepare(folder, common={"protocol": "transductive"})
    assert len(manifests["test"]) == 28
    manifests = prepare(folder, common={"folds": 3})
    assert len(all_rows(manifests)) == 28


def test_label_map_goes_before_the_letters(msp):
    label_map = {"C": "angry", "S": None}
    splits = prepare(msp, label_map=label_map)["prep_report"]["splits"]
    assert splits["test"] == {"angry": 4, "happy": 4}
    assert splits["valid"] == {"neutral": 4, "none": 4}
