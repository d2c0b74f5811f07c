"""The command ``check``: what it says of a corpus."""

from __future__ import annotations

import pytest
from conftest import make_corpus, read_table, write_table, write_wav

from lam_sb.__main__ import main
from lam_sb.errors import UserError


@pytest.fixture
def corpus(tmp_path):
    make_corpus(tmp_path / "mine")
    return tmp_path / "mine"


def files(folder):
    return {p: p.stat().st_mtime_ns for p in folder.rglob("*")}


def said(corpus, capsys, *options) -> list[str]:
    capsys.readouterr()
    main(["check", str(corpus), *options])
    return capsys.readouterr().out.splitlines()


def test_it_counts_what_is_kept_and_writes_nothing(corpus, capsys):
    before, rows = files(corpus), read_table(corpus / "labels.csv")
    lines = said(corpus, capsys)
    assert lines[0] == f"mine: {len(rows)} of {len(rows)} rows are kept."
    parts = [line for line in lines if line.startswith(("  train:", "  test:"))]
    assert len(parts) == 2
    assert all("speakers: angry" in part for part in parts)
    assert any("hours; seconds an utterance: median" in line for line in lines)
    assert files(corpus) == before


def test_what_is_dropped_is_named_with_its_reason(corpus, capsys):
    rows = read_table(corpus / "labels.csv")
    (corpus / rows[3]["path"]).write_text("no audio")
    copied = (corpus / rows[4]["path"]).read_bytes()
    (corpus / rows[5]["path"]).write_bytes(copied)
    lines = said(corpus, capsys)
    assert lines[0] == f"mine: {len(rows) - 2} of {len(rows)} rows are kept."
    assert any("dropped: 1 unreadable audio (" in line for line in lines)
    assert any("dropped: 1 same audio as an earlier" in line for line in lines)


def test_it_says_what_to_mend(corpus, capsys):
    rows = read_table(corpus / "labels.csv")
    for row in rows:
        row.pop("speaker")
        row["emotion"] = "sad" if row["emotion"] == "sad" else "neutral"
        row.pop("split", None)
    write_table(corpus / "labels.csv", rows)
    write_wav(corpus / rows[0]["path"], 1, count=16000 * 25)
    text = "\n".join(said(corpus, capsys))
    assert "few rows to train on (" in text
    assert "happy 0, angry 0" in text
    assert "add a column speaker to the table" in text
    assert "1 rows are longer than 20 s: cut them" in text


def test_options_go_to_the_reader(corpus, capsys):
    rows = read_table(corpus / "labels.csv")
    for row in rows:
        if row["emotion"] == "happy":
            row["emotion"] = "glee"
    write_table(corpus / "labels.csv", rows)
    with pytest.raises(UserError, match="glee"):
        main(["check", str(corpus)])
    options = ("--options", "{label_map: {glee: happy}}", "--name", "other")
    lines = said(corpus, capsys, *options)
    assert lines[0].startswith("other: ")
    assert any("happy" in line for line in lines)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "arguments are required: corpus"),
        (["gone"], "gone: there is no such folder"),
        ([".", "--options", "[1]"], "takes a mapping"),
        ([".", "--options", "{a"], "no valid YAML"),
        ([".", "--protocol", "x"], "invalid choice: 'x'"),
        (["."], "Nothing reads the corpus"),
    ],
)
def test_a_mistake_is_one_sentence(words, message, tmp_path, monkeypatch):
    (tmp_path / "data_prep").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        main(["check", *words])
