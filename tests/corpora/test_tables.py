"""Columns of label tables: nearly right names, delimiters, what is unused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import EMOTIONS, write_wav
from toy_corpora import READERS

from lam_sb.corpora.manifests import SPLITS
from lam_sb.corpora.options import PrepOptions
from lam_sb.corpora.prepare import prepare_corpus
from lam_sb.corpora.tables import Table, read_table, table_facts
from lam_sb.errors import UserError

ROWS = [
    (f"take{n}.wav", EMOTIONS[n % 4], f"p{n % 5}", "en", "f") for n in range(20)
]


@pytest.fixture
def prepare(tmp_path):
    """Return a function: prepare ROWS with this text in labels.csv."""
    for number, (path, *_) in enumerate(ROWS):
        write_wav(tmp_path / "c" / path, number)

    def run(text: str, **options) -> tuple[dict, dict]:
        (tmp_path / "c/labels.csv").write_text(text, encoding="utf-8")
        common = (PrepOptions(), READERS)
        prepare_corpus("c", tmp_path / "c", tmp_path / "m", *common, **options)
        rows, name = {}, "prep_report.json"
        for split in SPLITS:
            rows |= json.loads((tmp_path / f"m/{split}.json").read_text())
        return rows, json.loads((tmp_path / "m" / name).read_text())

    return run


def table_of(header: str, delimiter: str = ",") -> str:
    lines = [header, *(delimiter.join(row) for row in ROWS)]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("path", "emotion", "speaker", "language", "gender"),
    [
        ("path", "emotion", "speaker", "language", "gender"),
        ("Path", "Emotion", "Speaker", "Language", "Gender"),
        ("FILE_NAME", "EMO", "SPKR ID", "LANG", "SEX"),
        ("wav path", "Emo-Label", "speaker-name", "lang", "Speaker Gender"),
        ("audio_file", "EmoClass", "SpkrID", "Language_Code", "sex"),
    ],
)
def test_the_usual_names_of_columns_are_read(
    path, emotion, speaker, language, gender, prepare
):
    header = ",".join((path, emotion, speaker, language, gender))
    rows, report = prepare(table_of(header))
    for name, emo, person, spoken, sex in ROWS:
        row = rows[Path(name).stem]
        assert (row["emo"], row["speaker"]) == (emo, person)
        assert (row["language"], row["gender"]) == (spoken, sex)
    assert report["facts"] == {"unlabelled": {}}
    assert report["speaker_labels"] == "known"


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_fields_are_parted_by_any_usual_sign(delimiter, mark, prepare):
    header = delimiter.join(("path", "emo", "speaker", "language", "gender"))
    rows, _ = prepare(mark + table_of(header, delimiter))
    assert [rows[f"take{n}"]["speaker"] for n in range(6)] == [
        *("p0", "p1", "p2", "p3", "p4", "p0")
    ]


def test_blank_rows_are_skipped_and_counted(prepare):
    text = table_of("path,emotion,speaker,language,gender")
    first, rest = text.split("\n", 1)
    rows, report = prepare(f"{first}\n,,,,\n\n{rest} , ,\n")
    assert len(rows) == 20
    assert report["facts"] == {"unlabelled": {}, "blank_rows": 3}


def test_a_row_without_a_path_is_shown(prepare):
    text = table_of("path,emotion,speaker,language,gender")
    with pytest.raises(UserError, match=r"no path: .*'emotion': 'happy'"):
        prepare(f"{text},happy,p1,en,f\n")


def test_a_row_of_too_many_fields_is_named_by_its_line(prepare):
    text = table_of("path,emotion,speaker,language,gender")
    with pytest.raises(UserError, match=r"line 22, has 6 fields.* 5 columns"):
        prepare(f"{text}take1.wav,sad,Doe, Jane,en,f\n")


QUOTES = [
    ['a.wav{d}"I never{d}sad', "b.wav{d}good{d}happy", 'c.wav{d}"Oh, no{d}sad'],
    ["a.wav{d}good{d}happy", 'b.wav{d}"I never{d}sad'],  # the last row
    ['a.wav{d}"Oh{d}sad', *["b.wav{d}good{d}happy"] * 20_000],  # too long
]


@pytest.mark.parametrize("rows", QUOTES)
@pytest.mark.parametrize("delimiter", ["\t", ";", ","])
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_quote_that_is_not_closed_swallows_no_rows(
    rows, delimiter, end, tmp_path
):
    path = tmp_path / "labels.csv"
    lines = ["path{d}text{d}emotion", *rows]
    path.write_text("\n".join(lines).replace("{d}", delimiter) + end)
    line = 2 if len(rows) != 2 else 3
    with pytest.raises(UserError, match=f"line {line}: .*a quote .* not clos"):
        read_table(path)


def test_closed_quotes_are_read(tmp_path):
    path = tmp_path / "labels.csv"
    text = 'path,text\na.wav,"no, ""never"", no"\nb.wav,so "he" said\n'
    path.write_text(text + 'c.wav,"two\nlines"\n')
    assert [row["text"] for row in read_table(path).rows] == [
        'no, "never", no',
        'so "he" said',
        "two\nlines",
    ]


def test_columns_that_are_not_read_are_named(prepare):
    rows, report = prepare(table_of("path,emotion,the_speaker,dialect,mood"))
    assert {row["speaker"] for row in rows.values()} == {"unknown"}
    unused = ["the_speaker", "dialect", "mood"]
    assert report["facts"]["unused_columns"] == unused
    note = "No column of c (labels.csv) is read as the speaker. If one of "
    note += "those that are not read is it (the_speaker, dialect, mood), say "
    note += 'which: --source_options "{columns: {speaker: the_speaker}}" (or '
    note += "--target_options)."
    assert report["notes"][0] == note
    columns = {"speaker": "the_speaker"}
    rows, report = prepare(
        table_of("path,emotion,the_speaker,dialect,mood"), columns=columns
    )
    assert rows["take3"]["speaker"] == "p3"
    assert report["notes"] == []


def notes_of(*columns: str, **used: str | None) -> list[str]:
    return table_facts("toy", Table("t.csv", [*columns], []), used, {})[1]


def test_what_no_column_holds_is_said_with_all_that_are_not_read():
    notes = notes_of("file", "Kind", "Class Name", "who", path="file")
    assert notes == []  # nothing else is looked for
    columns = ("file", "Kind", "Class Name", "Person ID", "remark")
    emotion, speaker = notes_of(
        *columns, path="file", emotion=None, speaker=None, gender=None
    )
    listed = "(Kind, Class Name, Person ID, remark)"
    assert emotion.startswith(
        "No column of toy (t.csv) is read as the emotion."
    )
    assert listed in emotion
    assert '"{columns: {emotion: Class Name}}"' in emotion
    assert listed in speaker
    assert '"{columns: {speaker: Person ID}}"' in speaker
    many = [f"feature_{n}" for n in range(88)]
    (note,) = notes_of("file", *many, path="file", speaker=None)
    assert "feature_11 and 76 more)" in note
    assert notes_of("file", path="file", speaker=None) == []
    table = Table("t.csv", ["file", "who"], [])
    used = {"path": "file", "speaker": None}
    assert table_facts("toy", table, used, {"speaker": None})[1] == []


def test_a_gender_is_said_only_where_a_column_looks_like_it():
    assert notes_of("file", "mood", path="file", gender=None) == []
    (note,) = notes_of("file", "mood", "Gender_F", path="file", gender=None)
    assert (
        "as the gender. If one of those that are not read is it (Gend" in note
    )


def test_of_two_columns_for_one_thing_the_user_says_which(prepare):
    text = table_of("path,emotion,talker,spk,gender")
    with pytest.raises(
        UserError, match=r"speaker: talker, spk\. .*speaker: ta"
    ):
        prepare(text)
    rows, _ = prepare(text, columns={"speaker": "talker"})
    assert rows["take3"]["speaker"] == "p3"
    # The column's own name goes before its variants.
    rows, report = prepare(table_of("path,emotion,speaker,spk,gender"))
    assert rows["take3"]["speaker"] == "p3"
    assert report["facts"]["unused_columns"] == ["spk"]


def test_a_column_need_not_be_read(prepare):
    text = table_of("path,emotion,speaker,language,subset")
    with pytest.raises(UserError, match=r"'f' .*\{columns: \{split: null\}\}"):
        prepare(text)
    rows, report = prepare(text, columns={"split": None})
    assert len(rows) == 20
    assert report["facts"]["unused_columns"] == ["subset"]
    assert report["notes"] == []


def test_two_columns_of_one_name_are_refused(tmp_path):
    (tmp_path / "a.csv").write_text("path,speaker,speaker\nx,1,2\n")
    with pytest.raises(UserError, match="two columns 'speaker'"):
        read_table(tmp_path / "a.csv")
