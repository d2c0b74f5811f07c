"""The whole way, as a user goes it: train.py on tiny encoders and corpora."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import (
    EMOTIONS,
    make_encoder,
    read_table,
    write_table,
)
from safetensors.torch import load_file

import train
from lam_sb.errors import UserError
from lam_sb.training.brain import LamBrain
from lam_sb.training.data import FeatureDataset

ROOT = Path(__file__).parents[2]

SMALL = {
    "source": "left",
    "target": "right",
    "anchor_layers": "[1, 2]",
    "batch_size": 8,
    "number_of_epochs": 2,
    "average_last": 2,
    "num_heads": 2,
    "projection_dim": 16,
    "ffn_dim": 16,
}


@pytest.fixture
def arguments(tmp_path, corpora, wavlm, tmp_path_factory):
    """Arguments of a short run; keywords change, add or remove (None) keys."""
    features = tmp_path_factory.getbasetemp() / "features"

    def make(yaml: str = "small/lam_gl.yaml", *options: str, **keys) -> list:
        folders = {
            "data_folder": corpora,
            "encoder_source": wavlm,
            "feature_folder": features,
            "output_root": tmp_path / "results",
        }
        pairs = SMALL | folders | keys
        given = [f"--{k}={v}" for k, v in pairs.items() if v is not None]
        return [
            str(ROOT / "hparams" / yaml),
            "--noprogressbar",
            *given,
            *options,
        ]

    return make


def folder_of(arguments: list[str]) -> Path:
    _, _, overrides = train.parse_arguments(arguments)
    hparams, _ = train.load(arguments[0], overrides)
    return Path(hparams["output_folder"])


def run(arguments: list[str]) -> Path:
    folder = folder_of(arguments)
    train.main(arguments)
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    last = sorted((folder / "save/weights").glob("*.safetensors"))[-1]
    return load_file(last)


def same_weights(one: Path, two: Path) -> bool:
    a, b = weights(one), weights(two)
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def outcome(folder: Path) -> tuple:
    """Everything that must be equal for a run to be bit-identical."""
    results = json.loads((folder / "results.json").read_text())
    for key in ("seconds", "git", "device"):
        del results[key]
    rows = read_table(folder / "predictions.csv")
    for row in rows:
        del row["label"]
    return results, rows


def test_a_run_leaves_what_the_design_says(arguments, capsys):
    folder = run(arguments())
    results = json.loads((folder / "results.json").read_text())
    last_line = capsys.readouterr().out.strip().splitlines()[-1]
    assert last_line.startswith(f"Test UAR {results['uar']:.4f} [")
    assert last_line.endswith("results.json")

    rows = read_table(folder / "predictions.csv")
    header = ["id", "speaker", "cluster", "corpus", "label", "prediction"]
    assert list(rows[0]) == [*header, *EMOTIONS]
    assert [r["id"] for r in rows] == sorted(r["id"] for r in rows)
    assert len(rows) == results["n_test"] == 38  # 10 of 48 may be shots
    for row in rows:
        posteriors = [float(row[e]) for e in EMOTIONS]
        assert sum(posteriors) == pytest.approx(1, abs=1e-8)
        best = EMOTIONS[posteriors.index(max(posteriors))]
        assert row["prediction"] == best

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
    assert sum(map(sum, results["confusion"])) == 38
    assert results["schema"] == 1
    assert results["target_labels_used"] == 0
    assert (folder / "hyperparams.yaml").is_file()
    assert (folder / "train_log.txt").is_file()


def test_learns_what_both_corpora_share(arguments):
    folder = run(arguments(number_of_epochs=25, lr=0.003))
    results = json.loads((folder / "results.json").read_text())
    assert results["uar"] > 0.7  # each emotion has a pitch of its own


@pytest.mark.parametrize(
    "yaml", ["small/cc.yaml", "small/layer_atn.yaml", "small/layer_drop.yaml"]
)
def test_controls_mix_the_layers_they_say(yaml, arguments):
    keys = {"anchor_layers": None} if "cc" in yaml else {}
    folder = run(arguments(yaml, **keys))
    results = json.loads((folder / "results.json").read_text())
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
    results = json.loads((folder / "results.json").read_text())
    assert results["epochs"] < 12
    assert results["epochs"] == results["best_epoch"] + 1
    assert results["uar"] == results["uar_source"]
    assert results["target_row_filter"] == "labels"


def test_target_labels_never_reach_training(arguments, corpora, tmp_path):
    def with_labels(name, change):
        data = tmp_path / name
        shutil.copytree(corpora, data)
        table = data / "right/labels.csv"
        lines = read_table(table)
        write_table(table, [change(n, line) for n, line in enumerate(lines)])
        return data

    permuted = with_labels(
        "permuted", lambda n, x: x | {"emotion": EMOTIONS[n % 4]}
    )
    deleted = with_labels("deleted", lambda n, x: x | {"emotion": ""})
    for rows, data in (("four", permuted), ("all", deleted)):
        true = run(arguments(target_rows=rows, experiment=f"true_{rows}"))
        other = run(
            arguments(
                target_rows=rows,
                experiment=f"other_{rows}",
                data_folder=data,
                manifest_folder=tmp_path / f"manifests_{rows}",
            )
        )
        assert same_weights(true, other)
        assert outcome(true)[1] == outcome(other)[1]
    scores = json.loads((other / "results.json").read_text())
    assert scores["uar"] is None
    assert all(r["label"] == "" for r in read_table(other / "predictions.csv"))


def test_source_labels_do_reach_training(arguments, corpora, tmp_path):
    data = tmp_path / "changed"
    shutil.copytree(corpora, data)
    lines = read_table(data / "left/labels.csv")
    lines[0]["emotion"], lines[4]["emotion"] = (
        lines[4]["emotion"],
        lines[0]["emotion"],
    )
    write_table(data / "left/labels.csv", lines)
    manifests = tmp_path / "manifests"
    true = run(arguments(experiment="true"))
    other = run(
        arguments(
            experiment="other", data_folder=data, manifest_folder=manifests
        )
    )
    assert not same_weights(true, other)


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


def test_three_epochs_and_three_more_equal_six(arguments):
    straight = run(arguments(number_of_epochs=6, experiment="straight"))
    run(arguments(number_of_epochs=3, experiment="halved"))
    halved = run(arguments(number_of_epochs=6, experiment="halved"))
    assert same_weights(straight, halved)
    one, two = outcome(straight), outcome(halved)
    for result in (one[0], two[0]):
        del result["experiment"], result["settings_hash"]
    assert one == two
    tables = [(f / "layer_weights.csv").read_text() for f in (straight, halved)]
    assert tables[0] == tables[1]


@pytest.mark.parametrize("steps", [2, 7, 9])
def test_a_kill_in_mid_epoch_continues_bit_for_bit(
    steps, arguments, monkeypatch
):
    straight = run(arguments(number_of_epochs=3, experiment="straight"))
    halved = arguments(
        "small/lam_gl.yaml",
        "--ckpt_interval_steps=1",
        number_of_epochs=3,
        experiment="halved",
    )
    done = 0
    fit_batch = LamBrain.fit_batch

    def killed(self, batch):
        nonlocal done
        done += 1
        if done > steps:
            raise KeyboardInterrupt
        return fit_batch(self, batch)

    monkeypatch.setattr(LamBrain, "fit_batch", killed)
    with pytest.raises(KeyboardInterrupt):
        train.main(halved)
    monkeypatch.undo()
    folder = run(halved)
    assert same_weights(straight, folder)
    assert outcome(straight)[1] == outcome(folder)[1]


def test_a_finished_run_started_again_changes_nothing(arguments):
    folder = run(arguments(max_steps=7, number_of_epochs=100))
    before = outcome(folder), weights(folder)
    assert before[0][0]["steps"] == 7
    run(arguments(max_steps=7, number_of_epochs=100))
    assert outcome(folder) == before[0]
    assert all(torch.equal(v, before[1][k]) for k, v in weights(folder).items())


def test_other_settings_in_the_same_folder_are_refused(arguments):
    folder = run(arguments())
    before = (folder / "results.json").read_bytes()
    with pytest.raises(UserError) as refused:
        train.main(arguments(gamma=50, lr=0.5))
    message = str(refused.value)
    assert "gamma: 0.5 there, 50 now" in message
    assert "lr: 0.001 there, 0.5 now" in message
    assert "--experiment NAME" in message
    assert "seed" not in message
    assert (folder / "results.json").read_bytes() == before


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
        results = json.loads((folder / "results.json").read_text())
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
    seen = []
    original = LamBrain.fit

    def fit(self, *args, **kwargs):
        encoder = self.hparams.encoder
        wavs, lens = torch.randn(2, 8000), torch.tensor([8000, 6000])
        before, _ = encoder(wavs, lens)
        original(self, *args, **kwargs)
        encoder.train()
        self.modules.train()
        after, _ = encoder(wavs, lens)
        seen.append((before, after))
        assert not any(p.requires_grad for p in encoder.parameters())
        trained = {id(p) for p in self.modules.parameters()}
        assert trained.isdisjoint(map(id, encoder.parameters()))

    monkeypatch.setattr(LamBrain, "fit", fit)
    folder = run(arguments(encoder_source=source))
    ((before, after),) = seen
    assert before.shape[1] == 4
    assert torch.equal(before, after)
    kept = {name.split(".")[0] for name in weights(folder)}
    assert kept == {"projector", "pooling", "head"}
    checkpoint = next((folder / "save").glob("CKPT*"))
    saved = torch.load(checkpoint / "model.ckpt")
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
    for word in ("anchored share", "coral", "floor", "trace_source", "ratio"):
        assert word in log
    warning = "share of the pooled variance fell from"
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

    def launch(world, *options):
        made = arguments(
            "small/lam_gl.yaml",
            *options,
            experiment=f"on_{world}",
            dropout=0.0,
            lr=0.1,
            device="cpu",
            **keys,
        )
        made[0] = str(yaml)
        command = [str(ROOT / "train.py"), *made]
        if world > 1:
            ranks = ["--standalone", f"--nproc_per_node={world}"]
            command = ["-m", "torch.distributed.run", *ranks, *command]
        done = subprocess.run(  # processes that miss each other wait for ever
            [sys.executable, *command],
            capture_output=True,
            text=True,
            timeout=180,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return weights(folder_of(made))

    one, two = launch(1), launch(2, "--distributed_backend=gloo")
    for name, values in one.items():
        assert torch.allclose(values, two[name], atol=1e-5), name


def test_test_only_tests_what_was_trained(arguments):
    with pytest.raises(UserError, match="no trained weights"):
        train.main(arguments("small/lam_gl.yaml", "--test_only"))
    folder = run(arguments())
    before = outcome(folder)
    (folder / "results.json").unlink()
    run(arguments("small/lam_gl.yaml", "--test_only"))
    assert outcome(folder) == before


def test_mixed_precision_trains(arguments):
    made = arguments("small/lam_gl.yaml", "--precision=bf16")
    results = json.loads((run(made) / "results.json").read_text())
    assert 0 <= results["uar"] <= 1
    with pytest.raises(UserError, match="precision: 'bf16' there, None now"):
        run(arguments())


def test_selecting_on_the_target_is_marked_as_an_oracle(arguments):
    results = json.loads(
        (run(arguments(select_on="target")) / "results.json").read_text()
    )
    assert results["target_labels_used"] > 0
    assert results["uar_source"] is None


def test_speaker_normalisation_is_marked(arguments):
    folder = run(arguments(normalise="speaker"))
    results = json.loads((folder / "results.json").read_text())
    assert results["adapts_on"] == "test_speakers"


def test_folds_test_each_target_speaker_once(arguments):
    tested = []
    for fold in range(3):
        folder = run(
            arguments(
                protocol="speakers", folds=3, fold=fold, experiment=f"f{fold}"
            )
        )
        tested += [r["id"] for r in read_table(folder / "predictions.csv")]
    assert len(tested) == len(set(tested)) == 48


def test_a_dry_run_counts_and_stops(arguments, tmp_path, capsys):
    features = tmp_path / "features"
    made = arguments(dry_run=True, feature_folder=features, experiment="dry")
    train.main(made)
    out = capsys.readouterr().out
    even = "angry 12, happy 12, neutral 12, sad 12"
    assert f"target_train (right): 48 rows: {even}" in out
    assert "target_test (right): 38 rows" in out  # without the candidates
    assert "source_train (left): 40 rows" in out  # 5 of 6 speakers
    # Both corpora, 9 means of 4 layers of 32 values, 2 bytes each.
    assert f"96 utterances, {96 * 9 * 4 * 32 * 2 / 1e9:.2f} GB" in out
    assert "96 of them to encode, about 0." in out
    assert not features.exists()
    assert not folder_of(made).exists()
    run(arguments(feature_folder=features, experiment="wet"))
    train.main(made)
    assert "0 of them to encode\n" in capsys.readouterr().out


def test_a_debug_run_writes_no_results(arguments):
    made = arguments("small/lam_gl.yaml", "--debug")
    folder = run(made)
    assert not (folder / "results.json").exists()
    assert not list((folder / "save").glob("CKPT*"))


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


def test_the_recipe_folder_works_after_copying(arguments, tmp_path):
    recipe = ROOT / "recipes/MSP-BIIC-Podcast/cross_lingual_ser"
    copied = tmp_path / "speechbrain/recipes/MSP-BIIC-Podcast/ser"
    copied.parent.mkdir(parents=True)
    subprocess.run(["cp", "-rL", recipe, copied], check=True)
    assert not any(p.is_symlink() for p in copied.rglob("*"))
    made = arguments(experiment="copied")
    made[0] = "hparams/small/lam_gl.yaml"
    done = subprocess.run(
        [sys.executable, "train.py", *made],
        cwd=copied,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Test UAR" in done.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"data_folder": "/nowhere"}, "/nowhere/left of left does not exist"),
        ({"batch_size": 400}, "fewer than one batch of 400"),
        ({"gama": 1}, "no key 'gama'. Did you mean 'gamma'?"),
        ({"encoder_source": "nobody/nothing"}, "nobody/nothing cannot be read"),
        ({"device": "cuda"}, "no GPU is usable here"),
        ({"target_rows": "some"}, "use one of four, all"),
        ({"select_on": "best"}, "use one of source, last, target"),
        ({"normalise": "corpus"}, "none, source, domain, speaker"),
    ],
)
def test_mistakes_give_one_message_without_a_traceback(
    keys, message, arguments
):
    if "device" in keys and torch.cuda.is_available():
        keys = {"device": "cuda:99"}
    done = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *arguments(**keys)],
        capture_output=True,
        text=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("error: ")
