"""Small feature stores of made-up clips, and what lies in them."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from pathlib import Path

import numpy as np
import soundfile

from lam_sb.features.store import FeatureStore

RATE = 16000
SHARD_ROWS, SHARDS = 4, 3  # of twelve clips

PHONES = {
    "phones": [["HH", 0.01, 0.03], ["AA1", 0.03, 0.06], ["T", 0.06, 0.1]],
    "phone_set": "arpa",
}
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


def spoken(rows, phone_set="arpa") -> dict[str, dict]:
    """Rows with phones, under ids of their own."""
    labels = SPOKEN[phone_set]
    phones = [[labels[name], start, end] for name, start, end in TIMES]
    columns = {"phones": phones, "phone_set": phone_set}
    return {f"{i}-p": row | columns for i, row in rows.items()}


def changed(rows, **columns) -> dict[str, dict]:
    return {i: row | columns for i, row in rows.items()}


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


def in_a_process(function, *arguments) -> multiprocessing.Process:
    process = multiprocessing.get_context("fork").Process(
        target=function, args=arguments
    )
    process.start()
    return process


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
