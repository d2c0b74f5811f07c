"""Splits by speaker, folds and the transductive protocol."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import EMOTIONS
from toy_corpora import by_speaker, column, prepare, write_corpus_of

from lam_sb.corpora.manifests import SPLITS
from lam_sb.corpora.options import PrepOptions
from lam_sb.errors import UserError


@pytest.fixture
def save(tmp_path) -> Path:
    return tmp_path / "manifests/toy"


@pytest.fixture
def ten_speakers(tmp_path) -> Path:
    return write_corpus_of(tmp_path / "ten", by_speaker(10))


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


def test_podcasts_stand_for_speakers_that_are_unknown(tmp_path, save):
    lines = [
        {"path": f"PODCAST_{show}_{n}.wav", "emotion": "sad"}
        for show in range(5)
        for n in range(3)
    ]
    manifests = prepare(write_corpus_of(tmp_path / "toy", lines), save)
    shows = [{i.split("_")[1] for i in manifests[split]} for split in SPLITS]
    assert [len(s) for s in shows] == [3, 1, 1]
    assert len(set.union(*shows)) == 5


def test_rows_of_which_nothing_is_known_are_split_one_by_one(tmp_path, save):
    lines = [{"path": f"x{n}.wav"} for n in range(10)]
    manifests = prepare(write_corpus_of(tmp_path / "toy", lines), save)
    assert [len(manifests[split]) for split in SPLITS] == [6, 2, 2]
    report = manifests["prep_report"]
    assert report["speaker_labels"] == "unknown"
    assert report["notes"] == [
        "The speaker of 10 of 10 rows of toy is unknown: they count each as a "
        "recording of its own, and one speaker may stand in two splits."
    ]


@pytest.mark.parametrize("name", ["Unknown", "nan", "NA", "none", "-", ""])
def test_rows_without_a_name_are_no_speaker_of_their_own(name, tmp_path, save):
    lines = by_speaker(3, takes=2)
    for line in lines[1::2]:  # 12 of 24
        line["speaker"] = name
    report = prepare(write_corpus_of(tmp_path / "toy", lines), save)[
        "prep_report"
    ]
    assert report["speaker_labels"] == "partly"
    named = set()
    for split in SPLITS:
        rows = json.loads((save / f"{split}.json").read_text()).values()
        named |= {row["speaker"] for row in rows}
    assert named == {"s00", "s01", "s02", "unknown"}
    assert report["notes"][0].startswith("The speaker of 12 of 24 rows of toy")


def test_a_transductive_target_needs_no_split(tmp_path, save):
    folder = write_corpus_of(tmp_path / "toy", by_speaker(1, takes=2))
    manifests = prepare(folder, save, protocol="transductive")
    assert [len(manifests[split]) for split in SPLITS] == [8, 0, 8]
    with pytest.raises(UserError, match=r"1 speakers .*protocol transductive"):
        prepare(folder, save)


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
