"""Names of speakers and emotions: which are none, and whose are mapped."""

from __future__ import annotations

import pytest
from conftest import ROOT
from toy_corpora import by_speaker, write_corpus_of

from lam_sb.corpora.labels import KNOWN_EMOTIONS, known_name, map_emotions
from lam_sb.corpora.manifests import read_manifest
from lam_sb.corpora.options import PrepOptions
from lam_sb.corpora.pair import prepare_pair
from lam_sb.errors import UserError


@pytest.mark.parametrize(
    "cell",
    [
        *("<NA>", "N.A.", "#N/A", "Not available", "not_applicable", "NaT"),
        *("unknown speaker", "anonymous", "(missing)", "<unk>", "--", "???"),
        *("-1", "-1.0", "未知", "", "Null", "n/a"),
    ],
)
def test_a_cell_that_names_nobody_is_no_speaker(cell):
    assert known_name(cell) == "unknown"


@pytest.mark.parametrize(
    "cell", ["1", "0", "-2", "Nana", "M. Nan", "x", "李", "*"]
)
def test_a_short_or_odd_name_is_one(cell):
    assert known_name(cell) == cell


def test_case_does_not_count_in_a_label_map():
    def mapped(**label_map) -> dict:
        values = ["JOY", "Gruff"]
        return map_emotions("toy", values, KNOWN_EMOTIONS, label_map)

    assert mapped(Joy=None, gruff="angry") == {"JOY": None, "Gruff": "angry"}
    with pytest.raises(UserError, match="GRUFF two emotions, as case"):
        mapped(gruff="angry", GRUFF="sad")


@pytest.fixture
def run(tmp_path):
    """Return a function: prepare a corpus with gruff, and one with calm."""
    for corpus, name in (("one", "Gruff"), ("two", "calm")):
        lines = by_speaker(6)
        for line in lines:
            line["emotion"] = line["emotion"].replace("neutral", name)
        write_corpus_of(tmp_path / corpus, lines)

    def prepare(label_map: dict, own: dict | None = None) -> dict:
        prepare_pair(
            source="one",
            target="two",
            source_folder=str(tmp_path / "one"),
            target_folder=str(tmp_path / "two"),
            source_options={"label_map": own} if own else {},
            target_options={},
            label_map=label_map,
            manifest_folder=str(tmp_path / "m"),
            options=PrepOptions(),
            readers_folder=ROOT / "data_prep",
        )
        rows = read_manifest(tmp_path / "m/one/train.json", tmp_path / "one")
        return {i: row["emo"] for i, row in rows.items()}

    return prepare


def test_a_name_that_neither_corpus_has_is_refused(run):
    run({"gruff": "angry", "CALM": "neutral"})  # each of one corpus
    names = "one: Gruff, angry, happy, sad; two: angry, calm, happy, sad."
    with pytest.raises(UserError, match=f"'grufff', .*one or two.*{names}"):
        run({"gruff": None, "grufff": None})
    with pytest.raises(UserError, match=r"'gruff:sad', .*a space after each"):
        run({"gruff": "sad", "gruff:sad": None})


def test_a_corpuss_own_names_go_before_those_of_both(run):
    shared = {"calm": "neutral", "Gruff": "angry", "sad": None}
    emotions = run(shared, {"gruff": "neutral"}).values()
    assert set(emotions) == {"neutral", "happy", "angry", None}
    with pytest.raises(UserError, match="'calm', but no row of one has"):
        run({"gruff": "neutral"}, {"calm": "neutral"})
