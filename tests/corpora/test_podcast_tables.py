"""Label tables of podcasts: other columns, votes, and what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from toy_podcasts import HEADER, KEPT, column, prepare, rows_of, write_podcast

from lam_sb.corpora.manifests import SPLITS, cluster_of
from lam_sb.errors import UserError


@pytest.fixture
def msp(tmp_path) -> Path:
    return write_podcast(tmp_path / "msp")


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
    assert report["facts"]["unlabelled"] == counts


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
    assert report["facts"]["unlabelled"] == counts


def test_votes_that_are_no_numbers_are_an_error(tmp_path):
    rows = rows_of()
    rows = [{**row, "sad": "1", "angry": "many"} for row in rows]
    for row in rows:
        del row["EmoClass"]
    folder = write_podcast(tmp_path / "c", rows=rows)
    with pytest.raises(UserError, match=r"sad, angry .*votes.*many"):
        prepare(folder, "biic_podcast")


def test_without_a_column_of_speakers_rows_count_by_podcast(tmp_path):
    rows = rows_of("BIIC")
    for row in rows:
        del row["SpkrID"]
    folder = write_podcast(tmp_path / "c", rows=rows)
    manifests = prepare(folder, "biic_podcast")
    speakers = column(manifests["valid"], "speaker")
    assert set(speakers.values()) == {"unknown"}
    clusters = {cluster_of(i, s) for i, s in speakers.items()}
    assert clusters == {"BIIC-PODCAST_0004"}
    report = manifests["prep_report"]
    assert report["speaker_labels"] == "unknown"
    assert report["speakers"] == {"train": 0, "valid": 0, "test": 0}
    assert (
        "The speaker of 44 of 44 rows of biic_podcast is unknown: they count "
        "by podcast, and one speaker may stand in two splits."
    ) in report["notes"]
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
