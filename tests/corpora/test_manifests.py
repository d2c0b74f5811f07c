"""Reading manifests, and the clusters of their rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from toy_corpora import by_speaker, prepare, write_corpus_of

from lam_sb.corpora.manifests import (
    SPLITS,
    cluster_of,
    read_manifest,
    target_train_path,
)
from lam_sb.errors import UserError


def good_row(**changes) -> dict:
    row = {
        "wav": "{data_root}/a.wav",
        "audio_sha": "0123456789abcdef",
        "duration": 1.5,
        "emo": "sad",
        "speaker": "1",
        "gender": "unknown",
        "corpus": "toy",
        "language": "en",
        "phones": [["AA", 0.1, 0.2]],
        "phone_set": "arpa",
    }
    row |= changes
    return {k: v for k, v in row.items() if v is not Ellipsis}


def write_manifest(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


def test_a_manifest_is_read_with_its_root_filled_in(tmp_path):
    path = write_manifest(tmp_path / "m.json", {"a": good_row()})
    rows = read_manifest(path, tmp_path / "corpus")
    assert rows == {"a": good_row(wav=f"{tmp_path}/corpus/a.wav")}


def test_what_prepare_writes_can_be_read(tmp_path):
    folder = write_corpus_of(tmp_path / "ten", by_speaker(10))
    manifests = prepare(folder, tmp_path / "toy")
    for split in SPLITS:
        rows = read_manifest(tmp_path / f"toy/{split}.json", folder)
        assert list(rows) == list(manifests[split])
        assert all(Path(row["wav"]).is_file() for row in rows.values())


@pytest.mark.parametrize("name", list(good_row()))
def test_a_missing_field_is_named(name, tmp_path):
    rows = {"a": good_row(), "b": good_row(**{name: ...})}
    path = write_manifest(tmp_path / "m.json", rows)
    with pytest.raises(UserError, match=rf"m\.json, row b: {name} missing"):
        read_manifest(path, "")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("duration", "1.5"),
        ("speaker", 1),
        ("phones", None),
        ("phone_set", None),
        ("emo", 2),
    ],
)
def test_a_field_of_a_wrong_type_is_named(name, value, tmp_path):
    rows = {"a": good_row(**{name: value})}
    path = write_manifest(tmp_path / "m.json", rows)
    with pytest.raises(UserError, match=rf"row a: {name} .*wrong type"):
        read_manifest(path, "")


def test_another_emotion_is_an_error_that_lists_the_four(tmp_path):
    path = write_manifest(tmp_path / "m.json", {"a": good_row(emo="fear")})
    with pytest.raises(UserError, match=r"'fear'.*neutral, happy, angry, sad"):
        read_manifest(path, "")


@pytest.mark.parametrize(
    "changes",
    [{"phone_set": "ipa"}, {"phone_set": ""}, {"phones": []}],
)
def test_a_phone_set_belongs_to_phones_and_is_known(changes, tmp_path):
    path = write_manifest(tmp_path / "m.json", {"a": good_row(**changes)})
    with pytest.raises(UserError, match=r"row a: phone_set is .* espeak, or"):
        read_manifest(path, "")


def test_a_row_without_phones_has_no_phone_set(tmp_path):
    row = good_row(phones=[], phone_set="")
    path = write_manifest(tmp_path / "m.json", {"a": row})
    assert read_manifest(path, "")["a"]["phone_set"] == ""


def test_a_row_without_a_label_is_read(tmp_path):
    path = write_manifest(tmp_path / "m.json", {"a": good_row(emo=None)})
    assert read_manifest(path, "")["a"]["emo"] is None


def test_a_missing_manifest_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"none\.json does not exist"):
        read_manifest(tmp_path / "none.json", "")


@pytest.mark.parametrize("content", [b"{", b"", b"\xff\xfe{\x00"])
def test_a_manifest_that_is_no_json_is_an_error(content, tmp_path):
    (tmp_path / "m.json").write_bytes(content)
    with pytest.raises(UserError, match="is no JSON"):
        read_manifest(tmp_path / "m.json", "")


@pytest.mark.parametrize("content", [{}, [], None, [good_row()], "rows"])
def test_a_manifest_without_rows_is_an_error(content, tmp_path):
    path = write_manifest(tmp_path / "m.json", content)
    with pytest.raises(UserError, match="holds no rows"):
        read_manifest(path, "")


@pytest.mark.parametrize("row", [None, "wav", ["wav"]])
def test_a_row_that_is_no_mapping_is_an_error(row, tmp_path):
    path = write_manifest(tmp_path / "m.json", {"a": row})
    with pytest.raises(UserError, match="row a: wav"):
        read_manifest(path, "")


@pytest.mark.parametrize(
    ("utt_id", "speaker", "cluster"),
    [
        ("MSP-PODCAST_0001_0008", "30", "30"),
        ("MSP-PODCAST_0001_0008", "unknown", "MSP-PODCAST_0001"),
        ("MSP-PODCAST_0001_0008_0002", "unknown", "MSP-PODCAST_0001"),
        ("myPodcast2_17_4", "unknown", "myPodcast2_17"),
        ("MSP-PODCAST_0001", "unknown", "MSP-PODCAST_0001"),
        ("03a01Fa", "unknown", "03a01Fa"),
        ("s1_sad_7_b", "unknown", "s1_sad_7_b"),
    ],
)
def test_a_cluster_is_the_speaker_the_podcast_or_the_recording(
    utt_id, speaker, cluster
):
    assert cluster_of(utt_id, speaker) == cluster


def test_a_target_adapts_on_train_or_transductively_on_test():
    assert target_train_path("m", "x", "speakers") == "m/x/train.json"
    assert target_train_path("m", "x", "transductive") == "m/x/test.json"
