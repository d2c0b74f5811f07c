"""TextGrids of the command align in a corpus with a labels.csv."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from toy_corpora import FOUR_FILES, READERS, in_splits, write_corpus_of

from lam_sb.corpora.options import PrepOptions
from lam_sb.corpora.prepare import prepare_corpus
from lam_sb.corpora.textgrids import (
    APPROXIMATE_TIER,
    alignment_path,
    is_approximate,
    write_textgrid,
)
from lam_sb.errors import UserError
from lam_sb.inputs import prep_notes

PHONES = [(0.02, 0.05, "ts."), (0.05, 0.1, "ˈiː"), (0.12, 0.2, "n")]
READ = [["ts.", 0.02, 0.05], ["ˈiː", 0.05, 0.1], ["n", 0.12, 0.2]]
NOTE = (
    "The phone times of toy are approximate: eSpeak NG's, carried over by "
    "dynamic time warping."
)


@pytest.fixture
def save(tmp_path) -> Path:
    return tmp_path / "manifests/toy"


@pytest.fixture
def corpus(tmp_path) -> Path:
    """Four rows: the audio of two in a folder, the others are valid, test."""
    lines = in_splits({"path": "audio/a.wav"}, {"path": "audio/b.wav"})
    return write_corpus_of(tmp_path / "toy", lines)


def write(path: Path, tier: str = APPROXIMATE_TIER, phones=PHONES) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_textgrid(path, {"words": [(0.02, 0.2, "geheim")], tier: phones}, 0.2)


def prepare(folder: Path, save: Path, **options) -> dict:
    """Prepare with the reader's options; give rows and report by stem."""
    prepare_corpus("toy", folder, save, PrepOptions(), READERS, **options)
    return {
        Path(name).stem: json.loads((save / name).read_text("utf-8"))
        for name in FOUR_FILES
    }


def test_their_phones_are_used_and_each_report_says_so(corpus, save, tmp_path):
    write(corpus / "TextGrids/audio/a.TextGrid")
    manifests = prepare(corpus, save)
    row = manifests["train"]["a"]
    assert (row["phones"], row["phone_set"]) == (READ, "espeak")
    assert manifests["train"]["b"]["phones"] == []
    report = manifests["prep_report"]
    assert report["phones"] == {
        **{"phone_set": "espeak", "rows": 1, "approximate": 1, "foreign": {}}
    }
    assert NOTE in report["notes"]
    keys = {"sources": ["toy"], "targets": ["toy"]}
    assert NOTE in prep_notes(keys | {"manifest_folder": save.parent})
    for name in ("train.json", "prep_report.json", "alignment_cache.json"):
        assert "geheim" not in (save / name).read_text("utf-8")


def test_exact_ones_are_not_called_approximate(corpus, save):
    exact = [(0.02, 0.05, "SH"), (0.05, 0.1, "IY1")]
    write(corpus / "TextGrids/audio/a.TextGrid", "phones", exact)
    report = prepare(corpus, save)["prep_report"]
    assert report["phones"] == {"phone_set": "arpa", "rows": 1, "foreign": {}}
    assert NOTE not in report["notes"]


def test_those_that_are_not_used_are_no_limit(corpus, save):
    write(corpus / "TextGrids/audio/a.TextGrid", phones=[(0.0, 0.1, "ɮ")])
    report = prepare(corpus, save)["prep_report"]
    assert "does not have: ɮ" in report["phones"]["problem"]
    assert "phone_set: espeak" in report["phones"]["problem"]
    assert NOTE not in report["notes"]
    named = prepare(corpus, save, phone_set="espeak")["prep_report"]["phones"]
    assert named["foreign"] == {"ɮ": 1}


def test_they_may_lie_elsewhere(corpus, save, tmp_path):
    write(corpus / "TextGrids/audio/a.TextGrid")
    write(tmp_path / "else/audio/b.TextGrid")
    rows = prepare(corpus, save, alignment_dir=str(tmp_path / "else"))["train"]
    assert (rows["a"]["phones"], rows["b"]["phones"]) == ([], READ)
    with pytest.raises(UserError, match="correct the option alignment_dir"):
        prepare(corpus, save, alignment_dir="nowhere")


def test_a_column_of_alignments_goes_first(tmp_path, save):
    line = {"path": "audio/a.wav", "alignment": "mine.TextGrid"}
    corpus = write_corpus_of(tmp_path / "toy", in_splits(line))
    write(corpus / "TextGrids/audio/a.TextGrid")
    write(corpus / "mine.TextGrid", "phones", [(0.0, 0.1, "SH")])
    phones = prepare(corpus, save)["train"]["a"]["phones"]
    assert phones == [["SH", 0.0, 0.1]]


def test_two_kinds_do_not_go_together(corpus, save):
    write(corpus / "TextGrids/audio/a.TextGrid")
    write(corpus / "TextGrids/audio/b.TextGrid", "phones")
    message = "1 of 2 TextGrids were made by the command align"
    manifests = prepare(corpus, save)
    assert message in manifests["prep_report"]["phones"]["problem"]
    assert manifests["train"]["a"]["phones"] == []
    for number in ("003", "004"):
        write(corpus / f"TextGrids/{number}.TextGrid")
    with pytest.raises(UserError, match="3 of 4 TextGrids were made"):
        prepare(corpus, save, require_alignment=True)


def test_another_set_is_refused(corpus, save):
    write(corpus / "TextGrids/audio/a.TextGrid")
    report = prepare(corpus, save, phone_set="arpa")["prep_report"]
    assert "not of phone_set: arpa" in report["phones"]["problem"]


def test_what_align_made_is_known_by_its_tier(tmp_path):
    write(tmp_path / "ours.TextGrid")
    write(tmp_path / "other.TextGrid", "eSpeak NG - phones")
    assert is_approximate(tmp_path / "ours.TextGrid")
    assert not is_approximate(tmp_path / "other.TextGrid")


@pytest.mark.parametrize(
    ("audio", "path"),
    [
        ("a.wav", "T/a.TextGrid"),
        ("x/a.b.flac", "T/x/a.b.TextGrid"),
        ("/corpora/a.wav", "T/corpora/a.TextGrid"),
        ("../other/a.wav", "T/other/a.TextGrid"),
    ],
)
def test_textgrids_lie_as_the_audio_does(audio, path):
    assert alignment_path("T", audio) == path
