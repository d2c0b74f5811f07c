"""The demo: synthetic corpora that hide nothing, and a run that learns."""

from __future__ import annotations

import filecmp
import importlib.util
import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import read_table
from praatio import textgrid
from scipy.signal import correlate, resample_poly
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import recall_score
from sklearn.model_selection import (
    GroupKFold,
    StratifiedKFold,
    cross_val_predict,
)
from sklearn.preprocessing import OneHotEncoder

from data_prep import demo_prepare
from data_prep.demo_prepare import CORPORA, make_corpus, plan, speak
from lam_sb.corpora.options import PrepOptions
from lam_sb.corpora.phones import VOWELS, phone_class
from lam_sb.corpora.prepare import prepare_corpus
from lam_sb.errors import UserError

ROOT = Path(__file__).parents[2]
SPLITS = {"Train": "train", "Development": "valid"} | dict.fromkeys(
    ("Test", "Test1"), "test"
)


def labels(folder: Path) -> list[dict]:
    return read_table(folder / "Labels/labels_consensus.csv")


def same_files(one: Path, two: Path) -> bool:
    names = [
        sorted(str(p.relative_to(f)) for p in f.rglob("*") if p.is_file())
        for f in (one, two)
    ]
    _, *others = filecmp.cmpfiles(one, two, names[0], shallow=False)
    return names[0] == names[1] and others == [[], []]


def test_equal_seeds_give_equal_bytes_and_others_do_not(demo, tmp_path):
    again = make_corpus(tmp_path, "biic_podcast", seed=0)
    other = make_corpus(tmp_path / "other", "biic_podcast", seed=1)
    assert same_files(demo / "biic_podcast", Path(again))
    assert not same_files(demo / "biic_podcast", Path(other))
    for seed in (0, 0, 1):
        name = f"{seed}{len(list(tmp_path.iterdir()))}"
        demo_prepare.make_encoder(tmp_path / name, seed)
    one, two, three = sorted(tmp_path.glob("[01]?/random-wavlm"))
    assert same_files(one, two)
    assert not same_files(one, three)


@pytest.mark.parametrize("corpus", CORPORA)
def test_the_layout_is_that_of_the_licensed_corpus(corpus, demo):
    rows = labels(demo / corpus)
    header = "FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set"
    assert ",".join(rows[0]) == header
    assert len(rows) == 288
    splits = {r["Split_Set"] for r in rows}
    assert len(splits) == 3
    speakers = {
        SPLITS[s]: {r["SpkrID"] for r in rows if r["Split_Set"] == s}
        for s in splits
    }
    assert {s: len(v) for s, v in speakers.items()} == {
        "train": 20,
        "valid": 8,
        "test": 8,
    }
    assert len(set().union(*speakers.values())) == 36  # in one split each
    for row in rows[:20]:
        info = soundfile.info(demo / corpus / "Audios" / row["FileName"])
        assert (info.samplerate, info.channels) == (16000, 1)
        assert info.subtype == "PCM_16"
        assert 0.7 < info.duration < 3.2
        name = Path(row["FileName"]).with_suffix(".TextGrid")
        grid = textgrid.openTextgrid(
            demo / corpus / "ForceAligned" / name, True
        )
        assert grid.tierNames == ("words", "phones")
        assert grid.maxTimestamp == pytest.approx(info.duration)


@pytest.mark.parametrize("corpus", CORPORA)
def test_the_defects_are_there(corpus, demo):
    rows = labels(demo / corpus)
    assert [r["EmoClass"] for r in rows].count("X") == 1
    paths = [demo / corpus / "Audios" / r["FileName"] for r in rows]
    assert sum(not p.exists() for p in paths) == 1
    infos = [soundfile.info(p) for p in paths if p.exists()]
    odd = Counter((i.samplerate, i.channels) for i in infos)
    assert odd == {(16000, 1): 286, (44100, 2): 1}


@pytest.mark.parametrize("corpus", CORPORA)
def test_phone_times_are_those_of_the_synthesiser(corpus, demo):
    lines = plan(CORPORA[corpus], seed=0)[:40]
    speech = speak(lines, 0)
    for line, (raw, phones, words) in zip(lines, speech, strict=True):
        path = demo / corpus / f"ForceAligned/{line.name}.TextGrid"
        grid = textgrid.openTextgrid(path, includeEmptyIntervals=False)
        entries = grid.getTier("phones").entries
        events = [start / 22050 for symbol, start, _ in phones if symbol]
        starts = [e.start for e in entries]
        assert starts == pytest.approx(events, abs=0.005)
        following = [start / 22050 for _, start, _ in phones[1:]]
        spoken = [symbol != "" for symbol, _, _ in phones[:-1]]
        ends = [
            t for t, is_phone in zip(following, spoken, strict=True) if is_phone
        ]
        assert [e.end for e in entries] == pytest.approx(ends, abs=0.005)
        assert len(grid.getTier("words").entries) == len(words)

        wav, _ = soundfile.read(demo / corpus / f"Audios/{line.name}.wav")
        if abs(len(wav) / 16000 - len(raw) / 22050) < 0.001:
            raw = resample_poly(raw, 320, 441)
            shift = correlate(wav, raw, "full").argmax() - len(raw) + 1
            assert abs(shift) / 16000 < 0.005


@pytest.mark.parametrize(
    ("corpus", "phone_set"),
    [("msp_podcast", "arpa"), ("biic_podcast", "pinyin")],
)
def test_the_phone_set_of_each_corpus_is_found(
    corpus, phone_set, demo, tmp_path
):
    readers = ROOT / "data_prep"
    prepare_corpus(corpus, demo / corpus, tmp_path, PrepOptions(), readers)
    report = json.loads((tmp_path / "prep_report.json").read_text())
    assert report["phones"] == {
        "phone_set": phone_set,
        "rows": 287,  # one has no audio
        "foreign": {},
    }
    rows = json.loads((tmp_path / "test.json").read_text())
    assert {row["phone_set"] for row in rows.values()} == {phone_set}
    labels = {p for row in rows.values() for p, _, _ in row["phones"]}
    assert {phone_class(p, phone_set) for p in labels} >= {*VOWELS, "vowel"}


def test_every_label_that_the_demo_can_write_is_known():
    english, mandarin = CORPORA.values()
    stressed = [
        f"{label}{stress}"
        for label in english["phones"].values()
        for stress in ("012" if label[0] in "AEIOU" else [""])
    ]
    assert all(phone_class(label, "arpa") for label in stressed)
    labels = [*mandarin["phones"].values(), "ia"]  # ie before n
    assert all(phone_class(label, "pinyin") for label in labels)


@pytest.mark.parametrize("corpus", CORPORA)
def test_nothing_but_the_sound_tells_the_emotion(corpus):
    lines = plan(CORPORA[corpus], seed=0)
    emotions = np.array([line.emotion for line in lines])
    speakers = [line.speaker for line in lines]
    tokens = [line.name.split("_")[1:] for line in lines]
    columns = zip(
        *([t[0] for t in tokens], [t[1] for t in tokens]),
        *(speakers, [x.text for x in lines], [x.gender for x in lines]),
        strict=True,
    )
    known = OneHotEncoder().fit_transform(list(columns)).toarray()
    order = np.linspace(0, 1, len(lines))[:, None]
    inputs = np.hstack([known, order])
    half = 1.96 * np.sqrt(0.25 * 0.75 / len(lines))
    for folds, groups in (
        (GroupKFold(6), speakers),
        (StratifiedKFold(6, shuffle=True, random_state=0), None),
    ):
        guessed = cross_val_predict(
            *(LogisticRegression(max_iter=500), inputs, emotions),
            cv=folds,
            groups=groups,
        )
        recall = recall_score(emotions, guessed, average="macro")
        assert abs(recall - 0.25) < half


def test_every_emotion_stands_equally_often_in_each_split():
    for language in CORPORA.values():
        lines = plan(language, seed=3)
        counts = Counter((x.split, x.emotion) for x in lines)
        assert {n for (s, _), n in counts.items() if s == "train"} == {40}
        assert {n for (s, _), n in counts.items() if s != "train"} == {16}


def test_a_killed_making_leaves_nothing_that_counts(tmp_path, monkeypatch):
    def killed(folder, **_):
        (folder / "half").write_text("")
        raise KeyboardInterrupt

    def whole(folder, **_):
        (folder / "whole").write_text("")

    monkeypatch.setattr(demo_prepare, "write_corpus", killed)
    with pytest.raises(KeyboardInterrupt):
        make_corpus(tmp_path, "msp_podcast")
    assert not (tmp_path / "msp_podcast").exists()
    monkeypatch.setattr(demo_prepare, "write_corpus", whole)
    folder = Path(make_corpus(tmp_path, "msp_podcast"))
    assert [p.name for p in folder.iterdir()] == ["whole"]
    assert not list(tmp_path.glob(".*.tmp"))


def test_two_runs_at_once_make_a_corpus_once(tmp_path, monkeypatch):
    made = []

    def write(folder, **_):
        made.append(folder)
        (folder / "file").write_text("whole")

    monkeypatch.setattr(demo_prepare, "write_corpus", write)
    with ThreadPoolExecutor(8) as pool:
        folders = set(
            pool.map(lambda _: make_corpus(tmp_path, "msp_podcast"), range(8))
        )
    assert len(made) == len(folders) == 1
    assert (Path(folders.pop()) / "file").read_text() == "whole"


def test_without_the_synthesiser_one_message_says_how(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r'pip install -e "\.\[demo\]"'):
        make_corpus(tmp_path, "msp_podcast")


def test_another_corpus_is_used_as_it_is_or_refused(tmp_path):
    (tmp_path / "mine").mkdir()
    assert make_corpus(tmp_path, "mine") == str(tmp_path / "mine")
    with pytest.raises(UserError, match="msp_podcast, biic_podcast"):
        make_corpus(tmp_path, "emodb")
