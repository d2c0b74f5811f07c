"""The whole way, as a user goes it: train.py on tiny encoders and corpora."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import EMOTIONS, ROOT, make_encoder, read_table
from runs import folder_of, results_of, run, same_weights, weights_of

import train
from lam_sb.console import console
from lam_sb.errors import UserError
from lam_sb.training.loaders import FeatureDataset


def test_a_run_leaves_what_the_design_says(arguments, capsys):
    folder = run(arguments())
    results = results_of(folder)
    last_line = capsys.readouterr().out.strip().splitlines()[-1]
    assert last_line.startswith(f"Test UAR {results['uar']:.4f} [")
    assert last_line.endswith("results.json")

    rows = read_table(folder / "predictions.csv")
    header = ["id", "speaker", "cluster", "corpus", "label", "prediction"]
    assert list(rows[0]) == [*header, *EMOTIONS]
    assert [r["id"] for r in rows] == sorted(r["id"] for r in rows)
    assert len(rows) == results["n_test"] == 48
    for row in rows:
        posteriors = [float(row[e]) for e in EMOTIONS]
        assert sum(posteriors) == pytest.approx(1, abs=1e-8)
        best = EMOTIONS[posteriors.index(max(posteriors))]
        assert row["prediction"] == best
    largest = [max(float(row[e]) for e in EMOTIONS) for row in rows]
    assert results["confidence"] == pytest.approx(sum(largest) / 48, abs=1e-8)
    assert 0 < results["brier"] < 2
    assert 0 < results["ece"] < 1
    assert list(results["uar_surest"]) == ["25", "50", "75"]

    table = read_table(folder / "layer_weights.csv")
    columns = "epoch,layer,alpha,share,coral,floor,trace_source,trace_target"
    assert ",".join(table[0]) == columns
    assert len(table) == 2 * 4
    for epoch in ("1", "2"):
        own = [r for r in table if r["epoch"] == epoch]
        assert sum(float(r["share"]) for r in own) == pytest.approx(1)
        assert sum(float(r["alpha"]) for r in own) == pytest.approx(1)

    recalls = results["recall"].values()
    assert results["uar"] == pytest.approx(sum(recalls) / 4)
    assert sum(map(sum, results["confusion"])) == 48
    assert results["schema"] == 2
    assert results["target_labels_used"] == 0
    assert results["adapts_on"] == "target_train + test_rows"
    assert results["notes"] == [
        "The test set has 6 speakers, fewer than 10: the interval is rough."
    ]
    assert (folder / "hyperparams.yaml").is_file()
    assert (folder / "train_log.txt").is_file()
    copied = (folder / "train.py").read_bytes()
    assert copied == (ROOT / "train.py").read_bytes()
    assert not (folder / "console.py").exists()


def test_learns_what_both_corpora_share(arguments):
    folder = run(arguments(number_of_epochs=40))
    results = results_of(folder)
    assert results["uar"] > 0.6  # each emotion has a pitch of its own


def test_the_console_says_little_the_log_file_all(arguments, capsys):
    saved = "Saved an end-of-epoch checkpoint"
    folder = run(arguments(number_of_epochs=3, max_steps="null"))
    said = capsys.readouterr().out
    lines = [x.split(",")[0] for x in said.splitlines() if "Epoch" in x]
    assert lines == ["Epoch 1", "Epoch 2", "Epoch 3"]
    assert f"System lam_gl, results in {folder}\n" in said
    assert "The test set has 6 speakers" in said
    assert saved not in said
    log = (folder / "log.txt").read_text()
    assert log.count(saved) == 3
    assert log.count("- Epoch ") == 3
    train.main(arguments("small/lam_gl.yaml", "--verbose", experiment="v"))
    assert saved in capsys.readouterr().out


def test_of_many_short_epochs_some_are_printed(arguments, capsys):
    run(arguments(max_steps=250, number_of_epochs=4))
    said = capsys.readouterr().out
    # 50 epochs of 5 steps at most, in about 25 lines.
    lines = [x.split(":")[0] for x in said.splitlines() if "Epoch" in x]
    assert lines == ["Epoch 2, 10 steps", "Epoch 4, 20 steps"]


@pytest.mark.parametrize(
    "yaml", ["small/cc.yaml", "small/layer_atn.yaml", "small/layer_drop.yaml"]
)
def test_controls_mix_the_layers_they_say(yaml, arguments):
    keys = {"anchor_layers": None} if "cc" in yaml else {}
    folder = run(arguments(yaml, **keys))
    results = results_of(folder)
    layers = {"cc": [4], "layer_atn": [1, 2, 3, 4], "layer_drop": [3, 4]}
    assert results["layers"] == layers[results["system"]]
    assert results["alignment"] == "none"


def test_the_paper_file_runs_with_early_stopping(arguments):
    folder = run(
        arguments(
            "lam_gl_wavlm.yaml",
            protocol="transductive",
            number_of_epochs=12,
            patience=1,
            min_steps=0,
            lr=0.05,  # overfits at once
            experiment="paper",
        )
    )
    results = results_of(folder)
    assert results["epochs"] < 12
    assert results["epochs"] == results["best_epoch"] + 1
    assert results["uar"] == results["uar_source"]
    assert results["target_row_filter"] == "labels"


def test_each_epoch_passes_the_source_in_another_order(arguments, monkeypatch):
    seen = []
    fetch = FeatureDataset.__getitems__

    def noted(self, indices):
        if len(self.parts) == 2:
            seen.append([i for i in indices if i < len(self.parts[0])])
        return fetch(self, indices)

    monkeypatch.setattr(FeatureDataset, "__getitems__", noted)
    run(arguments())
    assert len(seen) == 2 * 5
    first, second = (
        [i for batch in epoch for i in batch] for epoch in (seen[:5], seen[5:])
    )
    assert sorted(first) == sorted(second) == list(range(40))
    assert first != second


def test_encoder_source_alone_swaps_the_encoder(arguments, tmp_path):
    for family in ("hubert", "wav2vec2", "whisper"):
        source = make_encoder(tmp_path / f"tiny-{family}", family, layers=3)
        folder = run(
            arguments(
                encoder_source=source,
                whisper_context="valid",
                experiment=family,
            )
        )
        results = results_of(folder)
        assert results["encoder"] == str(source)
        assert results["layers"] == [1, 2, 3]


def test_anchor_layers_beyond_the_encoder_are_refused(arguments):
    with pytest.raises(UserError, match="layers 1 to 4, so not 8, 9, 11"):
        train.main(arguments(anchor_layers="[8, 9, 11]"))


def test_the_encoder_stays_frozen_through_a_whole_fit(
    arguments, tmp_path, monkeypatch
):
    source = make_encoder(
        tmp_path / "dropping", layerdrop=0.9, hidden_dropout=0.5
    )
    seen, saved = [], {}
    original = train.LamBrain.fit

    def fit(self, *args, **kwargs):
        encoder = self.hparams.encoder
        wavs, lens = torch.randn(2, 8000), torch.tensor([8000, 6000])
        before, _ = encoder(wavs, lens)
        original(self, *args, **kwargs)
        checkpoint = self.checkpointer.find_checkpoint()
        saved.update(torch.load(checkpoint.paramfiles["model"]))
        encoder.train()
        self.modules.train()
        after, _ = encoder(wavs, lens)
        seen.append((before, after))
        assert not any(p.requires_grad for p in encoder.parameters())
        trained = {id(p) for p in self.modules.parameters()}
        assert trained.isdisjoint(map(id, encoder.parameters()))

    monkeypatch.setattr(train.LamBrain, "fit", fit)
    folder = run(arguments(encoder_source=source))
    ((before, after),) = seen
    assert before.shape[1] == 4
    assert torch.equal(before, after)
    kept = {name.split(".")[0] for name in weights_of(folder)}
    assert kept == {"projector", "pooling", "head"}
    assert {name.split(".")[0] for name in saved} == kept


def test_the_log_says_what_the_alignment_does(arguments):
    raw = run(
        arguments(
            projection_norm="none",
            scale="frobenius",
            number_of_epochs=40,
            gamma=20,
            lr=0.01,
            experiment="raw",
        )
    )
    log = (raw / "train_log.txt").read_text()
    for word in (
        "anchored share",
        "coral 1:",
        "floor 2:",
        "trace_source 2:",
        "ratio",
    ):
        assert word in log
    warning = "The alignment switches anchored layers off"
    assert (raw / "log.txt").read_text().count(warning) == 1
    table = read_table(raw / "layer_weights.csv")
    shares = [
        sum(
            float(r["share"])
            for r in table
            if r["epoch"] == epoch and r["layer"] in ("1", "2")
        )
        for epoch in ("1", "40")
    ]
    assert shares[1] < 0.2 * shares[0]


@pytest.mark.parametrize("system", ["lam_gl", "few_shot"])
def test_two_processes_give_the_weights_of_one(system, arguments, tmp_path):
    # With SGD, as Adam makes a full step of the sign of a gradient near 0.
    yaml = tmp_path / "sgd.yaml"
    base = ROOT / f"hparams/small/{system}.yaml"
    keys = {}
    if system == "few_shot":
        keys = {"anchor_layers": None, "batch_size": None}
        keys |= {"episode_shots": 2, "episode_queries": 4, "target_shots": 1}
    optimizer = "opt_class: !name:torch.optim.SGD\n    lr: !ref <lr>\n"
    yaml.write_text(f"base: {base}\n{optimizer}")

    def launch(world):
        made = arguments(
            "small/lam_gl.yaml",
            experiment=f"on_{world}",
            dropout=0.0,
            lr=0.1,
            device="cpu",
            **keys,
        )
        made[0] = str(yaml)
        if world == 1:
            return run(made)
        ranks = ["--standalone", f"--nproc_per_node={world}"]
        command = ["-m", "torch.distributed.run", *ranks, ROOT / "train.py"]
        done = subprocess.run(  # processes that miss each other wait for ever
            [sys.executable, *command, *made],
            capture_output=True,
            text=True,
            timeout=180,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        save = folder_of(made) / "save"
        kept = sorted(path.name for path in save.iterdir())
        expected = ["finished.json", "inference.safetensors"]
        expected += ["prototypes.safetensors"] * (system == "few_shot")
        assert kept == [*expected, "tested.safetensors"]
        return save.parent

    folders = launch(1), launch(2)
    one, two = map(weights_of, folders)
    for name, values in one.items():  # in float16
        assert torch.allclose(values, two[name], rtol=2e-3, atol=1e-5), name
    # These are of the weights in float32.
    losses = [read_table(folder / "history.csv") for folder in folders]
    layers = [read_table(folder / "layer_weights.csv") for folder in folders]
    for column in ("valid_loss", "valid_uar"):
        assert_alike(losses, column)
    for column in ("alpha", "share", "coral", "floor", "trace_target"):
        assert_alike(layers, column)


def assert_alike(tables, column):
    one, two = ([float(row[column]) for row in table] for table in tables)
    assert one == pytest.approx(two, rel=1e-5, abs=1e-6)


def test_a_dry_run_counts_and_stops(arguments, tmp_path, capsys):
    features = tmp_path / "features"
    made = arguments(dry_run=True, feature_folder=features, experiment="dry")
    train.main(made)
    out = capsys.readouterr().out
    even = "angry 12, happy 12, neutral 12, sad 12"
    assert f"target_train (right): 48 rows: {even}" in out
    assert "target_test (right): 48 rows" in out
    assert "source_train (left): 40 rows" in out  # 5 of 6 speakers
    # Both corpora, 9 means of 4 layers of 32 values, 2 bytes each.
    assert f"96 utterances, {96 * 9 * 4 * 32 * 2 / 1e9:.2f} GB" in out
    assert "96 of them to encode, about 0." in out
    assert not features.exists()
    assert not folder_of(made).exists()
    run(arguments(feature_folder=features, experiment="wet"))
    train.main(made)
    assert "0 of them to encode\n" in capsys.readouterr().out


def test_a_debug_run_leaves_results_and_their_folder_alone(arguments, capsys):
    folder = run(arguments("small/lam_gl.yaml", "--debug"))
    assert not folder.exists()
    beside = folder.with_name("0_debug")
    assert not (beside / "results.json").exists()
    assert not list((beside / "save").glob("CKPT*"))
    last_line = capsys.readouterr().out.strip().splitlines()[-1]
    assert last_line.endswith("] --debug leaves no result")


def test_a_store_moved_elsewhere_trains_without_the_encoder(
    arguments, wavlm, tmp_path
):
    there = run(arguments(experiment="there"))
    features = Path(
        arguments()[
            [a.startswith("--feature_folder") for a in arguments()].index(True)
        ].partition("=")[2]
    )
    shutil.copytree(features, tmp_path / "copied")
    gone = tmp_path / "no-such-place" / wavlm.name
    here = run(
        arguments(
            experiment="here",
            feature_folder=tmp_path / "copied",
            encoder_source=gone,
        )
    )
    assert same_weights(there, here)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"data_folder": "/nowhere"}, "/nowhere/left of left does not exist"),
        ({"batch_size": 400}, "fewer than one batch of 400"),
        ({"gama": 1}, "no key 'gama'. Did you mean 'gamma'?"),
        ({"encoder_source": "nobody/nothing"}, "nobody/nothing cannot be read"),
        ({"device": "cuda"}, "no GPU is usable here"),
        ({"target_rows": "some"}, "one of four, all"),
        ({"select_on": "best"}, "one of source, last, target"),
        ({"normalise": "corpus"}, "none, source, domain, speaker"),
    ],
)
def test_mistakes_give_one_message_without_a_traceback(
    keys, message, arguments, capsys
):
    if "device" in keys and torch.cuda.is_available():
        keys = {"device": "cuda:99"}
    with pytest.raises(SystemExit) as ended, console(verbose=False):
        train.main(arguments(**keys))
    assert ended.value.code == 2
    (said,) = [
        line
        for line in capsys.readouterr().err.splitlines()
        if line.startswith("error: ")
    ]
    assert message in said


def test_a_mistake_ends_the_script_with_its_message_alone(arguments):
    done = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *arguments(batch_size=400)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "fewer than one batch of 400" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("error: ")
