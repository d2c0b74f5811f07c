"""What a run reads, by what it is for, and what it says of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from conftest import EMOTIONS, write
from speechbrain.utils.run_opts import RunOptions

from lam_sb.corpora.names import set_by_corpus
from lam_sb.errors import UserError
from lam_sb.inputs import (
    check_phones,
    check_rows,
    choose_device,
    prep_notes,
    read_rows,
    validation_manifest,
)
from train import make_training_sampler


def write_manifest(path: Path, rows: dict[str, str | None]) -> str:
    """Write a manifest of rows by their emotions."""
    content = {
        utt_id: {
            "wav": f"{{data_root}}/{utt_id}.wav",
            "audio_sha": "0123456789abcdef",
            "duration": 1.0,
            "emo": emotion,
            "speaker": "s",
            "gender": "female",
            "corpus": "toy",
            "language": "en",
            "phones": [],
            "phone_set": "",
        }
        for utt_id, emotion in rows.items()
    }
    return str(write(path, json.dumps(content)))


def numbered(name: str, count: int) -> dict[str, str | None]:
    """Rows of each emotion, and of none, in turn."""
    return {f"{name}{n}": (*EMOTIONS, None)[n % 5] for n in range(count)}


@pytest.fixture
def hparams(tmp_path) -> dict:
    """Manifests of 10 and 5 rows of the source, 20 and 10 of the target."""
    counts = {"source_train": 10, "source_valid": 5}
    counts |= {"target_train": 20, "target_test": 10, "target_valid": 15}
    made = {
        key: write_manifest(tmp_path / f"{key}.json", numbered(key, count))
        for key, count in counts.items()
    }
    made |= {"source": "one", "source_folder": "/one", "target": "other"}
    made |= {"target_folder": "/other", "valid": made["source_valid"]}
    made |= {"select_on": "source", "target_rows": "four", "bound": "none"}
    made |= {"fit": "brain", "target_shots": 2, "split_seed": 0, "seed": 0}
    made |= {"hold_out_shots": False}
    return made


def rows_of(hparams: dict) -> dict[str, dict[str, dict]]:
    """Rows by part, of one corpus in each role."""
    read = read_rows(by_name(hparams))
    return {key: part for key, parts in read.items() for part in parts.values()}


def by_name(hparams: dict) -> dict:
    hparams = dict(hparams)
    set_by_corpus(hparams)
    return hparams


def counts_of(rows: dict) -> dict[str, int]:
    return {key: len(part) for key, part in rows.items()}


def test_rows_are_those_with_an_emotion_but_for_the_test(hparams):
    rows = rows_of(hparams)
    assert counts_of(rows) == {
        "source_train": 8,
        "source_valid": 4,
        "target_train": 16,
        "target_test": 10,
        "valid": 4,
    }
    assert rows["valid"] == rows["source_valid"]
    assert rows["source_train"]["source_train0"]["wav"] == (
        "/one/source_train0.wav"
    )
    assert rows["target_test"]["target_test0"]["wav"] == (
        "/other/target_test0.wav"
    )


def test_all_rows_of_the_target_may_be_adapted_on(hparams):
    rows = rows_of(hparams | {"target_rows": "all"})
    assert len(rows["target_train"]) == 20
    assert len(rows["source_train"]) == 8


def test_the_weights_are_selected_on_the_manifest_of_the_rule(hparams):
    both = (hparams["source_valid"], hparams["target_valid"])
    for rule in ("source", "last"):
        assert validation_manifest(rule, *both) == both[0]
    path = validation_manifest("target", *both)
    assert path == both[1]
    rows = rows_of(hparams | {"select_on": "target", "valid": path})
    assert len(rows["valid"]) == 12
    assert rows["valid"]["target_valid0"]["wav"].startswith("/other/")
    assert len(rows["source_valid"]) == 4


def test_the_whole_target_is_tested_unless_shots_are_held_out(hparams):
    hparams["target_test"] = hparams["target_train"]
    assert len(rows_of(hparams)["target_test"]) == 20
    held = hparams | {"hold_out_shots": True}
    plain = rows_of(held)
    few = rows_of(held | {"fit": "episodes", "target_shots": 0})
    assert plain.keys() == few.keys()
    assert plain["target_test"] == few["target_test"]
    # A fifth of the 16 that are both.
    assert len(plain["target_test"]) == 20 - 3
    assert len(plain["target_train"]) == 16


def test_shots_that_are_tested_are_refused(hparams):
    hparams |= {"target_test": hparams["target_train"], "fit": "episodes"}
    with pytest.raises(UserError, match="use --hold_out_shots True"):
        rows_of(hparams)
    rows = rows_of(hparams | {"target_shots": 0})
    assert len(rows["target_test"]) == 20


def test_each_seed_draws_its_own_shots_from_rows_that_are_not_tested(hparams):
    hparams |= {"fit": "episodes"}
    drawn = {
        tuple(rows_of(hparams | {"seed": seed})["shots"]) for seed in range(10)
    }
    assert len(drawn) == 10
    rows = rows_of(hparams)
    emotions = [row["emo"] for row in rows["shots"].values()]
    assert emotions == [e for e in EMOTIONS for _ in range(2)]
    assert rows["shots"].keys() < rows["target_train"].keys()
    assert len(rows["target_test"]) == 10


@pytest.mark.parametrize("bound", ["within", "oracle"])
def test_a_bound_may_not_train_on_tested_rows(bound, hparams):
    hparams |= {"bound": bound}
    rows_of(hparams)
    hparams["target_test"] = hparams["target_train"]
    message = f"bound: {bound} trains on labels of rows that are tested here"
    with pytest.raises(UserError, match=message):
        rows_of(hparams)


def test_a_missing_manifest_is_named(hparams):
    hparams["target_test"] = "/nowhere/test.json"
    with pytest.raises(UserError, match=r"/nowhere/test\.json does not exist"):
        rows_of(hparams)


def test_segments_need_phones_in_both_corpora():
    phones = [["AA1", 0.1, 0.2]]
    with_phones, without = {"a": {"phones": phones}}, {"b": {"phones": []}}
    rows = {"source_train": {"x": with_phones | without}}
    rows |= {"target_train": {"z": with_phones, "y": without}}
    hparams = {"segment": "vowels", "gamma": 1}
    hparams["manifest_folder"] = "nowhere"
    message = r"segment: vowels needs .* the 1 rows of target_train \(y\) none"
    with pytest.raises(UserError, match=message):
        check_phones(hparams, rows)
    check_phones(hparams, rows | {"target_train": {"z": with_phones}})
    check_phones(hparams | {"gamma": 0}, rows)
    check_phones(hparams | {"segment": "utterance"}, rows)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, None),
        ({"batch_size": 9}, "8 labelled training rows, .* set --batch_size 8."),
        (
            {"fit": "episodes"},
            "2 training rows of neutral, .* --episode_shots 1",
        ),
        ({"fit": "sklearn", "batch_size": 9}, None),
        ({"segment": "vowels"}, "segment: vowels needs alignments"),
    ],
)
def test_what_the_rows_are_too_few_for_is_refused(keys, message, hparams):
    hparams |= {"segment": "utterance", "gamma": 1, "batch_size": 8}
    hparams["balance"] = "corpus"
    hparams["manifest_folder"] = "nowhere"
    hparams |= {"episode_shots": 1, "episode_queries": 2, "target_shots": 0}
    rows = read_rows(by_name(hparams))
    if message is None:
        check_rows(hparams | keys, rows, make_training_sampler)
    else:
        with pytest.raises(UserError, match=message):
            check_rows(hparams | keys, rows, make_training_sampler)


def test_phones_of_no_set_are_said_where_a_system_needs_them(tmp_path):
    path = tmp_path / "y/prep_report.json"
    problem = "The alignments of y are not used: Name the set."
    write(path, json.dumps({"phones": {"rows": 2, "problem": problem}}))
    row = {"a": {"phones": []}}
    hparams = {"segment": "vowels", "gamma": 1}
    hparams["manifest_folder"] = str(tmp_path)
    rows = {"source_train": {"x": {"b": {"phones": [["i", 0, 1]]}}}}
    with pytest.raises(UserError, match=r"has any\. .*Name the set\.$"):
        check_phones(hparams, rows | {"target_train": {"y": row}})


def test_a_run_says_what_preparation_left_out(tmp_path):
    one = {"skipped": {"a": "too short", "b": "missing", "c": "too short"}}
    one["notes"] = ["Speakers of one are unknown."]
    two = {"skipped": {}, "notes": {"of": "a reader"}}  # of another version
    for corpus, report in (("one", one), ("two", two)):
        path = tmp_path / corpus / "prep_report.json"
        write(path, json.dumps(report))
    hparams = {"manifest_folder": str(tmp_path), "sources": ["one"]}
    lines = [
        "Speakers of one are unknown.",
        "Preparation dropped 3 utterances of one (1 missing, 2 too short); "
        f"{tmp_path}/one/prep_report.json names them.",
    ]
    assert prep_notes(hparams | {"targets": ["two"]}) == lines
    assert prep_notes(hparams | {"targets": ["one"]}) == lines
    # Manifests of the user's own have no report.
    assert prep_notes(hparams | {"targets": ["three"]}) == lines


def test_a_gpu_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    options = RunOptions(device="cuda:1")
    with pytest.raises(UserError, match="--device cuda:1: no GPU is usable"):
        choose_device(options)
    assert choose_device(RunOptions(device="cpu")) == "cpu"
    assert choose_device(RunOptions()) == "cpu"


@pytest.mark.parametrize(
    ("source", "given"),
    [("a", {"b": "x"}), ("a", {}), ("a+b", {"a": "x", "b": {"c": "x"}})],
)
def test_a_mapping_where_a_path_belongs_is_refused(source, given):
    hparams = {"source": source, "target": "c", "select_on": "last"}
    hparams |= {"source_folder": given, "target_folder": "x"}
    with pytest.raises(UserError, match=r"source_folder of . is \{.*a path"):
        set_by_corpus(hparams)
