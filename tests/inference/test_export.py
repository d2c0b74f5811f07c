"""An exported model: what it says, what it holds, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from models import (
    export,
    finished_run,
    largest_difference,
    load,
    manifest_of,
    posteriors_of,
)
from runs import results_of
from safetensors.torch import load_file, save_file
from speechbrain.inference.interfaces import foreign_class

from lam_sb.corpora.manifests import EMOTIONS
from lam_sb.errors import UserError
from lam_sb.evaluation.metrics import uar
from lam_sb.features.audio import load_audio
from lam_sb.files import write_checked
from lam_sb.inference import EmotionClassifier
from lam_sb.tensors import opened_tensors, save_tensors

FULL = {"storage_dtype": "float32"}


@pytest.fixture
def run(train_on, three, tmp_path):
    return finished_run(train_on, three, tmp_path)


@pytest.mark.parametrize(
    ("system", "keys"),
    [
        ("lam_gl", FULL | {"normalise": "domain"}),
        ("lam_gl", FULL | {"normalise": "source", "time_chunks": 1}),
        ("few_shot", FULL | {"target_shots": 0}),
        ("ensemble", FULL),
        ("layer_atn", FULL | {"seeds_averaged": 2}),
    ],
)
def test_it_classifies_as_the_run_was_tested(
    system, keys, train_on, three, wavlm, tmp_path
):
    run = train_on("left", "right", system, **keys)
    known = posteriors_of(run, three, "right")
    model = load(export(tmp_path, run), wavlm)
    assert largest_difference(model, known) < 1e-5
    assert np.ptp([p.argmax() for p in known.values()]) or system != "ensemble"


def test_of_stored_float16_it_is_close(train_on, three, wavlm, tmp_path):
    run = train_on("left", "right", normalise="domain")
    model = load(export(tmp_path, run), wavlm)
    assert largest_difference(model, posteriors_of(run, three, "right")) < 1e-3


def test_of_several_targets_one_is_chosen(train_on, three, wavlm, tmp_path):
    run = train_on("left", "[right, third]", normalise="domain", **FULL)
    with pytest.raises(UserError, match=r"targets right, third: .* --target"):
        export(tmp_path, run)
    model = load(export(tmp_path, run, target="third"), wavlm)
    known = posteriors_of(run, three, "third", "third")
    assert largest_difference(model, known) < 1e-5


def test_runs_of_several_seeds_are_averaged(train_on, three, wavlm, tmp_path):
    runs = [train_on("left", "right", seed=n, **FULL) for n in (0, 3)]
    model = load(export(tmp_path, *runs), wavlm)
    one, two = (posteriors_of(run, three, "right") for run in runs)
    mean = {path: (one[path] + two[path]) / 2 for path in one}
    assert largest_difference(model, mean) < 1e-5
    assert max(np.abs(one[path] - two[path]).max() for path in one) > 0.01
    card = (tmp_path / "exported/README.md").read_text()
    assert "mean posteriors of 2 seeds" in card
    metadata = yaml.safe_load(card.split("---")[1])
    (scored,) = metadata["model-index"][0]["results"]
    rows = manifest_of(runs[0], three, "right").values()
    known = [row for row in rows if row["emo"]]
    expected = uar(
        np.array([EMOTIONS.index(row["emo"]) for row in known]),
        np.array([mean[row["wav"]].argmax() for row in known]),
    )
    assert scored["metrics"][0]["value"] == pytest.approx(expected, abs=1e-4)


def test_with_a_temperature(train_on, three, wavlm, tmp_path):
    keys = {"calibrate": "temperature", **FULL}
    run = train_on("[left, third]", "right", "layer_atn", **keys)
    assert results_of(run)["temperature"] != 1
    model = load(export(tmp_path, run), wavlm)
    assert largest_difference(model, posteriors_of(run, three, "right")) < 1e-5


def test_a_batch_is_as_its_utterances(train_on, three, wavlm, tmp_path):
    run = train_on("left", "right", **FULL)
    model = load(export(tmp_path, run), wavlm)
    wavs = [load_audio(p) for p in list(posteriors_of(run, three, "right"))[:5]]
    wavs[1], wavs[2] = wavs[1][:2000], torch.cat([wavs[2], wavs[3]])
    padded = torch.nn.utils.rnn.pad_sequence(wavs, batch_first=True)
    lens = torch.tensor([len(w) / padded.shape[1] for w in wavs])
    together = model(padded, lens)
    alone = [model.classify_batch(wav) for wav in wavs]
    for n, (posteriors, score, index, label) in enumerate(alone):
        assert torch.allclose(together[0][n], posteriors[0], atol=1e-6)
        assert together[1][n] == pytest.approx(float(score[0]), abs=1e-6)
        assert (together[2][n], together[3][n]) == (index[0], label[0])
    stereo = torch.stack([wavs[0], wavs[0]], dim=-1)[None]
    assert torch.allclose(model(stereo)[0], alone[0][0], atol=1e-6)
    stereo[..., 0], stereo[..., 1] = 2 * wavs[0], 0
    assert torch.allclose(model(stereo)[0], alone[0][0], atol=1e-6)


def test_what_its_functions_return(train_on, three, wavlm, tmp_path):
    run = train_on("left", "right", normalise="domain", **FULL)
    folder = export(tmp_path, run)
    model = foreign_class(
        str(folder),
        pymodule_file="custom_interface.py",
        overrides={"encoder_source": str(wavlm)},
    )
    assert type(model) is EmotionClassifier
    path = next(iter(posteriors_of(run, three, "right")))
    posteriors, score, index, labels = model.classify_file(path)
    assert posteriors.shape == (1, 4)
    assert float(posteriors.sum()) == pytest.approx(1)
    assert score[0] == posteriors[0].max() == posteriors[0, index[0]]
    assert labels == [["neutral", "happy", "angry", "sad"][int(index[0])]]
    wav = load_audio(path)
    x = model.encode_batch(wav)
    seen = model.encode_batch(wav, normalize=True)
    system = model.mods.classifier.runs[0][0]
    assert x.shape == seen.shape == (1, 8, 4, 32)
    expected = (x - system.mean) / system.std
    assert torch.allclose(seen, expected)
    assert not torch.allclose(seen, x)


def test_it_loads_in_another_folder_and_process(run, three, wavlm, tmp_path):
    folder = export(tmp_path, run).rename(tmp_path / "moved")
    path, known = next(iter(posteriors_of(run, three, "right").items()))
    code = (
        "from lam_sb.inference import EmotionClassifier as C\n"
        f"m = C.from_hparams({str(folder)!r}, savedir={str(tmp_path / 's')!r},"
        f" overrides={{'encoder_source': {str(wavlm)!r}}})\n"
        f"print(m.classify_file({path!r})[0][0].tolist())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert np.allclose(found, known, atol=1e-3)


@pytest.mark.parametrize("system", ["lam_gl", "few_shot", "ensemble"])
def test_it_names_no_utterance_speaker_or_path(
    system, train_on, three, tmp_path
):
    keys = {"target_shots": 0} if system == "few_shot" else {}
    run = train_on("left", "right", system, **keys)
    folder = export(tmp_path, run)
    files = {p.name: p.read_bytes() for p in folder.iterdir()}
    held = ["README.md", "custom_interface.py", "hyperparams.yaml"]
    held += ["label_encoder.txt", "model.safetensors"]
    held += ["ensemble_0.skops"] if system == "ensemble" else []
    assert sorted(files) == sorted(held)
    words = {str(tmp_path), str(three), str(run), "/tmp", "wav"}
    for part in ("train", "valid", "test"):
        for path in (run.parents[2] / "manifests").glob(f"*/*/{part}.json"):
            rows = json.loads(path.read_text(encoding="utf-8"))
            for utt_id, row in rows.items():
                words |= {utt_id, row["speaker"], row["audio_sha"]}
    words -= {"unknown"}
    secret = [w for w in words if len(w) > 3 and w != "wav"]
    assert len(secret) > 30
    for name, content in files.items():
        found = [w for w in secret if w.encode() in content]
        assert not found, name


def test_another_encoder_is_refused(run, encoders, wavlm, tmp_path):
    folder = export(tmp_path, run, encoder_source="mine/wavlm")
    text = (folder / "hyperparams.yaml").read_text()
    assert "encoder_source: mine/wavlm\n" in text
    assert "base_model: mine/wavlm" in (folder / "README.md").read_text()
    changed = tmp_path / "changed"
    changed.mkdir()
    for path in wavlm.iterdir():
        (changed / path.name).write_bytes(path.read_bytes())
    weights = load_file(changed / "model.safetensors")
    name = next(n for n in weights if n.endswith("layer_norm.bias"))
    weights[name] += 1
    save_file(weights, changed / "model.safetensors", {"format": "pt"})
    model = load(folder, changed)
    with pytest.raises(UserError, match="has other weights or another config"):
        model.classify_batch(torch.randn(8000))


@pytest.mark.parametrize("damage", ["missing", "shape", "cut"])
def test_weights_that_lack_something_are_refused(damage, run, wavlm, tmp_path):
    folder = export(tmp_path, run)
    path = folder / "model.safetensors"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    else:
        with opened_tensors(path) as file:
            tensors, content = file.tensors(), file.content
        name = sorted(n for n in tensors if n.endswith("pooling.scores"))[0]
        value = tensors.pop(name)
        if damage == "shape":
            tensors[name] = value[:-1].clone()
        save_tensors(path, tensors, content)
    with pytest.raises(UserError, match=r"model.safetensors is damaged, or of"):
        load(folder, wavlm)


def test_what_cannot_be_exported_is_said(run, train_on, tmp_path):
    with pytest.raises(UserError, match=r"holds no results\.json: give"):
        export(tmp_path, tmp_path)
    other = train_on("left", "right", seed=1, num_blocks=1, experiment="other")
    with pytest.raises(UserError, match=r"\(num_blocks\). One model averages"):
        export(tmp_path, run, other)
    with pytest.raises(UserError, match="left-right/0 is named twice"):
        export(tmp_path, run, run)
    assert not (tmp_path / "exported").exists()
    (tmp_path / "exported").mkdir()
    (tmp_path / "exported/mine.txt").write_text("mine")
    with pytest.raises(UserError, match="holds something already"):
        export(tmp_path, run)
    (run / "save/inference.safetensors").unlink()
    (tmp_path / "exported/mine.txt").unlink()
    with pytest.raises(UserError, match=r"Give the command that made it again"):
        export(tmp_path, run)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["exported", "results"]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"target": "third"}, "another target than"),
        ({"system": "layer_atn"}, "another system than"),
        ({"gamma": 0.1, "experiment": "weaker"}, r"\(gamma\)"),
        ({"normalise": "none", "experiment": "plain"}, r"\(normalise\)"),
    ],
)
def test_runs_that_differ_in_more_than_their_seed_are_not_averaged(
    keys, message, run, train_on, tmp_path
):
    other = train_on(**{"source": "left", "target": "right", "seed": 1} | keys)
    with pytest.raises(UserError, match=message):
        export(tmp_path, run, other)


@pytest.mark.parametrize("normalise", ["speaker", "domain"])
def test_that_speakers_are_not_known_is_said(
    normalise, train_on, tmp_path, capsys
):
    run = train_on("left", "right", normalise=normalise)
    capsys.readouterr()
    folder = export(tmp_path, run)
    said = capsys.readouterr().out
    card = (folder / "README.md").read_text()
    by_speaker = normalise == "speaker"
    assert ("takes none off: expect a little less" in said) == by_speaker
    assert ("does not know who speaks" in card) == by_speaker


def test_the_card_says_what_the_results_say(run, tmp_path):
    results, folder = results_of(run), export(tmp_path, run)
    card = (folder / "README.md").read_text()
    low, high = (100 * limit for limit in results["uar_ci95"])
    uar_text = f"{100 * results['uar']:.1f} [{low:.1f}, {high:.1f}]"
    assert f"| UAR (%), 95 % interval | {uar_text} |" in card
    assert f"| expected calibration error | {results['ece']:.3f} |" in card
    assert f"| Brier score | {results['brier']:.3f} |" in card
    assert f"| accuracy (%) | {100 * results['accuracy']:.1f} |" in card
    assert "| tested on | 48 utterances of right, 6 speakers |" in card


def test_only_what_is_tested_is_exported(train_on, wavlm, tmp_path):
    """With the epoch that differences are from, if it is another."""
    run = train_on("left", "right", select_on="source", max_steps=8, lr=0.05)
    (epoch,) = results_of(run)["tested_epochs"]
    folder = export(tmp_path, run)
    names = load_file(folder / "model.safetensors").keys()
    epochs = {name.split("/")[1] for name in names} - {"mean", "std"}
    assert epochs == {f"{epoch:05d}"}
    load(folder, wavlm)


def test_anyone_may_read_what_is_exported(run, tmp_path):
    folder = export(tmp_path, run)
    assert {p.stat().st_mode & 0o777 for p in folder.iterdir()} == {0o644}


def test_damaged_weights_are_one_sentence(run, tmp_path):
    path = run / "save/tested.safetensors"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(UserError, match=r"tested.safetensors is damaged"):
        export(tmp_path, run)


def test_an_unfinished_run_is_not_exported(run, tmp_path):
    results = results_of(run) | {"finished": False}
    del results["checksum"]
    write_checked(run / "results.json", results)
    with pytest.raises(UserError, match="is not finished: give its command"):
        export(tmp_path, run)


def test_a_finished_run_that_is_tested_again_keeps_what_export_needs(
    train_on, tmp_path
):
    run = train_on("left", "right")
    path = run / "save/inference.safetensors"
    before = path.read_bytes()
    path.unlink()
    train_on("left", "right")
    assert path.read_bytes() == before
    assert not (run / "save/weights").exists()
    export(tmp_path, run)
