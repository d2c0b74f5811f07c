"""The command ``predict``: what it writes, and how it goes on."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from conftest import read_table
from models import export, load, posteriors_of

from lam_sb.__main__ import main
from lam_sb.corpora.manifests import EMOTIONS
from lam_sb.errors import UserError
from lam_sb.features.audio import load_audio
from lam_sb.files import one_writer
from lam_sb.inference import predict
from lam_sb.inference.windows import windows_of
from lam_sb.tensors import opened_tensors, save_tensors

COLUMNS = ["path", "start", "end", "label", *EMOTIONS, "confidence"]


@pytest.fixture
def exported(train_on, three, tmp_path):
    """A model trained on noise, and what the run said of its test rows."""
    shared = three / "shared"  # made once, for all tests
    run = shared / "small_lam_gl/left-right/1"
    if not shared.exists():
        keys = {"storage_dtype": "float32", "seed": 1, "output_root": shared}
        export(shared, train_on("left", "right", **keys))
    folder = shutil.copytree(shared / "exported", tmp_path / "exported")
    return run, folder


@pytest.fixture
def call(exported, wavlm, tmp_path):
    """Classify some paths into out.csv, and read it."""

    def predicted(*paths, **options) -> list[dict]:
        options = {"csv": tmp_path / "out.csv"} | options
        words = [f"--{key}={value}" for key, value in options.items()]
        main(
            [
                *("predict", str(exported[1]), *map(str, paths), *words),
                f"--encoder_source={wavlm}",
                "--device=cpu",
            ]
        )
        return read_table(options["csv"])

    return predicted


def noise(path, seconds, rate=16000, seed=0, channels=1):
    rng = np.random.default_rng(seed)
    wav = rng.normal(0, 0.1, (int(seconds * rate), channels))
    soundfile.write(path, wav, rate)
    return path


def test_short_files_get_what_their_run_said(call, exported, three):
    known = posteriors_of(exported[0], three, "right")
    rows = call(three / "right")
    assert list(rows[0]) == COLUMNS
    by_path = {row["path"]: row for row in rows}
    assert known.keys() <= by_path.keys()
    assert list(by_path) == sorted(by_path)
    for path, posteriors in known.items():
        row = by_path[path]
        found = [float(row[e]) for e in EMOTIONS]
        assert np.allclose(found, posteriors, atol=1e-5)
        assert row["label"] == EMOTIONS[int(np.argmax(posteriors))]
        assert float(row["confidence"]) == max(found)
        assert (float(row["start"]), len(rows)) == (0, len(by_path))


def test_long_files_of_any_kind_are_cut(call, exported, wavlm, tmp_path):
    path = noise(tmp_path / "long.flac", 18.5, rate=22050, channels=2)
    rows = call(path)
    edges = [(float(r["start"]), float(r["end"])) for r in rows]
    assert edges == [(0, 6.167), (6.167, 12.333), (12.333, 18.5)]
    model = load(exported[1], wavlm)
    for row, (start, end) in zip(rows, windows_of(18.5), strict=True):
        posteriors = model.classify_batch(load_audio(path, start, end))[0][0]
        found = [float(row[e]) for e in EMOTIONS]
        assert np.allclose(found, posteriors.numpy(), atol=1e-5)
    whole = load_audio(path)
    part = load_audio(path, 6.0, 12.0)
    assert len(part) == 96000
    assert torch.allclose(part[1600:-1600], whole[97600:190400], atol=1e-3)


def test_it_goes_on_where_it_was_stopped(call, three, tmp_path, monkeypatch):
    out = tmp_path / "out.csv"
    whole = call(three / "right")
    lines = out.read_text().splitlines(keepends=True)
    out.write_text("".join(lines[:5]) + lines[5][:20])  # killed in a line
    encoded = []
    encode = predict._encode

    def spy(model, windows):
        encoded.extend(windows)
        return encode(model, windows)

    monkeypatch.setattr(predict, "_encode", spy)
    assert call(three / "right") == whole
    assert out.read_text() == "".join(lines)
    assert len(encoded) == len(lines) - 5
    assert {w[0] for w in encoded} == {row["path"] for row in whole[4:]}


def other_model(folder: Path, change: str) -> None:
    """Make a model another one: its temperature, or its weights."""
    weights, hyperparams = folder / "model.safetensors", "hyperparams.yaml"
    with opened_tensors(weights) as file:
        tensors, content = file.tensors(), file.content
    if change == "weights":
        tensors["0.0/std"] = tensors["0.0/std"] + 1
    else:
        text = (folder / hyperparams).read_text()
        text = text.replace("temperatures: [1.0]", "temperatures: [2.0]")
        (folder / hyperparams).write_text(text)
        content["values"]["temperatures"] = [2.0]
    save_tensors(weights, tensors, content)


@pytest.mark.parametrize(
    "change", ["model", "weights", "option", "foreign", "stamp", "files"]
)
def test_rows_of_other_settings_are_never_mixed(
    change, call, three, tmp_path, exported
):
    out = tmp_path / "out.csv"
    path, second = sorted((three / "right").rglob("*.wav"))[:2]
    message = r"out.csv is there, and was made with"
    if change == "foreign":
        out.write_text("mine\n")
    else:
        call(path)
    before, options = out.read_text(), {}
    if change == "option":
        options = {"min_confidence": 0.9}
    if change in ("model", "weights"):
        other_model(exported[1], change)
    if change == "stamp":
        (tmp_path / "out.csv.settings.json").write_text("{")
    if change == "files":
        path, message = second, "has rows of 1 files that are not given now"
    with pytest.raises(UserError, match=message):
        call(path, **options)
    assert out.read_text() == before


def test_what_it_is_not_sure_of_is_unsure(call, three, tmp_path):
    sure = call(three / "right")
    confidences = sorted(float(row["confidence"]) for row in sure)
    limit = confidences[len(confidences) // 2]
    out = tmp_path / "other.csv"
    rows = call(three / "right", min_confidence=limit, csv=out)
    for one, two in zip(sure, rows, strict=True):
        unsure = float(one["confidence"]) < limit
        assert two["label"] == ("unsure" if unsure else one["label"])
        assert {**two, "label": ""} == {**one, "label": ""}
    assert 0 < sum(row["label"] == "unsure" for row in rows) < len(rows)


def test_adapting_takes_the_statistics_of_the_files(
    call, exported, wavlm, three, tmp_path
):
    files = sorted((three / "third").rglob("*.wav"))[:24]
    rows = call(*files, adapt="True")
    model = load(exported[1], wavlm)
    x, mask = model.encode(
        [load_audio(path) for path in files], [str(p) for p in files]
    )
    vectors = x[mask].double()
    mean, std = vectors.mean(0), vectors.std(0, correction=0)
    model.mods.classifier.adapt(mean.float(), std.float())
    expected = model.posteriors(x, mask).numpy()
    found = [[float(row[e]) for e in EMOTIONS] for row in rows]
    assert np.allclose(found, expected, atol=1e-4)
    plain = call(*files, csv=tmp_path / "plain.csv")
    differ = [[float(row[e]) for e in EMOTIONS] for row in plain]
    assert not np.allclose(found, differ, atol=1e-3)
    with pytest.raises(UserError, match=r"at least 20 files .* there are 3"):
        call(*files[:3], adapt="True", csv=tmp_path / "few.csv")
    assert not [*tmp_path.glob("few.csv*")]  # for the corrected command
    broken = [noise(tmp_path / f"{n}.wav", 1) for n in range(20)]
    for path in broken:
        path.write_bytes(path.read_bytes()[:44])  # the header alone
    with pytest.raises(UserError, match=r"at least 20 files .* there are"):
        call(*files[:3], *broken, adapt="True", csv=tmp_path / "few.csv")


def test_adapting_takes_windows_from_all_over(call, tmp_path, monkeypatch):
    """And only chunks that have frames."""
    monkeypatch.setattr(predict, "MOST", 25)
    files = [noise(tmp_path / f"{n:02d}.wav", 0.12, seed=n) for n in range(60)]
    seen, adapt = [], predict.mean_and_std

    def spy(count, total, squares):
        seen.append(count)
        return adapt(count, total, squares)

    monkeypatch.setattr(predict, "mean_and_std", spy)
    encoded, encode = [], predict._encode

    def encodes(model, windows):
        encoded.append([path for path, _ in windows])
        return encode(model, windows)

    monkeypatch.setattr(predict, "_encode", encodes)
    call(*files, adapt="True")
    assert encoded[0] == [str(path) for path in files[::3]]
    frames = 5  # of 0.12 s, in 8 chunks
    assert seen == [20 * frames]


def test_a_model_of_plain_features_does_not_adapt(
    train_on, three, wavlm, tmp_path
):
    folder = export(tmp_path, train_on("left", "right", normalise="none"))
    files = [str(p) for p in (three / "right").rglob("*.wav")]
    words = [f"--csv={tmp_path / 'o.csv'}", "--adapt=True"]
    words.append(f"--encoder_source={wavlm}")
    with pytest.raises(UserError, match="trained on features as they are"):
        main(["predict", str(folder), *files, *words])


def test_a_file_that_changed_is_classified_again(call, tmp_path):
    paths = [noise(tmp_path / f"{n}.wav", 2, seed=n) for n in range(3)]
    before = call(*paths)
    noise(paths[1], 2, seed=9)
    after = call(*paths)
    assert [a == b for a, b in zip(before, after, strict=True)] == [
        *(True, False, True)
    ]
    fresh = call(*paths, csv=tmp_path / "fresh.csv")
    assert fresh == after


def test_what_was_decoded_of_a_file_is_kept_and_said(call, tmp_path, capsys):
    path = noise(tmp_path / "cut.flac", 40)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    rows = call(path)
    assert [row["start"] for row in rows] == ["0.000", "8.000"]
    said = capsys.readouterr().out
    assert f"{path} cannot be decoded from 16.0 s on" in said
    assert "1 file: " in said


def test_what_cannot_be_read_is_named_and_left_out(
    call, three, tmp_path, capsys
):
    good = sorted((three / "right").rglob("*.wav"))[0]
    (tmp_path / "broken.wav").write_text("no audio")
    noise(tmp_path / "short.wav", 0.05)
    cut = tmp_path / "cut.flac"
    noise(cut, 3)
    cut.write_bytes(cut.read_bytes()[:2000])
    nothing = tmp_path / "nan.wav"
    wav = np.zeros(16000, np.float32)
    wav[500] = np.nan
    soundfile.write(nothing, wav, 16000, subtype="FLOAT")
    names = ("broken.wav", "short.wav", "cut.flac", "nan.wav")
    rows = call(good, *(tmp_path / name for name in names))
    assert [row["path"] for row in rows] == [str(good)]
    said = capsys.readouterr().out
    assert all(f"Left out: {tmp_path / name}" in said for name in names)
    assert "1 file: " in said
    with pytest.raises(UserError, match=r"no audio to classify. .*broken.wav"):
        call(tmp_path / "broken.wav", csv=tmp_path / "b.csv")


def test_odd_names_stay_what_they_are(call, tmp_path):
    names = ["a,b.wav", 'q"q.wav', "l\u2028s.wav", "n\nl.wav", "語音.wav"]
    paths = [str(noise(tmp_path / n, 0.5, seed=k)) for k, n in enumerate(names)]
    assert [row["path"] for row in call(*paths)] == paths
    assert [row["path"] for row in call(*paths)] == paths  # resumed


def test_long_files_are_drawn(call, three, tmp_path):
    long = noise(tmp_path / "long.wav", 20)
    short = sorted((three / "right").rglob("*.wav"))[0]
    call(long, short, plot="True")
    (picture,) = (tmp_path / "out_plots").iterdir()
    assert picture.name == "00000_long.png"
    assert picture.read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["gone.wav", "--csv=o.csv"], r"gone.wav: there is no such file"),
        ([], "arguments are required: paths"),
        (["."], "arguments are required: --csv"),
        ([".", "--csv=o.csv", "--adapt=yes"], "adapt takes True or False"),
        ([".", "--csv=o.csv", "--min_confidence=2"], "number from 0 to 1"),
        ([".", "--csv=o.csv", "--treshold=1"], r"nrecognized .*--treshold=1"),
    ],
)
def test_a_wrong_command_line_says_what_to_type(words, message):
    with pytest.raises(UserError, match=message) as error:
        main(["predict", "model", *words])
    if "gone" not in message:
        assert "use python -m lam_sb predict MODEL" in str(error.value)


def test_no_model_is_said(tmp_path, train_on, three):
    path = str(sorted((three / "right").rglob("*.wav"))[0])
    out = f"--csv={tmp_path / 'o.csv'}"
    with pytest.raises(UserError, match="is no exported model; write one with"):
        main(["predict", str(tmp_path), path, out])
    run = train_on("left", "right")
    with pytest.raises(UserError, match="is no exported model, but a run; wri"):
        main(["predict", str(run), path, out])
    assert not (tmp_path / "o.csv").exists()


def test_a_file_that_ends_too_early_or_is_silent_is_said(
    call, tmp_path, exported, wavlm, capsys
):
    cut, silent = tmp_path / "cut.wav", tmp_path / "silent.wav"
    noise(cut, 6)
    cut.write_bytes(cut.read_bytes()[: 44 + 2 * 32000])  # 2 s of it
    soundfile.write(silent, np.zeros(32000), 16000)
    rows = call(cut, silent)
    assert [(r["path"], r["end"]) for r in rows] == [(str(cut), "2.000")]
    said = capsys.readouterr().out
    assert f"In part: {cut} is damaged, or ends before it should" in said
    assert f"Left out: {silent} cannot be classified: audio of dig" in said
    model = load(exported[1], wavlm)
    for path, problem in ((cut, "unreadable audio"), (silent, "audio of dig")):
        with pytest.raises(
            UserError, match=f"{path} cannot be classified: {problem}"
        ):
            model.classify_file(path)


def test_the_table_is_read_by_pandas(call, tmp_path):
    call(noise(tmp_path / "a.wav", 9))
    table = pd.read_csv(tmp_path / "out.csv")
    assert list(table) == COLUMNS
    assert table[list(EMOTIONS)].sum(axis=1).to_numpy() == pytest.approx(
        1, abs=1e-5
    )
    settings = json.loads((tmp_path / "out.csv.settings.json").read_text())
    assert settings["settings"]["min_confidence"] == 0
    with open(tmp_path / "out.csv", newline="") as file:
        assert len(list(csv.reader(file))) == 3


def test_a_table_is_written_by_one_command_at_a_time(call, three, tmp_path):
    path = tmp_path / "out.csv"
    with (
        one_writer(path),
        pytest.raises(UserError, match="Another command is writing"),
    ):
        call(three / "right")
    assert not path.exists()
    assert call(three / "right")
    assert not list(tmp_path.glob("*.lock"))
