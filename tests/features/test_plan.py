from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from conftest import make_encoder
from stores import (
    PHONES,
    extract,
    make_store,
    visible_files,
)

from lam_sb.features import plan
from lam_sb.features.encoders import FrozenEncoder
from lam_sb.features.plan import row_key
from lam_sb.features.store import FeatureStore

pytestmark = pytest.mark.usefixtures("small_shards")


def plan_of(store) -> list[list[str]]:
    shards = json.loads((store.path / "plan.json").read_text())["shards"]
    return [batch for shard in shards for batch in shard["batches"]]


def test_the_plan_has_each_row_once_in_batches_that_fit(unbroken, clips):
    seconds = {row_key(i, row): row["duration"] for i, row in clips.items()}
    batches = plan_of(unbroken)
    planned = [key for batch in batches for key in batch]
    assert sorted(planned) == sorted(seconds)
    assert max(map(len, batches)) > 2
    for batch in batches:  # padded to the longest, at most a second
        assert len(batch) * max(seconds[key] for key in batch) <= 1.0


def test_an_utterance_longer_than_a_batch_is_encoded_alone(
    encoder, clips, tmp_path
):
    store = FeatureStore(str(tmp_path), encoder, batch_seconds=0.01)
    extract(store, clips)
    assert [len(batch) for batch in plan_of(store)] == [1] * 12


def test_whisper_batches_count_whole_windows(clips, tmp_path):
    folder = make_encoder(tmp_path / "tiny-whisper", "whisper", layers=1)
    whisper = FrozenEncoder(str(folder))
    store = FeatureStore(str(tmp_path), whisper, batch_seconds=60)
    extract(store, dict(list(clips.items())[:5]))
    assert [len(batch) for batch in plan_of(store)] == [2, 2, 1]


def test_the_order_of_the_manifest_changes_no_byte(unbroken, clips, tmp_path):
    store = make_store(tmp_path, unbroken.encoder)
    extract(store, dict(reversed(clips.items())))
    assert visible_files(store) == visible_files(unbroken)


def test_a_row_key_follows_id_audio_and_phones_alone(clips):
    row = clips["u00"]
    key = row_key("u00", row)
    assert len(key) == 32
    assert (
        row_key("u00", row | {"emo": None, "wav": "x", "speaker": "y"}) == key
    )
    assert row_key("u00", row | {"duration": 9.0}) == key
    others = {
        row_key("u01", row),
        row_key("u00", row | {"audio_sha": "0" * 16}),
        row_key("u00", row | PHONES),
        row_key("u00", row | PHONES, phone_revision=1),
        row_key("u00", row | PHONES | {"phones": PHONES["phones"][:2]}),
    }
    assert len(others | {key}) == 6
    assert row_key("u00", row, phone_revision=1) == key


def test_the_key_of_a_row_without_phones_is_that_of_stores_that_exist():
    row = {"audio_sha": "0123456789abcdef", "phones": [], "phone_set": ""}
    content = b'["u\\u00e9", "0123456789abcdef", []]'
    key = hashlib.sha256(content).hexdigest()[:32]
    assert row_key("u\u00e9", row) == key
    # Phones of no segment make no other features.
    noise = {"phones": [["[noise]", 0.0, 0.1]], "phone_set": "arpa"}
    assert row_key("u\u00e9", row | noise) == key


def test_only_a_resampled_row_has_the_key_of_its_resampling(clips, monkeypatch):
    row, key = clips["u02"], row_key("u02", clips["u02"])
    assert row_key("u02", row | {"sample_rate": 16000}) == key
    now = row_key("u02", row | {"sample_rate": 44100})
    monkeypatch.setattr(plan, "RESAMPLING_REVISION", 99)
    later = row_key("u02", row | {"sample_rate": 44100})
    assert len({key, now, later}) == 3
    assert row_key("u02", row | {"sample_rate": 16000}) == key


def test_a_key_follows_the_classes_of_phones_and_not_their_names(clips):
    def key(phone_set, labels):
        phones = [
            [label, n / 10, (n + 1) / 10]
            for n, label in enumerate(labels.split())
        ]
        columns = {"phones": phones, "phone_set": phone_set}
        return row_key("u00", clips["u00"] | columns)

    assert key("arpa", "S IY1") == key("pinyin", "x i4")
    # The Mandarin o is ə, that of English another vowel.
    assert key("mfa_mandarin", "t o") != key("mfa_english", "t o")


@pytest.mark.parametrize(("rows", "world"), [(400, 2), (700, 4), (9000, 3)])
def test_processes_have_as_much_to_do(rows, world, monkeypatch):
    monkeypatch.undo()  # shards of their usual size
    durations = np.random.default_rng(rows).lognormal(1.2, 0.6, rows)
    shards = plan.plan_shards(
        {
            f"k{n}": (f"u{n}", {"duration": d, "phones": [], "phone_set": ""})
            for n, d in enumerate(durations.tolist())
        },
        lambda seconds: seconds,
        batch_seconds=60,
    )
    work = [0.0] * world
    for n, shard in enumerate(shards):
        work[n % world] += sum(
            durations[int(key[1:])] for key in plan.keys_of(shard)
        )
    assert sum(work) == pytest.approx(durations.sum())
    assert sum(work) > 0.85 * world * max(work)
