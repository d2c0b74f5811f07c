"""What a result rests on."""

from __future__ import annotations

import copy

import pytest

from lam_sb.data import check_not_tested, describe_data, differing_data
from lam_sb.errors import UserError

PLAIN = {"select_on": "source", "bound": "none", "segment": "utterance"}
PHONES = [["AA1", 0.1, 0.2]]


def part(name: str, count: int = 3, **keys) -> dict[str, dict]:
    row = {"speaker": "s", "emo": "sad", "phones": [], "phone_set": "", **keys}
    return {
        f"{name}{n}": row | {"audio_sha": f"{name}{n}", "wav": f"/a/{n}.wav"}
        for n in range(count)
    }


@pytest.fixture
def rows() -> dict[str, dict]:
    names = ("source_train", "source_valid", "target_train", "target_test")
    made = {name: {"one": part(name)} for name in names}
    return made | {"valid": made["source_valid"]}


def change(rows: dict, name: str, **keys) -> dict:
    """The same rows, but for one."""
    changed = copy.deepcopy(rows)
    changed[name]["one"][f"{name}1"] |= keys
    return changed


def told(hparams: dict, one: dict, two: dict, store="w-1") -> list[str]:
    before = describe_data(hparams, one, "w-1")
    return differing_data(before, describe_data(hparams, two, store))


@pytest.mark.parametrize(
    "name", ["source_train", "source_valid", "target_train", "target_test"]
)
def test_what_a_row_holds_is_what_a_result_rests_on(name, rows):
    for key, field in (("speaker", "speakers"), ("audio_sha", "audio")):
        found = told(PLAIN, rows, change(rows, name, **{key: "x"}))
        assert found == [f"the {field} of {name}"]
    found = told(PLAIN, rows, rows | {name: {"one": part(name, 2)}})
    assert found == [f"the rows of {name} (3 there, 2 now)"]
    renamed = {f"x{i}": row for i, row in rows[name]["one"].items()}
    found = told(PLAIN, rows, rows | {name: {"one": renamed}})
    assert found == [f"the rows of {name} (3, but not the same)"]


def test_where_a_corpus_lies_is_not(rows):
    moved = change(rows, "source_train", wav="/elsewhere/0.wav")
    assert told(PLAIN, rows, moved) == []


@pytest.mark.parametrize(
    "name", ["source_train", "source_valid", "target_test"]
)
def test_labels_that_are_read_count(name, rows):
    found = told(PLAIN, rows, change(rows, name, emo="happy"))
    assert found == [f"the labels of {name}"]


def test_labels_of_the_target_count_where_they_decide(rows):
    other = change(rows, "target_train", emo="happy")
    assert told(PLAIN, rows, other) == []
    found = told(PLAIN | {"bound": "oracle"}, rows, other)
    assert found == ["the labels of target_train"]
    shots = {"shots": {"one": part("target_train", 1)}}
    found = told(PLAIN, rows | shots, other | shots)
    assert found == ["the labels of shots"]
    # Shots come from no tested row, and its label scores the test.
    tested = rows | {"target_test": rows["target_train"]} | shots
    other = tested | {"target_test": change(rows, "target_train", emo="happy")}
    other["target_test"] = other["target_test"]["target_train"]
    other["target_train"] = other["target_test"]
    assert told(PLAIN, tested, other) == ["the labels of target_test"]


def test_weights_selected_on_the_target_rest_on_its_labels(rows):
    rows["valid"] = {"one": part("valid")}
    found = told(
        PLAIN | {"select_on": "target"},
        rows,
        change(rows, "valid", emo="happy"),
    )
    assert found == ["the labels of target_valid"]


def test_phones_count_where_a_segment_is_made_of_them(rows):
    phones = {"phones": PHONES, "phone_set": "arpa"}
    aligned = change(rows, "target_train", **phones)
    assert told(PLAIN, rows, aligned) == []
    found = told(PLAIN | {"segment": "vowels"}, rows, aligned)
    assert found == ["the phones of target_train"]


def test_another_store_is_another_result(rows):
    assert told(PLAIN, rows, rows, store="w-2") == [
        "the feature store (w-1 there, w-2 now)"
    ]


def test_the_source_under_another_name_is_no_target(rows):
    rows["target_test"] |= {"other": part("other")}
    check_not_tested(rows)
    again = rows["source_valid"]["one"]["source_valid2"]
    rows["target_test"]["other"]["x"] = again
    message = r"1 of the 4 test rows of other are labelled rows of .* one too"
    with pytest.raises(UserError, match=message):
        check_not_tested(rows)


def test_the_same_samples_in_another_file_are_the_same_audio(rows):
    rows["target_test"] |= {"other": part("other")}
    trained = rows["source_train"]["one"]["source_train1"]
    tested = rows["target_test"]["other"]["other0"]
    trained["signal_sha"], tested["signal_sha"] = "0a", "0b"
    check_not_tested(rows)
    tested["signal_sha"] = "0a"  # as of a WAV and a FLAC file
    with pytest.raises(UserError, match="1 of the 3 test rows of other"):
        check_not_tested(rows)
