"""Broken audio, tables, TextGrids and manifests: only our own errors."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from broken_audio import BEGUN, READABLE, broken_audio
from conftest import (
    EMOTIONS,
    HPARAMS,
    make_corpus,
    make_encoder,
    write_table,
)
from encoder_kinds import KINDS
from forked import call
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from speechbrain.utils.importutils import LazyModule

from lam_sb.corpora.audio import check_audio
from lam_sb.corpora.manifests import read_manifest
from lam_sb.corpora.options import PrepOptions
from lam_sb.corpora.prepare import prepare_corpus
from lam_sb.corpora.textgrids import check_alignment, write_textgrid
from lam_sb.errors import UserError
from lam_sb.features.audio import UnreadableAudioError, load_audio

# hypothesis asks all modules for their file, which loads what is lazy.
LazyModule.__file__ = None
READERS = Path(__file__).parents[2] / "data_prep"


def some(number: int) -> Callable:
    """Try a few examples in the suite, 2,000 of them under ``-m slow``."""
    return settings(
        max_examples=number,
        deadline=None,
        derandomize=True,
        suppress_health_check=[*HealthCheck],
    )


few, many = some(60), some(2000)


def test_broken_audio_is_counted_and_never_encoded(tmp_path):
    files = broken_audio(tmp_path)
    assert len(files) > 65
    for name, path in files.items():
        found = check_audio(path)
        if "problem" not in found:  # what is left can be read as speech
            assert name.split(".")[0] in READABLE
            wav = load_audio(path)
            assert wav.isfinite().all()
            assert len(wav) <= 8000
            continue
        if name.split(".")[0] not in BEGUN:
            with pytest.raises(UnreadableAudioError):
                load_audio(path)


def test_one_broken_file_does_not_stop_a_corpus(tmp_path):
    corpus = make_corpus(tmp_path / "corpus", speakers=6, takes=2)
    (tmp_path / "broken").mkdir()
    table = (corpus / "labels.csv").read_text().splitlines()
    for n, (name, path) in enumerate(broken_audio(tmp_path / "broken").items()):
        (corpus / "audio" / name).unlink(missing_ok=True)
        path.rename(corpus / "audio" / name)
        lines = [*table, f"audio/{name},sad,s0{n % 6}"]
        (corpus / "labels.csv").write_text("\n".join(lines) + "\n")
        _prepare(corpus, tmp_path / "out")
        report = json.loads((tmp_path / "out/prep_report.json").read_text())
        assert len(report["skipped"]) <= 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "family", ["wavlm", "hubert", "wav2vec2", "wav2vec2_stable", "whisper"]
)
def test_no_broken_file_reaches_a_store(family, tmp_path):
    kind, keys = KINDS[family]
    encoder = make_encoder(tmp_path / "encoder", kind, **keys)
    data = tmp_path / "data"
    corpora = [make_corpus(data / name, seed=n) for n, name in enumerate("ab")]
    (tmp_path / "broken").mkdir()
    table = (corpora[0] / "labels.csv").read_text()
    for name, path in broken_audio(tmp_path / "broken").items():
        shutil.move(path, corpora[0] / "audio" / name)
        line = f"audio/{name},sad,s00\n"
        (corpora[0] / "labels.csv").write_text(table + line)
        out = tmp_path / "out"
        words = {"source": "a", "target": "b", "encoder_source": encoder}
        words |= {"data_folder": data, "output_root": out}
        words |= {"manifest_folder": out / "m", "feature_folder": out / "f"}
        given = [f"--{key}={value}" for key, value in words.items()]
        ended = call("extract", HPARAMS / "small/layer_atn.yaml", *given)
        assert ended.code == 0, (name, ended.said)
    shards = list((out / "f").rglob("????????????????.safetensors"))
    assert shards
    for shard in shards:
        assert all(x.isfinite().all() for x in load_file(shard).values())


def _prepare(corpus: Path, out: Path, **given) -> None:
    options = PrepOptions(protocol="transductive")
    prepare_corpus("toy", corpus, out, options, READERS, **given)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("broken") / "toy", speakers=2)


CELLS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        ["", "../../etc/passwd", "/etc/passwd", "{data_root}", ".."]
    ),
    st.sampled_from([*EMOTIONS, "audio/s00_0_0_0.wav", "nan", "1e9", "\x00"]),
)
TABLES = st.lists(st.lists(CELLS, max_size=6), max_size=8)


def check_table(corpus: Path, table: list, join: str, encoding: str) -> None:
    whole = (corpus / "labels.csv").read_bytes()
    text = "\n".join(join.join(row) for row in table)
    head = join.join(["path", "emotion", "speaker"]) + "\n"
    try:
        for content in (text, head + text):
            raw = content.encode(encoding, errors="replace")
            (corpus / "labels.csv").write_bytes(raw)
            with tempfile.TemporaryDirectory() as out:
                with suppress(UserError):
                    _prepare(corpus, Path(out, "m"))
                for path in Path(out, "m").glob("t*.json"):
                    read_manifest(path, corpus)
    finally:
        (corpus / "labels.csv").write_bytes(whole)


SEPARATORS = st.sampled_from([",", ";", "\t", "|", " ", ",,"])
ENCODINGS = st.sampled_from(["utf-8", "utf-16", "latin-1", "utf-32", "cp1252"])


@few
@given(table=TABLES, join=SEPARATORS, encoding=ENCODINGS)
def test_tables(corpus, table, join, encoding):
    check_table(corpus, table, join, encoding)


@pytest.mark.slow
@many
@given(table=TABLES, join=SEPARATORS, encoding=ENCODINGS)
def test_many_tables(corpus, table, join, encoding):
    check_table(corpus, table, join, encoding)


def test_a_table_of_100000_columns(corpus, tmp_path):
    columns = ["path", "emotion", "speaker", *(f"c{n}" for n in range(100_000))]
    line = ["audio/s00_0_0_0.wav", "sad", "s00", *["x"] * 100_000]
    whole = (corpus / "labels.csv").read_bytes()
    write_table(corpus / "labels.csv", [dict(zip(columns, line, strict=True))])
    try:
        _prepare(corpus, tmp_path / "out")
    finally:
        (corpus / "labels.csv").write_bytes(whole)


@pytest.mark.parametrize("path", ["../x.wav", "audio/../../x.wav"])
def test_no_table_leads_out_of_its_folder(path, tmp_path):
    corpus = make_corpus(tmp_path / "toy", speakers=2)
    (corpus / "audio/s00_0_0_0.wav").rename(tmp_path / "x.wav")
    text = (corpus / "labels.csv").read_text()
    text = text.replace("audio/s00_0_0_0.wav", path)
    (corpus / "labels.csv").write_text(text)
    with pytest.raises(UserError, match="leads out of the corpus's folder"):
        _prepare(corpus, tmp_path / "out")


TIMES = st.one_of(
    st.floats(), st.sampled_from([-1.0, 1e300, 0.0, 0.1, 250.0, 1e-9])
)
INTERVALS = st.lists(st.tuples(TIMES, TIMES, st.text(max_size=5)), max_size=8)


def check_textgrid(
    folder: Path, intervals: list, cut: float, junk: str
) -> None:
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', ""]
    lines += ["0", "1", "<exists>", "1", '"IntervalTier"', '"phones"', "0", "1"]
    lines.append(str(len(intervals)))
    for start, end, label in intervals:
        lines += [str(start), str(end), f'"{label}"']
    text = "\n".join(lines)
    text = text[: int(len(text) * cut)] + junk
    path = folder / "a.TextGrid"
    path.write_text(text, encoding="utf-8", errors="replace")
    found = check_alignment(path)
    if "problem" not in found:
        last = 0.0
        for _, start, end in json.loads(found["phones"]):
            assert last - 0.0011 <= start < end < float("inf")
            last = end


CUTS = st.sampled_from([1.0, 1.0, 0.9, 0.5, 0.1])


@few
@given(intervals=INTERVALS, cut=CUTS, junk=st.text(max_size=10))
def test_textgrids(corpus, intervals, cut, junk):
    check_textgrid(corpus, intervals, cut, junk)


@pytest.mark.slow
@many
@given(intervals=INTERVALS, cut=CUTS, junk=st.text(max_size=10))
def test_many_textgrids(corpus, intervals, cut, junk):
    check_textgrid(corpus, intervals, cut, junk)


def test_a_textgrid_of_100000_intervals(tmp_path):
    intervals = [(n / 100, (n + 1) / 100, "AA1") for n in range(100_000)]
    write_textgrid(tmp_path / "a.TextGrid", {"phones": intervals}, 1000.0)
    found = check_alignment(tmp_path / "a.TextGrid")
    assert len(json.loads(found["phones"])) == 100_000


def test_times_in_milliseconds_are_noticed(tmp_path):
    corpus = make_corpus(tmp_path / "toy", speakers=2)
    for path in sorted((corpus / "audio").glob("*.wav")):
        grid = corpus / f"TextGrids/audio/{path.stem}.TextGrid"
        grid.parent.mkdir(parents=True, exist_ok=True)
        phones = [(10.0, 100.0, "HH"), (100.0, 250.0, "AA1")]
        write_textgrid(grid, {"phones": phones}, 300.0)
    _prepare(corpus, tmp_path / "out")
    report = json.loads((tmp_path / "out/prep_report.json").read_text())
    (note,) = (n for n in report["notes"] if "milliseconds" in n)
    assert "The alignments of 16 utterances" in note
    rows = read_manifest(tmp_path / "out/test.json", corpus)
    assert not any(row["phones"] for row in rows.values())


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda x: (
        st.lists(x, max_size=3)
        | st.dictionaries(st.text(max_size=5), x, max_size=3)
    ),
    max_leaves=8,
)
ROWS = st.dictionaries(
    st.text(max_size=5),
    st.dictionaries(
        st.sampled_from(["wav", "audio_sha", "duration", "emo", "phones"]), JSON
    ),
    max_size=3,
)


def check_manifest(folder: Path, content: object, cut: float) -> None:
    text = json.dumps(content)
    path = folder / "manifest.json"
    path.write_text(text[: int(len(text) * cut)])
    with suppress(UserError):
        read_manifest(path, folder)


@few
@given(content=st.one_of(JSON, ROWS), cut=CUTS)
def test_manifests(corpus, content, cut):
    check_manifest(corpus, content, cut)


@pytest.mark.slow
@many
@given(content=st.one_of(JSON, ROWS), cut=CUTS)
def test_many_manifests(corpus, content, cut):
    check_manifest(corpus, content, cut)


@pytest.mark.parametrize("name", ["録音　一", "گوینده‌اول", "no\u00a0break"])
def test_speakers_have_names_of_any_script(name, tmp_path):
    corpus = make_corpus(tmp_path / "toy", speakers=2)
    text = (corpus / "labels.csv").read_text().replace(",s00", f",{name}")
    (corpus / "labels.csv").write_text(text)
    _prepare(corpus, tmp_path / "out")
    rows = read_manifest(tmp_path / "out/test.json", corpus)
    assert {row["speaker"] for row in rows.values()} == {name, "s01"}
