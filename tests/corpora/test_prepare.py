"""Corpora in their original form, with counts worked out by hand."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import RATE, write_table, write_wav

import train
from lam_sb.corpora.alignments import read_phones
from lam_sb.corpora.manifests import SPLITS, PrepOptions, prepare_corpus
from lam_sb.errors import UserError

# A podcast corpus: podcast, emotion, speaker and split; four of each.
PODCAST = [
    ("0001", "N", "1", "Train"),
    ("0001", "H", "1", "Train"),
    ("0002", "A", "Unknown", "Train"),
    ("0002", "S", "2", "Train"),
    ("0002", "X", "2", "Train"),
    ("0003", "O", "Unknown", "Train"),
    ("0003", "U", "2", "Train"),
    ("0004", "N", "3", "Development"),
    ("0004", "S", "3", "Development"),
    ("0005", "H", "4", "Test1"),
    ("0005", "C", "4", "Test1"),
    ("0006", "A", "5", "Test2"),
    ("0006", "X", "5", "Test2"),
]
HEADER = [
    *("FileName", "EmoClass", "EmoAct", "EmoVal", "EmoDom"),
    *("SpkrID", "Gender", "Split_Set"),
]
KEPT = {
    "train": {"angry": 4, "happy": 4, "neutral": 4, "none": 12, "sad": 4},
    "valid": {"neutral": 4, "sad": 4},
    "test": {"happy": 4, "none": 4},
}
UNLABELLED = {"C": 4, "O": 4, "U": 4, "X": 4}  # Test2's four X are not used


def rows_of(corpus: str = "MSP") -> list[dict]:
    """List the label table as it is published."""
    names = [
        f"{corpus}-PODCAST_{podcast}_{n:03d}{take}.wav"
        for n, (podcast, *_) in enumerate(PODCAST)
        for take in range(4)
    ]
    values = [
        (emotion, "2.2", "4.0", "2.6", speaker, "Male", split)
        for _, emotion, speaker, split in PODCAST
        for _ in range(4)
    ]
    return [
        dict(zip(HEADER, (name, *value), strict=True))
        for name, value in zip(names, values, strict=True)
    ]


def write_podcast(
    folder: Path,
    audio: str = "Audios",
    labels: str = "Labels/labels_consensus.csv",
    rows: list[dict] | None = None,
) -> Path:
    """Write a podcast corpus; 52 files, the n-th of content n."""
    rows = rows or rows_of()
    (folder / labels).parent.mkdir(parents=True, exist_ok=True)
    if labels.endswith(".json"):
        content = {row.pop("FileName"): row for row in map(dict, rows)}
        (folder / labels).write_text(json.dumps(content))
        rows = [{"FileName": name} for name in content]
    else:
        write_table(folder / labels, rows)
    for number, row in enumerate(rows):
        name = next(iter(row.values())).removesuffix(".wav")
        write_wav(folder / audio / f"{name}.wav", number)
    return folder


def prepare(
    folder: Path, corpus: str = "msp_podcast", common=None, **options
) -> dict:
    """Prepare a corpus; return rows and report by the file's stem."""
    save = folder.parent / "manifests" / corpus
    prepare_corpus(
        corpus,
        str(folder),
        str(save),
        PrepOptions(**common or {}),
        **{"label_map": {}} | options,
    )
    names = (*SPLITS, "prep_report")
    return {
        n: json.loads((save / f"{n}.json").read_text("utf-8")) for n in names
    }


def all_rows(manifests: dict) -> dict:
    return {i: r for split in SPLITS for i, r in manifests[split].items()}


def column(rows: dict, name: str) -> dict:
    return {utt_id: row[name] for utt_id, row in rows.items()}


def textgrid(tiers: dict[str, list[tuple]], short: bool = False) -> str:
    """Text of a TextGrid of one second, as Praat writes it."""
    head = 'File type = "ooTextFile"\nObject class = "TextGrid"\n\n'
    if short:
        lines = ["0", "1", "<exists>", len(tiers)]
        for name, entries in tiers.items():
            lines += ['"IntervalTier"', f'"{name}"', 0, 1, len(entries)]
            lines += [x for a, b, p in entries for x in (a, b, f'"{p}"')]
        return head + "\n".join(map(str, lines)) + "\n"
    text = (
        f"xmin = 0\nxmax = 1\ntiers? <exists>\nsize = {len(tiers)}\nitem []:\n"
    )
    for k, (name, entries) in enumerate(tiers.items(), 1):
        text += f'    item [{k}]:\n        class = "IntervalTier"\n'
        text += f'        name = "{name}"\n        xmin = 0\n        xmax = 1\n'
        text += f"        intervals: size = {len(entries)}\n"
        for n, (start, end, phone) in enumerate(entries, 1):
            text += f"        intervals [{n}]:\n            xmin = {start}\n"
            text += f'            xmax = {end}\n            text = "{phone}"\n'
    return head + text


WORDS = [(0, 0.2, ""), (0.2, 1, "hi")]
PHONES = [(0, 0.2, ""), (0.2, 0.45, "HH"), (0.45, 0.8, "AY1"), (0.8, 1, "sil")]
READ = [["HH", 0.2, 0.45], ["AY1", 0.45, 0.8]]


def write_textgrid(path: Path, text: str | None = None, encoding="utf-8"):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = text or textgrid({"words": WORDS, "phones": PHONES})
    path.write_bytes(text.encode(encoding))


@pytest.fixture
def msp(tmp_path) -> Path:
    return write_podcast(tmp_path / "msp")


# MSP-Podcast


def test_msp_podcast_is_read_as_published(msp):
    manifests = prepare(msp)
    report = manifests["prep_report"]
    assert report["splits"] == KEPT
    assert report["notes"] == {
        "unlabelled": UNLABELLED,
        "label_file": "Labels/labels_consensus.csv",
    }
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
    assert report["notes"]["unlabelled"] == {"C": 4, "U": 4, "X": 4}


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
    assert report["notes"]["unlabelled"] == UNLABELLED
    assert report["notes"]["label_file"] == labels


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


def test_label_map_goes_before_the_letters(msp):
    label_map = {"C": "angry", "S": None}
    splits = prepare(msp, label_map=label_map)["prep_report"]["splits"]
    assert splits["test"] == {"angry": 4, "happy": 4}
    assert splits["valid"] == {"neutral": 4, "none": 4}


# What is wrong


def test_unknown_emotions_are_listed_and_numbers_never_guessed(tmp_path):
    rows = rows_of()
    for row, value in zip(rows, ["3", "3", "Smug"], strict=False):
        row["EmoClass"] = value
    folder = write_podcast(tmp_path / "c", rows=rows)
    for corpus in ("msp_podcast", "biic_podcast"):
        with pytest.raises(UserError, match=r"3 \(2\), Smug \(1\)"):
            prepare(folder, corpus)


@pytest.mark.parametrize("gone", ["FileName", "EmoClass"])
def test_a_missing_column_shows_the_columns_there_are(gone, tmp_path):
    folder = write_podcast(tmp_path / "c")
    path = folder / "Labels/labels_consensus.csv"
    path.write_text(path.read_text().replace(gone, "Stuff", 1))
    found = ", ".join(HEADER).replace(gone, "Stuff")
    with pytest.raises(UserError, match=f"{found}.*columns:"):
        prepare(folder)


def test_a_named_column_that_is_missing_shows_the_columns(msp):
    with pytest.raises(UserError, match=r"'Emo' \(emotion\).*FileName, EmoC"):
        prepare(msp, columns={"emotion": "Emo"})
    with pytest.raises(UserError, match=r"'emo'; it knows file, emotion"):
        prepare(msp, columns={"emo": "EmoClass"})
    with pytest.raises(UserError, match=r"columns of msp_podcast is 'EmoC"):
        prepare(msp, columns="EmoClass")


def test_without_a_label_table_the_error_says_what_is_there(msp):
    path = msp / "Labels/labels_consensus.csv"
    path.rename(path.with_name("mine.csv"))
    with pytest.raises(UserError) as error:
        prepare(msp)
    assert "Audios, Labels found" in str(error.value)
    assert "Labels holds: mine.csv" in str(error.value)
    assert "label_file" in str(error.value)
    report = prepare(msp, label_file="Labels/mine.csv")["prep_report"]
    assert report["splits"] == KEPT


def test_without_any_audio_the_error_says_what_is_there(msp):
    (msp / "Audios").rename(msp.parent / "Sound")
    with pytest.raises(UserError, match=r"none of the 52 .*it holds: Labels"):
        prepare(msp)


def test_an_unknown_option_is_refused_with_those_known(msp):
    with pytest.raises(UserError) as error:
        prepare(msp, require_aligment=True)
    assert "'require_aligment'" in str(error.value)
    assert "label_map, splits, columns, label_file" in str(error.value)
    assert "require_alignment, reader" in str(error.value)


def test_a_json_of_another_form_is_an_error(tmp_path):
    folder = write_podcast(
        tmp_path / "c", labels="Labels/labels_consensus.json"
    )
    for text in ("[1]", "{", '{"a.wav": 1}'):
        (folder / "Labels/labels_consensus.json").write_text(text)
        with pytest.raises(UserError, match=r"labels_consensus\.json"):
            prepare(folder)


def test_a_row_without_a_file_is_an_error(tmp_path):
    folder = write_podcast(tmp_path / "c")
    with open(folder / "Labels/labels_consensus.csv", "a") as file:
        file.write(",N,1,1,1,1,Male,Train\n")
    with pytest.raises(UserError, match="names no file"):
        prepare(folder)


# BIIC-Podcast


@pytest.mark.parametrize(
    ("file", "emotion", "split", "speaker"),
    [
        ("FileName", "EmoClass", "Split_Set", "SpkrID"),
        ("filename", "emotion", "split", "Speaker"),
        ("file_name", "Emotion", "Split", "Speaker_ID"),
        ("file", "emo", "Partition", "speaker"),
        ("utt", "label", "Split_Set", "SpkrID"),
        ("wav", "EmoClass", "Split_Set", "SpkrID"),
        ("", "EmoClass", "Split_Set", "SpkrID"),
    ],
)
def test_columns_are_found_in_their_variants(
    file, emotion, split, speaker, tmp_path
):
    rows = [
        {
            file: row["FileName"].removesuffix(".wav"),
            emotion: row["EmoClass"],
            split: row["Split_Set"],
            speaker: row["SpkrID"],
        }
        for row in rows_of("BIIC")
    ]
    manifests = prepare(
        write_podcast(tmp_path / "c", rows=rows), "biic_podcast"
    )
    assert manifests["prep_report"]["splits"] == KEPT
    row = manifests["train"]["BIIC-PODCAST_0001_0000"]
    assert (row["speaker"], row["language"]) == ("1", "zh")


def test_columns_of_other_names_are_named(tmp_path):
    rows = [
        {"n": r["FileName"], "e": r["EmoClass"], "s": r["Split_Set"], "p": "7"}
        for r in rows_of()
    ]
    folder = write_podcast(tmp_path / "c", rows=rows)
    columns = {"file": "n", "emotion": "e", "split": "s", "speaker": "p"}
    manifests = prepare(folder, "biic_podcast", columns=columns)
    assert manifests["prep_report"]["splits"] == KEPT
    assert set(column(manifests["test"], "speaker").values()) == {"7"}


def test_emotions_may_be_whole_words_in_any_case(tmp_path):
    words = {
        **{"N": "Neutral", "H": "HAPPINESS", "A": "anger", "S": "sadness"},
        **{"X": "No agreement", "O": "Other", "U": "surprise", "C": "xxx"},
    }
    rows = rows_of()
    for row in rows:
        row["EmoClass"] = words[row["EmoClass"]]
    folder = write_podcast(tmp_path / "c", rows=rows)
    report = prepare(folder, "biic_podcast")["prep_report"]
    assert report["splits"] == KEPT
    counts = {"No agreement": 4, "Other": 4, "surprise": 4, "xxx": 4}
    assert report["notes"]["unlabelled"] == counts


@pytest.mark.parametrize("share", [False, True])
def test_votes_are_read_by_the_single_largest(share, tmp_path):
    votes = {  # neutral, happy, angry, sad, disgust
        "N": (3, 1, 0, 0, 1),
        "H": (0, 4, 1, 0, 0),
        "A": (1, 1, 2, 0, 1),
        "S": (0, 0, 0, 5, 0),
        "X": (2, 2, 0, 1, 0),  # a tie
        "O": (0, 0, 0, 0, 0),
        "U": (0, 2, 0, 2, 1),  # a tie
        "C": (0, 1, 0, 0, 4),
    }
    names = ("neutral", "Happy", "angry", "SAD", "disgust")
    rows = []
    for row in rows_of():
        counts = [v / 5 if share else v for v in votes[row.pop("EmoClass")]]
        rows.append(row | dict(zip(names, counts, strict=True)))
    folder = write_podcast(tmp_path / "c", rows=rows)
    report = prepare(folder, "biic_podcast")["prep_report"]
    assert report["splits"] == KEPT
    # X and U of Train are the ties; those of Test2 are not used.
    counts = {"disgust": 4, "no votes": 4, "tie": 8}
    assert report["notes"]["unlabelled"] == counts


def test_votes_that_are_no_numbers_are_an_error(tmp_path):
    rows = rows_of()
    rows = [{**row, "sad": "1", "angry": "many"} for row in rows]
    for row in rows:
        del row["EmoClass"]
    folder = write_podcast(tmp_path / "c", rows=rows)
    with pytest.raises(UserError, match=r"sad, angry .*votes.*many"):
        prepare(folder, "biic_podcast")


def test_a_podcast_stands_for_the_speaker_where_no_column_does(tmp_path):
    rows = rows_of("BIIC")
    for row in rows:
        del row["SpkrID"]
    folder = write_podcast(tmp_path / "c", rows=rows)
    manifests = prepare(folder, "biic_podcast")
    speakers = column(manifests["valid"], "speaker")
    assert set(speakers.values()) == {"BIIC-PODCAST_0004"}
    note = manifests["prep_report"]["notes"]["speakers"]
    assert "each podcast stands for a speaker" in note
    with pytest.raises(UserError, match=r"of speakers, .*FileName, EmoClass"):
        prepare(folder, "biic_podcast", require_known_speaker=True)


def test_without_splits_the_speakers_are_split(tmp_path):
    rows = rows_of()
    for row in rows:
        del row["Split_Set"]
    folder = write_podcast(tmp_path / "c", rows=rows)
    manifests = prepare(folder, "biic_podcast")
    assert sum(len(manifests[split]) for split in SPLITS) == 52
    with pytest.raises(UserError, match="no column of splits"):
        prepare(folder, "biic_podcast", splits={"test": "Test"})


# Alignments


@pytest.mark.parametrize(
    "place",
    [
        "ForceAligned",
        "TextGrid",
        "TextGrids",
        "MFA",
        "Alignments",
        "ForceAligned/ForceAligned",
    ],
)
def test_alignments_are_found_in_their_variants(place, msp):
    name = "MSP-PODCAST_0001_0010"
    write_textgrid(msp / place / f"{name}.TextGrid")
    manifests = prepare(msp)
    assert manifests["train"][name]["phones"] == READ
    counts = {"missing alignment": 43, "with phones": 1}
    assert manifests["prep_report"]["alignments"] == counts


def test_rows_without_phones_are_dropped_where_they_are_required(msp):
    aligned = ["0001_0000", "0002_0030", "0004_0080", "0005_0090"]
    for name in aligned:
        write_textgrid(msp / f"ForceAligned/MSP-PODCAST_{name}.TextGrid")
    silent = textgrid({"words": [], "phones": [(0, 1, "sil")]})
    for name, text in (("0001_0001", silent), ("0001_0002", "no TextGrid")):
        path = msp / f"ForceAligned/MSP-PODCAST_{name}.TextGrid"
        write_textgrid(path, text)
    report = prepare(msp, require_alignment=True)["prep_report"]
    assert report["splits"] == {
        "train": {"neutral": 1, "sad": 1},
        "valid": {"sad": 1},
        "test": {"happy": 1},
    }
    assert report["steps"][-1]["step"] == "alignment"
    assert report["steps"][-1]["dropped"] == {
        "missing alignment": 38,  # of 44
        "alignment without phones": 1,
        "unreadable alignment": 1,
    }
    kept = prepare(msp)["prep_report"]
    assert kept["splits"] == KEPT
    assert kept["alignments"] == report["alignments"]


def test_no_alignment_at_all_is_an_error_where_they_are_required(msp):
    with pytest.raises(UserError, match=r"no row has.*alignment_dir"):
        prepare(msp, require_alignment=True)
    with pytest.raises(UserError, match=r"TextGrid in mine .*Audios, Labels"):
        prepare(msp, alignment_dir="mine")


def test_an_alignment_dir_may_lie_anywhere(msp, tmp_path):
    name = "MSP-PODCAST_0001_0010"
    write_textgrid(tmp_path / f"out/{name}.TextGrid")
    manifests = prepare(msp, alignment_dir=str(tmp_path / "out"))
    assert manifests["train"][name]["phones"] == READ


@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_textgrids_are_read_in_each_form_and_encoding(
    short, encoding, tmp_path
):
    phones = [(0, 0.5, "ʂ"), (0.5, 1, "a˥˩")]
    text = textgrid({"words": WORDS, "phones": phones}, short)
    write_textgrid(tmp_path / "a.TextGrid", text, encoding)
    expected = [["ʂ", 0.0, 0.5], ["a˥˩", 0.5, 1.0]]
    assert read_phones(tmp_path / "a.TextGrid") == expected


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["words", "phones"], 1),
        (["phone", "words"], 0),
        (["Phones", "words"], 0),
        (["30 - words", "30 - phones", "31 - words", "31 - phones"], 3),
        (["phones", "A -phones", "telephones"], 1),
        (["words", "phonesets"], None),
    ],
)
def test_the_last_tier_of_phones_is_read(names, chosen, tmp_path):
    tiers = {name: [(0, 1, f"P{n}")] for n, name in enumerate(names)}
    write_textgrid(tmp_path / "a.TextGrid", textgrid(tiers))
    expected = [] if chosen is None else [[f"P{chosen}", 0.0, 1.0]]
    assert read_phones(tmp_path / "a.TextGrid") == expected


def test_silences_are_no_phones(tmp_path):
    names = ["", "sil", "sp", "spn", "<eps>", "[SIL]", "<sil>", "SIL", "S", " "]
    entries = [(n / 10, (n + 1) / 10, p) for n, p in enumerate(names)]
    write_textgrid(tmp_path / "a.TextGrid", textgrid({"phones": entries}))
    assert read_phones(tmp_path / "a.TextGrid") == [["S", 0.8, 0.9]]


def test_labels_csv_may_name_alignments(tmp_path):
    lines = [
        {"path": f"{n}.wav", "speaker": n, "alignment": f"tg/{n}.TextGrid"}
        for n in range(4)
    ]
    lines[3]["alignment"] = ""
    write_table(_folder(tmp_path / "c") / "labels.csv", lines)
    for n in range(4):
        write_wav(tmp_path / f"c/{n}.wav", n)
    write_textgrid(tmp_path / "c/tg/1.TextGrid")
    manifests = prepare(tmp_path / "c", "mine")
    phones = column(all_rows(manifests), "phones")
    assert phones == {"0": [], "1": READ, "2": [], "3": []}
    sets = column(all_rows(manifests), "phone_set")
    assert sets == {"0": "", "1": "arpa", "2": "", "3": ""}
    counts = {"missing alignment": 3, "with phones": 1}
    assert manifests["prep_report"]["alignments"] == counts
    named = prepare(tmp_path / "c", "mine", phone_set="pinyin")
    assert named["prep_report"]["phones"]["foreign"] == {"AY1": 1, "HH": 1}


def test_a_changed_alignment_is_read_again(msp):
    name = "MSP-PODCAST_0001_0010"
    path = msp / f"ForceAligned/{name}.TextGrid"
    write_textgrid(path)
    assert prepare(msp)["train"][name]["phones"] == READ
    write_textgrid(path, textgrid({"phones": [(0, 0.5, "M")]}))
    assert prepare(msp)["train"][name]["phones"] == [["M", 0.0, 0.5]]
    path.unlink()
    assert prepare(msp)["train"][name]["phones"] == []


def write_phones(folder: Path, number: int, *labels: str) -> str:
    """Give the n-th training row these phones; return its id."""
    name = f"MSP-PODCAST_0001_00{number:02d}"
    entries = [(n / 20, (n + 1) / 20, p) for n, p in enumerate(labels)]
    text = textgrid({"phones": entries})
    write_textgrid(folder / f"ForceAligned/{name}.TextGrid", text)
    return name


def test_rows_and_report_say_which_set_the_phones_are_of(msp):
    aligned = [
        write_phones(msp, 10, "DH", "AH0"),
        write_phones(msp, 11, "K", "AE1", "T"),
    ]
    manifests = prepare(msp)
    sets = column(all_rows(manifests), "phone_set")
    assert {i for i, name in sets.items() if name == "arpa"} == {*aligned}
    assert {name for i, name in sets.items() if i not in aligned} == {""}
    report = manifests["prep_report"]
    assert report["options"]["phone_set"] == "auto"
    assert report["phones"] == {"phone_set": "arpa", "rows": 2, "foreign": {}}


def test_without_phones_there_is_no_set(msp):
    report = prepare(msp, phone_set="pinyin")["prep_report"]
    assert report["phones"] == {"phone_set": "", "rows": 0, "foreign": {}}


def test_only_the_rows_that_are_kept_decide_the_set(msp):
    write_phones(msp, 10, "DH", "AH0")
    name = write_phones(msp, 11, "zh", "ong1")
    (msp / f"Audios/{name}.wav").unlink()
    assert prepare(msp)["prep_report"]["phones"]["phone_set"] == "arpa"


def test_a_mixture_of_two_sets_is_refused_with_its_phones(msp):
    write_phones(msp, 10, "DH", "AH0", "B", "T")
    write_phones(msp, 11, "zh", "ong1")
    with pytest.raises(UserError, match=r"^msp_podcast: the .* ong1, zh\."):
        prepare(msp)
    assert not (msp.parent / "manifests/msp_podcast/train.json").exists()


def test_phones_that_a_named_set_does_not_have_are_counted(msp):
    aligned = write_phones(msp, 10, "DH", "AH0", "[noise]", "zh", "[noise]")
    manifests = prepare(msp, phone_set="arpa")
    row = manifests["train"][aligned]
    assert row["phone_set"] == "arpa"
    assert [p for p, _, _ in row["phones"]][2:] == ["[noise]", "zh", "[noise]"]
    assert manifests["prep_report"]["phones"] == {
        "phone_set": "arpa",
        "rows": 1,
        "foreign": {"[noise]": 2, "zh": 1},
    }


def test_phones_of_several_sets_need_a_name(msp):
    name = write_phones(msp, 10, "k", "i")
    with pytest.raises(UserError, match=r"alike: i, k\. Name .* phone_set"):
        prepare(msp)
    manifests = prepare(msp, phone_set="mfa_mandarin")
    assert manifests["train"][name]["phone_set"] == "mfa_mandarin"


def test_an_unknown_phone_set_is_refused(msp):
    with pytest.raises(UserError, match=r"phone_set is 'ipa'; use .* pinyin"):
        prepare(msp, phone_set="ipa")


# Nothing is rebuilt that has not changed


MANIFEST = "manifests/msp_podcast/test.json"
LABELS = "Labels/labels_consensus.csv"


@pytest.fixture
def unchanged(msp):
    """Return a function: does another run leave the manifests alone?"""
    prepare(msp)
    path = msp.parent / "manifests/msp_podcast/train.json"
    before = path.stat().st_mtime_ns

    def run(**options) -> bool:
        prepare(msp, **options)
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
    assert prepare(msp)["test"]


def test_a_limit_of_duration_is_a_change(msp, unchanged):
    assert not unchanged(common={"max_duration": 1.0})


def test_another_phone_set_is_a_change(unchanged):
    assert not unchanged(phone_set="pinyin")


# Open corpora


def _folder(path: Path) -> Path:
    path.mkdir(parents=True)
    return path


def write_named(folder: Path, names: list[str]) -> Path:
    for number, name in enumerate(names):
        write_wav(folder / name, number)
    return folder


def test_emodb_is_read_in_its_own_names(tmp_path):
    speakers = {"03": "male", "08": "female", "14": "female", "15": "male"}
    names = [
        f"wav/{speaker}{text}{emotion}{version}.wav"
        for speaker in speakers
        for text, version in (("a01", "a"), ("b10", "c"))
        for emotion in "WFTNLEA"
    ]
    manifests = prepare(write_named(tmp_path / "emodb", names), "emodb")
    rows = all_rows(manifests)
    assert len(rows) == 56
    emotions = [rows[f"03a01{e}a"]["emo"] for e in "WFTNLEA"]
    four = ["angry", "happy", "sad", "neutral"]
    assert emotions == [*four, None, None, None]
    genders = {r["speaker"]: r["gender"] for r in rows.values()}
    assert genders == {f"emodb_{s}": g for s, g in speakers.items()}
    assert {r["language"] for r in rows.values()} == {"de"}
    counts = {"anxiety": 8, "boredom": 8, "disgust": 8}
    assert manifests["prep_report"]["notes"] == {"unlabelled": counts}


def ravdess_names(actors=range(1, 6), kind: str = "03-01") -> list[str]:
    return [
        f"Actor_{actor:02d}/{kind}-{emotion:02d}-01-02-01-{actor:02d}.wav"
        for actor in actors
        for emotion in range(1, 9)
    ]


def test_ravdess_is_read_in_its_own_names(tmp_path):
    folder = write_named(tmp_path / "ravdess", ravdess_names())
    manifests = prepare(folder, "ravdess")
    rows = all_rows(manifests)
    emotions = [rows[f"03-01-{e:02d}-01-02-01-04"]["emo"] for e in range(1, 9)]
    four = ["neutral", None, "happy", "sad", "angry"]  # 02 is calm
    assert emotions == [*four, None, None, None]
    genders = {r["speaker"]: r["gender"] for r in rows.values()}
    expected = ["male", "female", "male", "female", "male"]
    assert genders == {f"ravdess_0{n}": g for n, g in enumerate(expected, 1)}
    counts = {"calm": 5, "disgust": 5, "fearful": 5, "surprised": 5}
    assert manifests["prep_report"]["notes"] == {"unlabelled": counts}
    rows = all_rows(prepare(folder, "ravdess", label_map={"calm": "neutral"}))
    assert rows["03-01-02-01-02-01-04"]["emo"] == "neutral"


def test_songs_videos_and_copies_are_counted_not_read(tmp_path):
    names = ravdess_names()  # 40
    copies = [f"copy/{name}" for name in names[:3]]
    songs = ravdess_names([1], "03-02") + ravdess_names([1], "01-02")  # 16
    names += [*copies, *songs, *ravdess_names([2], "01-01")]  # 8
    names += ["Actor_01/note.wav", "Actor_01/._03-01-01-01-02-01-01.wav"]
    manifests = prepare(write_named(tmp_path / "r", names), "ravdess")
    assert len(all_rows(manifests)) == 40
    steps = manifests["prep_report"]["steps"]
    assert steps[0]["dropped"] == {
        "another kind of file name": 1,
        "same name as another file": 3,
        "song": 16,
        "sound of a video": 8,
    }


@pytest.mark.parametrize("suffix", ["wav", "flac", "WAV"])
def test_original_names_are_found_anywhere_in_wav_or_flac(suffix, tmp_path):
    for number, name in enumerate(ravdess_names()):
        path = tmp_path / "r/speech/all" / Path(name).with_suffix(f".{suffix}")
        path.parent.mkdir(parents=True, exist_ok=True)
        samples = np.full(3200, number, dtype=np.int16)
        soundfile.write(path, samples, RATE)
    rows = all_rows(prepare(tmp_path / "r", "ravdess"))
    assert len(rows) == 40
    wav = rows["03-01-01-01-02-01-01"]["wav"]
    place = "{data_root}/speech/all/Actor_01"
    assert wav == f"{place}/03-01-01-01-02-01-01.{suffix}"


def test_cremad_is_read_in_its_own_names(tmp_path):
    names = [
        f"AudioWAV/{actor}_DFA_{emotion}_XX.wav"
        for actor in range(1001, 1006)
        for emotion in ("ANG", "HAP", "NEU", "SAD", "DIS", "FEA")
    ]
    folder = write_named(tmp_path / "cremad", names)
    rows = all_rows(prepare(folder, "cremad"))
    assert {r["gender"] for r in rows.values()} == {"unknown"}
    lines = [
        {"ActorID": a, "Age": 51, "Sex": s}
        for a, s in ((1001, "Male"), (1002, "Female"))
    ]
    write_table(folder / "VideoDemographics.csv", lines)
    manifests = prepare(folder, "cremad")
    rows = all_rows(manifests)
    emotions = Counter(r["emo"] for r in rows.values())
    four = dict.fromkeys(("angry", "happy", "neutral", "sad"), 5)
    assert emotions == {**four, None: 10}
    assert rows["1001_DFA_ANG_XX"]["gender"] == "male"
    assert rows["1002_DFA_ANG_XX"]["gender"] == "female"
    assert rows["1003_DFA_ANG_XX"]["speaker"] == "cremad_1003"
    counts = {"disgust": 5, "fear": 5}
    assert manifests["prep_report"]["notes"] == {"unlabelled": counts}


ENGLISH = ["Neutral", "Happy", "Sad", "Angry", "Surprise"]
CHINESE = ["中立", "快乐", "伤心", "生气", "惊喜"]


def esd_names(layout: str = "{spk}/{emo}/{utt}", chinese=ENGLISH) -> list[str]:
    """Six speakers; takes 1, 2, 3 of each emotion train, validate and test."""
    return [
        layout.format(spk=s, emo=emo, utt=f"{s}_{e * 3 + k:06d}", part=part)
        + ".wav"
        for s in ("0001", "0002", "0010", "0011", "0012", "0020")
        for e, emo in enumerate(chinese if s < "0011" else ENGLISH)
        for k, part in enumerate(("train", "evaluation", "test"))
    ]


@pytest.mark.parametrize(
    "layout",
    [
        "{spk}/{emo}/{utt}",
        "{spk}/{emo}/{part}/{utt}",
        "{part}/{spk}/{emo}/{utt}",
        "Emotional Speech Dataset (ESD)/{spk}/{emo}/{utt}",
    ],
)
@pytest.mark.parametrize("chinese", [ENGLISH, CHINESE])
def test_esd_is_read_in_its_layouts(layout, chinese, tmp_path):
    names = esd_names(layout, chinese)
    manifests = prepare(write_named(tmp_path / "esd", names), "esd")
    rows = all_rows(manifests)
    assert len(rows) == 90  # 6 speakers, 5 emotions, 3 takes
    for speaker, language in (("0010", "zh"), ("0011", "en")):
        emotions = [rows[f"{speaker}_{e * 3:06d}"]["emo"] for e in range(5)]
        assert emotions == ["neutral", "happy", "sad", "angry", None]
        row = rows[f"{speaker}_000000"]
        assert (row["speaker"], row["language"]) == (f"esd_{speaker}", language)
    counts = manifests["prep_report"]["notes"]["unlabelled"]
    assert sum(counts.values()) == 18
    assert set(counts) == {"Surprise", chinese[4]}


@pytest.mark.parametrize(
    ("language", "speakers"),
    [
        ("zh", {"esd_0001", "esd_0002", "esd_0010"}),
        ("en", {"esd_0011", "esd_0012", "esd_0020"}),
    ],
)
def test_esd_gives_one_of_its_languages_under_any_name(
    language, speakers, tmp_path
):
    folder = write_named(tmp_path / "esd", esd_names())
    name = f"esd_{language}"
    manifests = prepare(folder, name, reader="esd", language=language)
    rows = all_rows(manifests)
    assert {r["speaker"] for r in rows.values()} == speakers
    assert {r["corpus"] for r in rows.values()} == {name}
    dropped = manifests["prep_report"]["steps"][0]["dropped"]
    other = {"en": "zh", "zh": "en"}[language]
    assert dropped == {f"language {other}": 45}
    with pytest.raises(UserError, match=r"language is 'de'.*both, en, zh"):
        prepare(folder, "esd", language="de")


def test_the_subfolders_of_esd_are_splits_only_if_asked_for(tmp_path):
    names = esd_names("{spk}/{emo}/{part}/{utt}")
    folder = write_named(tmp_path / "esd", names)
    report = prepare(folder, "esd")["prep_report"]
    assert not any(report["speakers_in_two_splits"].values())
    report = prepare(folder, "esd", splits={"valid": "evaluation"})[
        "prep_report"
    ]
    part = {"angry": 6, "happy": 6, "neutral": 6, "none": 6, "sad": 6}
    assert report["splits"] == dict.fromkeys(SPLITS, part)
    assert len(report["speakers_in_two_splits"]["train+test"]) == 6


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030"]
)
def test_the_texts_of_esd_serve_where_no_folder_names_the_emotion(
    encoding, tmp_path
):
    names = esd_names("{spk}/{utt}")
    folder = write_named(tmp_path / "esd", names)
    for speaker in ("0001", "0002", "0010", "0011", "0012", "0020"):
        words = CHINESE if speaker < "0011" else ENGLISH
        lines = [
            f"{speaker}_{e * 3 + k:06d}\t打远一看\t{words[e]}"
            for e in range(5)
            for k in range(3)
        ]
        text = folder / f"{speaker}/{speaker}.txt"
        text.write_bytes("\r\n".join(lines).encode(encoding))
    rows = all_rows(prepare(folder, "esd"))
    for speaker in ("0010", "0011"):
        emotions = [rows[f"{speaker}_{e * 3:06d}"]["emo"] for e in range(5)]
        assert emotions == ["neutral", "happy", "sad", "angry", None]
    (folder / "0012/0012.txt").unlink()
    with pytest.raises(UserError, match=r"0012_000000.*0012\.txt"):
        prepare(folder, "esd")


@pytest.mark.parametrize("corpus", ["esd", "emodb", "ravdess", "cremad"])
def test_a_folder_of_other_files_is_an_error_that_names_them(corpus, tmp_path):
    write_named(tmp_path / corpus, ["sounds/hello.wav"])
    with pytest.raises(UserError) as error:
        prepare(tmp_path / corpus, corpus)
    message = str(error.value)
    assert "1 other audio files, sounds/hello.wav the first" in message
    assert "The folder holds: sounds." in message


def test_a_labels_csv_goes_before_the_original_names(tmp_path):
    folder = write_named(tmp_path / "ravdess", ravdess_names())
    lines = [{"path": name, "speaker": name[:8]} for name in ravdess_names()]
    write_table(folder / "labels.csv", lines)
    rows = all_rows(prepare(folder, "ravdess"))
    assert {r["emo"] for r in rows.values()} == {None}


# From the YAML


def hparams_of(folder: Path, **changes) -> dict:
    keys = dict.fromkeys(("folds", "fold"), 0) | {
        **{"skip_prep": False, "protocol": "speakers", "split_seed": 0},
        **{"min_duration": 0.1, "max_duration": None, "label_map": {}},
        **{"source": "esd_en", "target": "esd_zh"},
        **{"source_folder": folder, "target_folder": folder},
        **{"source_options": {"reader": "esd", "language": "en"}},
        **{"target_options": {"reader": "esd", "language": "zh"}},
        "manifest_folder": folder.parent / "manifests",
    }
    return keys | changes


def test_each_corpus_has_the_options_of_its_own_reader(tmp_path):
    folder = write_named(tmp_path / "esd", esd_names())
    hparams = hparams_of(folder, label_map={"Surprise": "happy"})
    hparams["source_options"]["label_map"] = {"Surprise": "angry"}
    train.prepare(hparams)
    for corpus, emo in (("esd_en", "angry"), ("esd_zh", "happy")):
        rows = {}
        for split in SPLITS:
            path = tmp_path / f"manifests/{corpus}/{split}.json"
            rows |= json.loads(path.read_text("utf-8"))
        assert {r["language"] for r in rows.values()} == {corpus[-2:]}
        surprised = [r["emo"] for i, r in rows.items() if i[-2:] >= "12"]
        assert set(surprised) == {emo}


def test_one_name_cannot_be_two_corpora(tmp_path):
    folder = write_named(tmp_path / "esd", esd_names())
    hparams = hparams_of(folder, source="esd", target="esd")
    with pytest.raises(UserError, match="both named esd"):
        train.prepare(hparams)


def test_options_must_be_a_mapping(tmp_path):
    hparams = hparams_of(tmp_path, target_options="language")
    with pytest.raises(UserError, match=re.escape("target_options of esd_zh")):
        train.prepare(hparams)
