from __future__ import annotations

import hashlib
import json
import math
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import make_corpus, make_encoder
from safetensors import SafetensorError
from safetensors.torch import load_file

from lam_sb.corpora.phones import VOWELS
from lam_sb.errors import UserError
from lam_sb.features import store as features
from lam_sb.features.encoders import FrozenEncoder
from lam_sb.features.store import FeatureStore, load_audio, row_key

RATE = 16000
ROOT = Path(__file__).parents[2]
SHARD_ROWS, SHARDS = 4, 3  # twelve rows


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> dict[str, dict]:
    """Rows of twelve clips of 0.1 s to 0.5 s; not to be changed."""
    folder = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(0)
    # The shortest has 4 frames, fewer than chunks.
    counts = rng.permutation(np.linspace(1600, 8000, 12).astype(int))
    return dict(
        write_clip(folder / f"u{n:02d}.wav", 0.1 * rng.standard_normal(count))
        for n, count in enumerate(counts)
    )


def write_clip(path: Path, wav: np.ndarray) -> tuple[str, dict]:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wav, RATE)
    return path.stem, {
        "wav": str(path),
        "audio_sha": hashlib.sha256(path.read_bytes()).hexdigest()[:16],
        "duration": round(len(wav) / RATE, 4),
        "emo": "neutral",
        "speaker": "s",
        "phones": [],
        "phone_set": "",
    }


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch):
    monkeypatch.setattr(features, "ROWS_PER_SHARD", SHARD_ROWS)


@pytest.fixture(scope="module")
def encoder(wavlm) -> FrozenEncoder:
    return FrozenEncoder(str(wavlm))


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory, encoder, clips) -> FeatureStore:
    """All clips, encoded in one go into three shards; not to be changed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features, "ROWS_PER_SHARD", SHARD_ROWS)
        store = make_store(tmp_path_factory.mktemp("unbroken"), encoder)
        extract(store, clips)
    return store


def make_store(folder, encoder, **settings) -> FeatureStore:
    # One batch of the longest rows, several of the shorter.
    return FeatureStore(str(folder), encoder, batch_seconds=1.0, **settings)


def extract(store, rows, **options) -> None:
    store.extract(rows.items(), progress=False, **options)


def fresh(store: FeatureStore) -> FeatureStore:
    """Open the store again, as the next process does."""
    return make_store(store.path.parent, store.encoder)


def shard_files(store) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in store.path.glob("*.safetensors")}


def visible_files(store) -> dict[str, bytes]:
    """All files but locks."""
    return {
        p.name: p.read_bytes()
        for p in store.path.iterdir()
        if not p.name.endswith(".lock")
    }


def planned_shards(store) -> list[str]:
    plan = json.loads((store.path / "plan.json").read_text())
    return [f"{shard['name']}.safetensors" for shard in plan["shards"]]


def changed(rows, **columns) -> dict[str, dict]:
    return {i: row | columns for i, row in rows.items()}


class Spy:
    """Stands before an encoder's forward and counts what passes."""

    def __init__(self, monkeypatch, encoder):
        self.rows, self.batches, self.forward = 0, 0, encoder.forward
        monkeypatch.setattr(encoder, "forward", self)

    def __call__(self, wavs, lens):
        self.check()
        self.batches += 1
        self.rows += len(wavs)
        return self.forward(wavs, lens)

    def check(self):
        pass


@pytest.fixture
def spy(monkeypatch, encoder) -> Spy:
    return Spy(monkeypatch, encoder)


# Audio


def test_stereo_at_another_rate_becomes_mono_at_16_khz(tmp_path):
    time = np.arange(44100) / 44100
    left = 0.4 * np.sin(2 * np.pi * 1000 * time)
    right = 0.2 * np.sin(2 * np.pi * 1000 * time)
    path = tmp_path / "stereo.flac"
    soundfile.write(path, np.stack([left, right], 1), 44100)
    wav = load_audio(path)
    assert wav.shape == (16000,)
    assert wav.dtype == torch.float32
    # One second: bin k of the spectrum is k Hz.
    assert np.abs(np.fft.rfft(wav.numpy())).argmax() == 1000
    expected = 0.3 * np.sin(2 * np.pi * 1000 * np.arange(16000) / RATE)
    assert np.abs(wav.numpy() - expected)[100:-100].max() < 1e-3


@pytest.mark.parametrize("count", [44100, 30001, 441])
def test_resampled_audio_keeps_its_duration(count, tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(count), 44100)
    expected = math.ceil(count * 16000 / 44100)
    assert len(load_audio(tmp_path / "a.wav")) == expected


def test_audio_at_16_khz_is_read_as_it_is(tmp_path):
    wav = np.random.default_rng(0).uniform(-1, 1, 1000).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", wav, RATE, subtype="FLOAT")
    assert np.array_equal(load_audio(tmp_path / "a.wav").numpy(), wav)


def test_audio_that_vanished_is_named(encoder, clips, tmp_path):
    path = str(tmp_path / "gone.wav")
    rows = changed(dict([next(iter(clips.items()))]), wav=path)
    with pytest.raises(UserError, match=path):
        extract(make_store(tmp_path, encoder), rows)


# What is stored


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("float16", 1e-3), ("float32", 1e-5)]
)
def test_the_store_holds_the_means_of_what_the_encoder_gives(
    dtype, tolerance, encoder, clips, tmp_path
):
    store = make_store(tmp_path, encoder, storage_dtype=dtype, time_chunks=5)
    extract(store, clips)
    kept = store.rows(clips)
    assert len(kept) == 12
    means, frames = kept.gather("utterance", range(12))
    chunks, counts = kept.gather("chunks", range(12))
    assert means.shape == (12, 4, 32)
    assert chunks.shape == (12, 5, 4, 32)
    assert means.dtype == chunks.dtype == torch.float32
    for n, row in enumerate(clips.values()):
        wav = torch.from_numpy(soundfile.read(row["wav"], dtype="float32")[0])
        layers = encoder(wav[None], torch.tensor([len(wav)]))[0][0]
        t = layers.shape[1]
        edges = np.arange(6) * t // 5
        assert frames[n] == t == (len(wav) - 400) // 320 + 1
        assert counts[n].tolist() == np.diff(edges).tolist()
        expected = layers.numpy().mean(1)
        assert np.abs(means[n].numpy() - expected).max() < tolerance * 4
        for k in np.flatnonzero(np.diff(edges)):
            expected = layers[:, edges[k] : edges[k + 1]].numpy().mean(1)
            assert np.abs(chunks[n, k].numpy() - expected).max() < tolerance * 4


def test_chunks_of_an_utterance_with_too_few_frames_are_masked(unbroken, clips):
    # 1600 samples give (1600 - 400) // 320 + 1 = 4 frames for 8 chunks:
    # 0, 4/8, .. 32/8, rounded down: 0 0 1 1 2 2 3 3 4.
    (shortest,) = [i for i, row in clips.items() if row["duration"] == 0.1]
    kept = unbroken.rows({shortest: clips[shortest]})
    values, frames = kept.gather("chunks", [0])
    assert frames.tolist() == [[0, 1, 0, 1, 0, 1, 0, 1]]
    assert values.isfinite().all()


def test_gather_keeps_the_order_of_the_rows_and_counts_layers_from_1(
    unbroken, clips
):
    order = list(clips)[::-1]
    kept = unbroken.rows({i: clips[i] for i in order})
    backwards, frames = kept.gather("utterance", range(12))
    forwards, expected = unbroken.rows(clips).gather("utterance", range(12))
    assert torch.equal(backwards, forwards.flip(0))
    assert torch.equal(frames, expected.flip(0))
    assert len(frames.unique()) > 6

    picked, counts = kept.gather("utterance", [7, 0, 7], layers=[4, 1])
    assert torch.equal(picked, backwards[[7, 0, 7]][:, [3, 0]])
    assert torch.equal(counts, frames[[7, 0, 7]])
    chunks, counts = kept.gather("chunks", [7, 0], layers=[2])
    every, _ = kept.gather("chunks", [7, 0])
    assert torch.equal(chunks, every[:, :, [1]])
    assert chunks.shape == (2, 8, 1, 32)
    assert counts.shape == (2, 8)


def test_rows_that_are_not_in_the_store_are_counted(unbroken, clips):
    others = {i: clips[i] | {"audio_sha": "0" * 16} for i in ("u03", "u07")}
    with pytest.raises(
        UserError, match=r"2 of 12 rows.*u03 the first.*extract"
    ):
        unbroken.rows(clips | others)


def test_the_rows_of_a_store_that_is_not_there_are_missing(
    encoder, clips, tmp_path
):
    with pytest.raises(UserError, match="12 of 12 rows are not in the store"):
        make_store(tmp_path, encoder).rows(clips)


def test_equal_ids_of_two_corpora_do_not_collide(encoder, tmp_path):
    rng = np.random.default_rng(0)
    ours, theirs = (
        dict([write_clip(tmp_path / c / "a.wav", rng.normal(0, 0.1, n))])
        for c, n in (("ours", 4000), ("theirs", 8000))
    )
    store = make_store(tmp_path, encoder)
    store.extract([*ours.items(), *theirs.items()], progress=False)
    # (4000 - 400) // 320 + 1 and (8000 - 400) // 320 + 1.
    assert store.rows(ours).gather("utterance", [0])[1].tolist() == [12]
    assert store.rows(theirs).gather("utterance", [0])[1].tolist() == [24]


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


def test_store_json_says_what_the_features_are(unbroken, encoder):
    said = json.loads((unbroken.path / "store.json").read_text())
    assert said["encoder"] == {
        "source": encoder.source,
        "family": "wavlm",
        "num_layers": 4,
        "dim": 32,
    }
    settings = said["settings"]
    assert settings["digest"] == encoder.digest
    assert settings["time_chunks"] == 8
    assert settings["storage_dtype"] == "float16"
    assert settings["extract_precision"] == "fp32"


def test_whisper_and_reduced_precision_are_stored_too(encoder, clips, tmp_path):
    whisper = FrozenEncoder(
        str(make_encoder(tmp_path / "tiny-whisper", "whisper", layers=2)),
        whisper_context="valid",
    )
    store = make_store(tmp_path, whisper)
    extract(store, clips)
    means, frames = store.rows(clips).gather("utterance", range(12))
    assert means.shape == (12, 2, 32)
    expected = [soundfile.info(r["wav"]).frames for r in clips.values()]
    assert frames.tolist() == [math.ceil(n / 320) for n in expected]

    exact, rough = (
        make_store(tmp_path, encoder),
        make_store(tmp_path, encoder, extract_precision="bf16"),
    )
    for each in (exact, rough):
        extract(each, clips)
    ours, theirs = (
        each.rows(clips).gather("utterance", range(12))[0]
        for each in (exact, rough)
    )
    # bf16 has 8 bits of mantissa.
    assert 1e-4 < (ours - theirs).norm() / ours.norm() < 5e-2


# Phones


# Classes of phones, in seconds; frame 5 is centred on 0.1125.
TIMES = [
    ("C", 0.0, 0.0325),
    ("a", 0.0325, 0.0725),
    ("V", 0.0725, 0.1125),
    ("i", 0.15, 0.22),
    ("C", 0.22, 0.3),
    ("a", 0.3, 9.0),
]
SPOKEN = {
    "arpa": {"C": "S", "a": "AA1", "V": "AY2", "i": "IY0"},
    "pinyin": {"C": "sh", "a": "ang1", "V": "ou3", "i": "ing4"},
}


def spoken(rows, phone_set="arpa") -> dict[str, dict]:
    """Rows with phones, under ids of their own."""
    labels = SPOKEN[phone_set]
    phones = [[labels[name], start, end] for name, start, end in TIMES]
    columns = {"phones": phones, "phone_set": phone_set}
    return {f"{i}-p": row | columns for i, row in rows.items()}


def phone_means(layers: np.ndarray, centres: np.ndarray, names: str):
    """Mean over (L, T, D) of the frames in phones of some classes."""
    inside = np.zeros(len(centres), dtype=bool)
    for name, start, end in TIMES:
        if name in names:
            inside |= (centres >= start) & (centres < end)
    count = int(inside.sum())
    shape = (layers.shape[0], layers.shape[2])
    mean = layers[:, inside].mean(1) if count else np.zeros(shape)
    return mean, count


def check_phones(kept, index, layers, centres) -> None:
    """Compare what a store holds of a row with means of its frames."""
    for segment, names in (("vowels", "aVi"), ("consonants", "C")):
        values, frames = kept.gather(segment, [index])
        mean, count = phone_means(layers, centres, names)
        assert frames.tolist() == [count]
        assert np.abs(values[0].numpy() - mean).max() < 1e-5
    values, frames = kept.gather("vowel_classes", [index])
    assert values.shape == (1, 6, *mean.shape)
    for n, vowel in enumerate(VOWELS):
        mean, count = phone_means(layers, centres, vowel)
        assert frames[0, n] == count
        assert np.abs(values[0, n].numpy() - mean).max() < 1e-5


@pytest.mark.parametrize("phone_set", list(SPOKEN))
def test_the_store_holds_the_means_over_phones(
    phone_set, encoder, clips, tmp_path
):
    store = make_store(tmp_path, encoder, storage_dtype="float32")
    rows = spoken(clips, phone_set)
    extract(store, rows)
    kept = store.rows(rows)
    for n, row in enumerate(rows.values()):
        wav = torch.from_numpy(soundfile.read(row["wav"], dtype="float32")[0])
        layers = encoder(wav[None], torch.tensor([len(wav)]))[0][0].numpy()
        # From 400 samples, every 320 of them.
        centres = (200 + 320 * np.arange(layers.shape[1])) / RATE
        check_phones(kept, n, layers, centres)
    counts = kept.gather("vowel_classes", range(12))[1]
    assert (counts[:, VOWELS.index("a")] >= 2).all()
    assert not counts[:, VOWELS.index("u")].any()


def test_phones_after_the_first_window_of_whisper_are_found(tmp_path):
    folder = make_encoder(tmp_path / "tiny-whisper", "whisper", layers=2)
    whisper = FrozenEncoder(str(folder), whisper_context="valid")
    wav = 0.1 * np.random.default_rng(0).standard_normal(31 * RATE)
    clip = dict([write_clip(tmp_path / "long.wav", wav)])
    phones = [["AA1", 0.05, 0.07], ["UW1", 29.99, 30.03], ["S", 30.5, 31.0]]
    rows = changed(clip, phones=phones, phone_set="arpa")
    store = make_store(tmp_path, whisper, storage_dtype="float32")
    extract(store, rows)
    kept = store.rows(rows)
    wav = torch.from_numpy(soundfile.read(clip["long"]["wav"])[0]).float()
    layers = whisper(wav[None], torch.tensor([len(wav)]))[0][0]
    # Centres 29.99 s and 30.01 s: the last frame of a window, the next's first.
    values, frames = kept.gather("vowel_classes", [0])
    assert frames.tolist() == [[1, 0, 0, 0, 0, 2]]
    assert torch.allclose(values[0, 0], layers[:, 2], atol=1e-5)
    expected = layers[:, 1499:1501].mean(1)
    assert torch.allclose(values[0, 5], expected, atol=1e-5)
    values, frames = kept.gather("consonants", [0])
    assert frames.tolist() == [25]
    expected = layers[:, 1525:1550].mean(1)
    assert torch.allclose(values[0], expected, atol=1e-5)


def test_rows_without_phones_are_masked_beside_others(encoder, clips, tmp_path):
    rows = dict(list(clips.items())[:3])
    pairs = zip(rows.items(), spoken(rows).items(), strict=True)
    both = dict(row for pair in pairs for row in pair)
    store = make_store(tmp_path, encoder)
    extract(store, both)
    kept = store.rows(both)
    for segment, shape in (
        ("vowels", ()),
        ("consonants", ()),
        ("vowel_classes", (6,)),
    ):
        values, frames = kept.gather(segment, range(6))
        assert values.shape == (6, *shape, 4, 32)
        assert values.dtype == torch.float32
        assert frames.shape == (6, *shape)
        assert not frames[::2].any()
        assert not values[::2].any()
        assert (frames[1::2].reshape(3, -1).sum(1) > 0).all()
        picked, counts = kept.gather(segment, [1, 0], layers=[4, 2])
        assert torch.equal(picked, values[[1, 0]][..., [3, 1], :])
        assert torch.equal(counts, frames[[1, 0]])


def test_an_unknown_segment_is_an_error(unbroken, clips):
    with pytest.raises(KeyError, match="vowel"):
        unbroken.rows(clips).gather("vowel", [0])


def test_rows_with_phones_lie_in_shards_of_their_own(unbroken, clips, tmp_path):
    store = make_store(tmp_path, unbroken.encoder)
    extract(store, spoken(clips) | clips)
    files = shard_files(store)
    # Those without phones are the same as alone, byte by byte.
    alone = shard_files(unbroken)
    assert alone.items() < files.items()
    whole = {"utterance", "chunks"}
    of_phones = {"vowels", "consonants", "vowel_classes"}
    for name in files:
        tensors = load_file(store.path / name)
        segments = {n.removesuffix(".frames") for n in tensors}
        assert segments == (whole if name in alone else whole | of_phones)
        assert len(tensors) == 2 * len(segments)
    assert visible_files(store)["store.json"] == (
        (unbroken.path / "store.json").read_bytes()
    )
    # Both kinds are read again without encoding.
    extract(fresh(store), clips | spoken(clips))
    assert shard_files(store) == files


def test_another_phone_set_is_encoded_again(encoder, clips, tmp_path, spy):
    phones = [["t", 0.0, 0.05], ["o", 0.05, 0.1]]
    part = {i: clips[i] for i in ("u00", "u01")}
    english, mandarin = (
        changed(part, phones=phones, phone_set=phone_set)
        for phone_set in ("mfa_english", "mfa_mandarin")
    )
    store = make_store(tmp_path, encoder)
    extract(store, english)
    with pytest.raises(UserError, match="2 of 2 rows are not in the store"):
        store.rows(mandarin)
    extract(store, mandarin)
    assert spy.rows == 4
    for rows, count in ((english, 0), (mandarin, 1)):
        frames = store.rows(rows).gather("vowel_classes", [0, 1])[1]
        assert (frames[:, VOWELS.index("ə")] > 0).tolist() == [count] * 2


def test_ranks_share_rows_with_phones(encoder, clips, tmp_path):
    rows = clips | spoken(clips)
    one, two = (make_store(tmp_path / n, encoder) for n in ("one", "two"))
    extract(one, rows)
    for rank in (1, 0):
        extract(fresh(two), rows, rank=rank, world=2)
    assert visible_files(two) == visible_files(one)


# What is encoded again, and what is not


@pytest.mark.parametrize("case", ["relabelled", "moved", "subset", "again"])
def test_labels_paths_and_filters_cost_nothing(
    case, unbroken, clips, tmp_path, spy
):
    rows = clips
    if case == "relabelled":
        rows = {
            i: {k: v for k, v in row.items() if k not in ("emo", "speaker")}
            for i, row in clips.items()
        }
    elif case == "moved":
        rows = changed(clips, wav=str(tmp_path / "elsewhere.wav"))
    elif case == "subset":
        rows = {i: clips[i] for i in ("u11", "u02", "u05")}
    before = visible_files(unbroken)
    store = fresh(unbroken)
    extract(store, rows)
    assert store.path == unbroken.path
    assert spy.rows == 0
    assert visible_files(store) == before
    ours, _ = store.rows(rows).gather("chunks", range(len(rows)))
    whole, _ = unbroken.rows(clips).gather("chunks", range(12))
    assert torch.equal(ours, whole[[list(clips).index(i) for i in rows]])


PHONES = {
    "phones": [["HH", 0.01, 0.03], ["AA1", 0.03, 0.06], ["T", 0.06, 0.1]],
    "phone_set": "arpa",
}


@pytest.mark.parametrize("columns", [{"audio_sha": "0123456789abcdef"}, PHONES])
def test_other_audio_or_phones_are_encoded_and_appended(
    columns, unbroken, clips, tmp_path, spy
):
    folder = shutil.copytree(unbroken.path.parent, tmp_path / "features")
    store = make_store(folder, unbroken.encoder)
    before = shard_files(store)
    rows = clips | {i: clips[i] | columns for i in ("u03", "u07")}
    extract(store, rows)
    assert spy.rows == 2
    after = shard_files(store)
    assert before.items() < after.items()
    (added,) = after.keys() - before.keys()
    tensors = load_file(store.path / added)
    assert tensors["utterance"].shape == (2, 4, 32)
    # The rows as they were are still there.
    assert len(store.rows(clips)) == len(store.rows(rows)) == 12


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
        row_key("u00", row | PHONES | {"phones": PHONES["phones"][:2]}),
    }
    assert len(others | {key}) == 5


def test_the_key_of_a_row_without_phones_is_that_of_stores_that_exist():
    row = {"audio_sha": "0123456789abcdef", "phones": [], "phone_set": ""}
    content = b'["u\\u00e9", "0123456789abcdef", []]'
    key = hashlib.sha256(content).hexdigest()[:32]
    assert row_key("u\u00e9", row) == key
    # Phones of no segment make no other features.
    noise = {"phones": [["[noise]", 0.0, 0.1]], "phone_set": "arpa"}
    assert row_key("u\u00e9", row | noise) == key


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


@pytest.mark.parametrize(
    "settings",
    [
        {"extract_precision": "bf16"},
        {"storage_dtype": "float32"},
        {"time_chunks": 1},
    ],
)
def test_other_settings_have_a_folder_of_their_own(settings, unbroken, encoder):
    store = make_store(unbroken.path.parent, encoder, **settings)
    assert store.path != unbroken.path
    assert store.path.parent == unbroken.path.parent
    assert store.path.name.startswith("tiny-wavlm-")


def test_batch_size_and_place_of_the_encoder_are_in_no_folder_name(
    unbroken, wavlm, tmp_path
):
    copy = shutil.copytree(wavlm, tmp_path / wavlm.name)
    store = FeatureStore(
        str(unbroken.path.parent), FrozenEncoder(str(copy)), batch_seconds=7
    )
    assert store.path == unbroken.path


def test_other_weights_norms_and_versions_have_a_folder_of_their_own(
    unbroken, encoder, wavlm, tmp_path, monkeypatch
):
    folder = unbroken.path.parent
    copy = shutil.copytree(wavlm, tmp_path / wavlm.name)
    config = json.loads((copy / "config.json").read_text())
    config["layer_norm_eps"] = 0.1
    (copy / "config.json").write_text(json.dumps(config))
    others = [
        make_store(folder, FrozenEncoder(str(copy))).path,
        make_store(folder, FrozenEncoder(str(wavlm), final_norm=True)).path,
    ]
    monkeypatch.setattr(features, "version", lambda _package: "0.0")
    others.append(make_store(folder, encoder).path)
    assert len({unbroken.path, *others}) == 4


def test_whisper_context_has_a_folder_of_its_own(tmp_path):
    folder = str(make_encoder(tmp_path / "tiny-whisper", "whisper", layers=1))
    stores = [
        make_store(tmp_path, FrozenEncoder(folder, whisper_context=context))
        for context in ("full", "valid")
    ]
    assert stores[0].path != stores[1].path


@pytest.mark.parametrize("key", ["extract_precision", "storage_dtype"])
def test_an_unknown_setting_is_refused(key, encoder, tmp_path):
    with pytest.raises(UserError, match=f"{key} is 'int8'; use one of"):
        make_store(tmp_path, encoder, **{key: "int8"})


# A store without its encoder


def copied(unbroken, folder: Path) -> FrozenEncoder:
    """Copy the store; give its encoder, out of reach."""
    shutil.copytree(unbroken.path, folder / unbroken.path.name)
    source = f"/nowhere/{unbroken.encoder.name}"
    return FrozenEncoder(source, feature_folder=str(folder))


def test_a_copied_store_needs_no_encoder(unbroken, clips, tmp_path):
    encoder = copied(unbroken, tmp_path)
    assert (encoder.family, encoder.num_layers, encoder.dim) == ("wavlm", 4, 32)
    store = make_store(tmp_path, encoder)
    before = visible_files(store)
    extract(store, clips)
    assert visible_files(store) == before == visible_files(unbroken)
    ours, _ = store.rows(clips).gather("chunks", range(12))
    theirs, _ = unbroken.rows(clips).gather("chunks", range(12))
    assert torch.equal(ours, theirs)


def test_a_complete_store_is_only_read(unbroken, clips, monkeypatch):
    def refuse(path):
        raise OSError(30, "Read-only file system", path)

    monkeypatch.setattr(features, "FileLock", refuse)
    store = fresh(unbroken)
    extract(store, clips)
    assert len(store.rows(clips)) == 12


def test_a_copied_store_cannot_be_added_to(unbroken, clips, tmp_path):
    store = make_store(tmp_path, copied(unbroken, tmp_path))
    rows = clips | {"new": clips["u00"]}
    with pytest.raises(UserError, match="/nowhere/tiny-wavlm cannot be read"):
        extract(store, rows)
    extract(store, clips)  # what it has is still at hand


def test_a_copied_store_may_come_from_other_transformers(
    unbroken, clips, tmp_path, monkeypatch
):
    monkeypatch.setattr(features, "version", lambda _package: "0.0")
    store = make_store(tmp_path, copied(unbroken, tmp_path))
    assert len(store.rows(clips)) == 12


def test_two_fitting_copies_or_none_are_told_apart_by_nobody(
    unbroken, tmp_path
):
    encoder = copied(unbroken, tmp_path)
    with pytest.raises(UserError, match=r"0 stores under .* fit"):
        make_store(tmp_path, encoder, time_chunks=3)
    twin = f"{encoder.name}-{'0' * 16}"
    shutil.copytree(unbroken.path, tmp_path / twin)
    with pytest.raises(UserError, match=r"2 stores under .* fit"):
        make_store(tmp_path, encoder)


def test_a_store_of_an_encoder_with_a_longer_name_is_not_taken(
    unbroken, tmp_path
):
    # wavlm-base and wavlm-base-plus
    hash16 = unbroken.path.name.rpartition("-")[2]
    shutil.copytree(unbroken.path, tmp_path / f"tiny-wavlm-plus-{hash16}")
    with pytest.raises(UserError, match="/nowhere/tiny-wavlm cannot be read"):
        FrozenEncoder("/nowhere/tiny-wavlm", feature_folder=str(tmp_path))
    encoder = copied(unbroken, tmp_path)
    assert make_store(tmp_path, encoder).path.name == unbroken.path.name


# Broken runs


def test_a_broken_run_keeps_its_shards_and_the_next_encodes_the_rest(
    unbroken, clips, tmp_path, monkeypatch, spy
):
    store = make_store(tmp_path, unbroken.encoder)

    def check():
        if len(shard_files(store)) == SHARDS - 1:
            raise RuntimeError("killed in the last shard")

    spy.check = check
    with pytest.raises(RuntimeError, match="killed"):
        extract(store, clips)
    whole = shard_files(unbroken)
    kept = shard_files(store)
    assert len(whole) == SHARDS
    assert len(kept) == SHARDS - 1
    assert kept.items() < whole.items()

    spy.check, spy.rows = lambda: None, 0
    # The plan is followed even where the next run would plan otherwise.
    monkeypatch.setattr(features, "ROWS_PER_SHARD", 2)
    extract(FeatureStore(str(tmp_path), store.encoder, batch_seconds=9), clips)
    (rest,) = whole.keys() - kept.keys()
    assert spy.rows == len(load_file(unbroken.path / rest)["utterance"])
    assert visible_files(store) == visible_files(unbroken)


def in_a_process(function, *arguments) -> multiprocessing.Process:
    process = multiprocessing.get_context("fork").Process(
        target=function, args=arguments
    )
    process.start()
    return process


def test_a_run_killed_while_it_writes_does_no_harm(
    unbroken, clips, tmp_path, monkeypatch
):
    store = make_store(tmp_path, unbroken.encoder)

    def die(_tensors, path):
        Path(path).write_bytes(b"half a shard")
        os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patch:
        patch.setattr(features, "save_file", die)
        process = in_a_process(extract, store, clips)
        process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert not shard_files(store)
    (stale,) = [n for n in visible_files(store) if n.endswith(".tmp")]

    extract(fresh(store), clips)
    (store.path / stale).unlink()
    assert visible_files(store) == visible_files(unbroken)


@pytest.mark.parametrize("size", ["empty", "half", "all but one byte"])
def test_a_truncated_shard_is_named_and_encoded_again(
    size, unbroken, clips, tmp_path, spy, caplog
):
    folder = shutil.copytree(unbroken.path.parent, tmp_path / "features")
    store = make_store(folder, unbroken.encoder)
    path = store.path / planned_shards(store)[1]
    content = path.read_bytes()
    ends = {"empty": 0, "half": len(content) // 2, "all but one byte": -1}
    path.write_bytes(content[: ends[size]])

    extract(store, clips)
    assert any(
        str(path) in r.getMessage() and "corrupt" in r.getMessage()
        for r in caplog.records
    )
    assert spy.rows == len(load_file(path)["utterance"])
    assert visible_files(store) == visible_files(unbroken)


def test_rows_of_a_truncated_shard_are_missing_until_extracted(
    unbroken, clips, tmp_path, caplog
):
    folder = shutil.copytree(unbroken.path.parent, tmp_path / "features")
    store = make_store(folder, unbroken.encoder)
    path = store.path / planned_shards(store)[0]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match="rows are not in the store"):
        store.rows(clips)
    assert str(path) in caplog.text
    extract(store, clips)
    assert len(store.rows(clips)) == 12


def test_part_of_a_broken_run_is_encoded_alone(
    unbroken, clips, tmp_path, monkeypatch, spy
):
    """A planned shard of which only some rows are wanted is not waited for."""
    store = make_store(tmp_path, unbroken.encoder)

    def check():
        raise RuntimeError("killed at once")

    spy.check = check
    with pytest.raises(RuntimeError, match="killed"):
        extract(store, clips)
    spy.check = lambda: None
    part = {i: clips[i] for i in ("u00", "u05")}
    extract(fresh(store), part)
    assert spy.rows == 2
    assert len(fresh(store).rows(part)) == 2
    extract(fresh(store), clips)
    assert len(fresh(store).rows(clips)) == 12


# Several processes


def test_ranks_write_what_one_process_writes(unbroken, clips, tmp_path, spy):
    store = make_store(tmp_path, unbroken.encoder)
    extract(store, clips, rank=1, world=2)
    assert list(shard_files(store)) == [planned_shards(store)[1]]
    extract(fresh(store), clips, rank=0, world=2)
    assert spy.rows == 12
    assert visible_files(store) == visible_files(unbroken)


@pytest.mark.parametrize("machines", [1, 2])
def test_two_writers_at_once_end_with_the_same_complete_store(
    machines, unbroken, clips, tmp_path, monkeypatch
):
    store = make_store(tmp_path, unbroken.encoder)
    barrier = multiprocessing.get_context("fork").Barrier(2)
    save = features.save_file

    def save_together(tensors, path):
        barrier.wait(20)  # both found no shard and encoded it
        save(tensors, path)
        barrier.wait(20)  # both rename what they wrote

    def write():
        if machines == 2:  # which may give both the same number
            os.getpid = lambda: 7
        extract(store, clips)

    monkeypatch.setattr(features, "save_file", save_together)
    writers = [in_a_process(write) for _ in range(2)]
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert visible_files(store) == visible_files(unbroken)
    assert len(fresh(store).rows(clips)) == 12


def test_two_writers_of_other_rows_each_find_theirs(
    unbroken, clips, tmp_path, monkeypatch
):
    store = make_store(tmp_path, unbroken.encoder)
    ids = list(clips)
    parts = [{i: clips[i] for i in ids[:8]}, {i: clips[i] for i in ids[4:]}]
    barrier = multiprocessing.get_context("fork").Barrier(2)
    announce = FeatureStore._announce

    def announce_together(self, todo, by_key):
        announce(self, todo, by_key)
        barrier.wait(20)  # both have planned, none has encoded

    monkeypatch.setattr(FeatureStore, "_announce", announce_together)
    writers = [in_a_process(extract, store, part) for part in parts]
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0]
    for rows in (*parts, clips):
        ours, _ = fresh(store).rows(rows).gather("chunks", range(len(rows)))
        theirs, _ = unbroken.rows(rows).gather("chunks", range(len(rows)))
        assert torch.allclose(ours, theirs, atol=2e-3)


def run_extract(command, corpora, wavlm, folder) -> FeatureStore:
    arguments = {
        "data_folder": corpora,
        "source": "left",
        "target": "right",
        "encoder_source": wavlm,
        "output_root": folder / "results",
        "feature_folder": folder / "features",
        "extract_batch_seconds": 20,
        "device": "cpu",
    }
    done = subprocess.run(
        [*command, "-m", "lam_sb", "extract", "hparams/small/lam_gl.yaml"]
        + [f"--{key}={value}" for key, value in arguments.items()],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    store = FeatureStore(str(folder / "features"), FrozenEncoder(str(wavlm)))
    assert str(store.path) in done.stdout
    return store


def test_torchrun_writes_the_bytes_of_one_process(wavlm, tmp_path):
    for seed, name in enumerate(("left", "right")):
        corpus = tmp_path / "corpora" / name
        make_corpus(corpus, speakers=11, takes=7, seed=seed)
    torchrun = str(Path(sys.executable).with_name("torchrun"))
    stores = [
        run_extract(command, tmp_path / "corpora", wavlm, tmp_path / name)
        for name, command in (
            ("one", [sys.executable]),
            ("two", [torchrun, "--standalone", "--nproc_per_node=2"]),
        )
    ]
    one, two = map(visible_files, stores)
    # 2 x 11 x 4 x 7 = 616 rows in shards of 256 or a few more.
    assert sum(name.endswith(".safetensors") for name in one) == 3
    assert one.keys() == two.keys()
    assert one == two


# Values and disks that cannot hold


class Outlier(Spy):
    """One utterance, that of the largest frame count, has a value too big."""

    def __init__(self, monkeypatch, encoder, value):
        super().__init__(monkeypatch, encoder)
        self.value = value

    def __call__(self, wavs, lens):
        layers, frames = super().__call__(wavs, lens)
        for row, n in zip(layers, lens, strict=True):
            if n == 8000:
                row[2, :, 5] = self.value
        return layers, frames


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (1e6, "float16"),  # its maximum is 65504
        (math.nan, "float16"),
        (math.nan, "float32"),
        (math.inf, "float32"),
    ],
)
def test_values_that_cannot_be_stored_are_refused_by_utterance(
    value, dtype, encoder, clips, tmp_path, monkeypatch
):
    (longest,) = [i for i, row in clips.items() if row["duration"] == 0.5]
    Outlier(monkeypatch, encoder, value)
    store = make_store(tmp_path, encoder, storage_dtype=dtype)
    with pytest.raises(UserError, match=f"{longest}: its features do not fit"):
        extract(store, clips)


def test_large_values_fit_into_float32(encoder, clips, tmp_path, monkeypatch):
    Outlier(monkeypatch, encoder, 1e6)
    store = make_store(tmp_path, encoder, storage_dtype="float32")
    extract(store, clips)
    values, _ = store.rows(clips).gather("utterance", range(12))
    assert values.max() == 1e6


def test_silence_is_encoded(encoder, tmp_path):
    rows = dict([write_clip(tmp_path / "quiet.wav", np.zeros(4000))])
    store = make_store(tmp_path, encoder)
    extract(store, rows)
    assert store.rows(rows).gather("utterance", [0])[0].isfinite().all()


def test_an_utterance_that_is_too_short_is_named(encoder, clips, tmp_path):
    short = dict([write_clip(tmp_path / "blip.wav", np.zeros(300))])
    with pytest.raises(UserError, match=r"blip.*too short.*min_duration"):
        extract(make_store(tmp_path, encoder), clips | short)


def test_a_disk_that_is_too_small_is_refused_before_encoding(
    encoder, clips, tmp_path, monkeypatch, spy
):
    # 12 rows x 9 means x 4 layers x 32 values x 2 bytes, and 3 rows x 17
    needed = (12 * 9 + 3 * 17) * 4 * 32 * 2
    clips = clips | spoken(dict(list(clips.items())[:3]))
    usage = type(shutil.disk_usage(tmp_path))
    store = make_store(tmp_path, encoder)
    for free in (needed - 1, needed):
        disk = usage(10**9, 10**9 - free, free)
        monkeypatch.setattr(shutil, "disk_usage", lambda _path, disk=disk: disk)
        if free < needed:
            with pytest.raises(UserError, match="GB free; set feature_folder"):
                extract(store, clips)
            assert spy.rows == 0
    extract(store, clips)
    assert spy.rows == 15


def test_a_folder_that_cannot_be_made_is_named(encoder, clips, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=f"{tmp_path}/file/.* cannot be made"):
        extract(make_store(tmp_path / "file" / "features", encoder), clips)


def test_where_and_how_much_is_said_before_encoding(
    encoder, clips, tmp_path, spy, caplog
):
    said = []
    spy.check = lambda: said.append(caplog.text)
    caplog.set_level("INFO")
    store = make_store(tmp_path, encoder)
    extract(store, clips)
    assert "Encoding 12 utterances" in said[0]
    assert str(store.path) in said[0]


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        SafetensorError("I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_disk_that_fills_up_is_an_error_without_litter(
    error, unbroken, clips, tmp_path, monkeypatch
):
    store = make_store(tmp_path, unbroken.encoder)
    save = features.save_file

    def fill(tensors, path):
        if len(shard_files(store)) < SHARDS - 1:
            return save(tensors, path)
        Path(path).write_bytes(b"half a shard")
        raise error

    monkeypatch.setattr(features, "save_file", fill)
    with pytest.raises(
        UserError, match=r"cannot be written \(.*No space.*what is done is kept"
    ):
        extract(store, clips)
    whole = visible_files(unbroken)
    kept = visible_files(store)
    assert kept.items() < whole.items()
    assert len(kept) == len(whole) - 1


@pytest.mark.parametrize(
    ("limit", "name"), [(100, "store.json"), (4000, ".safetensors")]
)
def test_a_file_that_the_system_refuses_is_an_error_without_litter(
    limit, name, unbroken, clips, tmp_path
):
    store = make_store(tmp_path, unbroken.encoder)
    ours, theirs = multiprocessing.get_context("fork").Pipe()

    def write_with_a_limit():
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        try:
            extract(store, clips)
        except UserError as error:
            theirs.send(str(error))

    in_a_process(write_with_a_limit).join(60)
    assert ours.poll()
    said = ours.recv()
    assert f"{name} cannot be written (" in said
    assert "File too large" in said
    left = {*visible_files(store)}
    assert left == ({"store.json", "plan.json"} if limit > 100 else set())
