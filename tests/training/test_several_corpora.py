"""Several corpora in a role: batches, statistics, alignment and results."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from itertools import chain, islice

import numpy as np
import pytest
import torch
import yaml
from brains import make_batch
from conftest import HPARAMS, ROOT, read_table
from domain_rows import rows
from runs import folder_of, results_of, run, same_weights
from safetensors.torch import load_file

from lam_sb.errors import UserError
from lam_sb.losses.coral import LayerCoral
from lam_sb.losses.cross_entropy import balanced_weights
from lam_sb.training.loaders import FeatureDataset
from lam_sb.training.samplers import DualDomainSampler, EpisodeSampler
from lam_sb.training.standardisation import fit_standardisers

SIZES = [20, 4, 9]  # rows of the sources, numbered 0 to 32
TARGETS = [3, 8]  # 33 to 43


def corpus_of(row: int) -> int:
    return int(np.searchsorted(np.cumsum(SIZES + TARGETS), row, side="right"))


def batches(epochs=1, **keys):
    sampler = DualDomainSampler(SIZES, TARGETS, 8, seed=3, **keys)
    found = []
    for epoch in range(1, epochs + 1):
        sampler.set_epoch(epoch)
        found += list(sampler)
    return found


def test_each_batch_has_as_many_rows_of_each_corpus_up_to_one():
    for batch in batches(epochs=3):
        corpora = [corpus_of(row) for row in batch]
        assert corpora == [*sorted(corpora[:8]), *sorted(corpora[8:])]
        counts = np.bincount(corpora, minlength=5)
        assert counts[:3].sum() == counts[3:].sum() == 8
        assert counts[:3].max() - counts[:3].min() <= 1
        assert list(counts[3:]) == [4, 4]


def test_each_corpus_cycles_through_all_its_rows():
    drawn = [row for batch in batches(epochs=6) for row in batch]
    for corpus, size in enumerate(SIZES + TARGETS):
        own = [row for row in drawn if corpus_of(row) == corpus]
        counts = np.bincount(own)[-size:]
        assert counts.max() - counts.min() <= 1


def test_rows_count_alike_where_that_is_asked_for():
    drawn = [row for batch in batches(balance="rows") for row in batch[:8]]
    assert len(set(drawn)) == len(drawn) == 32  # one pass, less the rest
    assert batches(balance="rows") == list(DualDomainSampler(33, 11, 8, 3))


def test_processes_share_a_batch_of_several_corpora():
    whole = batches()
    parts = [batches(rank=rank, world=2) for rank in (0, 1)]
    for batch, *shares in zip(whole, *parts, strict=True):
        assert all(len(share) == 8 for share in shares)
        assert sorted(chain(*shares)) == sorted(batch)


def test_a_resumed_epoch_is_that_of_an_unbroken_run():
    sampler = DualDomainSampler(SIZES, TARGETS, 8, seed=3)
    sampler.set_epoch(2)
    assert list(sampler) == batches(epochs=2)[4:]


def test_episodes_draw_an_emotion_evenly_from_the_sources():
    labels = [torch.arange(400) % 4, torch.arange(40) % 4]
    for balance, expected in (("corpus", 0.5), ("rows", 1 / 11)):
        sampler = EpisodeSampler(
            labels, [9], shots=2, queries=3, seed=0, balance=balance
        )
        drawn = [row for b in islice(sampler, 60) for row in b[:20]]
        share = np.mean([row >= 400 for row in drawn])
        # Two of ten rows an emotion are a fifth: they come more seldom twice.
        assert share == pytest.approx(expected, abs=0.08)


def test_classes_are_weighed_as_they_are_drawn():
    """Classes 3:1 in 40 rows and 1:3 in 4 are 1:1, each source like another."""
    labels = [torch.arange(40) % 4 // 3, 1 - torch.arange(4) % 4 // 3]
    weights = balanced_weights(labels, 2)
    assert torch.allclose(weights, torch.ones(2))
    pooled = balanced_weights([torch.cat(labels)], 2)
    assert torch.allclose(pooled, torch.tensor([44 / 62, 44 / 26]))


def test_rows_of_a_batch_are_those_of_their_corpora():
    parts = [rows(5, seed=seed) for seed in range(4)]
    dataset = FeatureDataset(parts[:3], parts[3:], [2], ["chunks"])
    batch = dataset.__getitems__([1, 12, 5, 6, 15, 19])
    expected = [(0, 1), (2, 2), (1, 0), (1, 1), (3, 0), (3, 4)]
    for x, label, (part, row) in zip(
        batch.x, batch.labels, expected, strict=True
    ):
        assert torch.equal(x, parts[part].features.chunks[row][:, [1]])
        assert label == parts[part].labels[row]
    assert batch.num_source == 4
    assert batch.corpora.tolist() == [0, 2, 1, 1, 0, 0]
    alone = FeatureDataset(parts[:1], parts[3:], [2], ["chunks"])
    assert alone.__getitems__([1, 6]).corpora is None


def test_each_corpus_has_statistics_of_its_own_under_domain():
    parts = [rows(30, seed=n, offset=3.0 * n, scale=n + 1) for n in range(3)]
    fit_standardisers(
        "domain", [[parts[0]], [parts[1]]], [[parts[2]]], [1, 2, 3], ["chunks"]
    )
    for part in parts:
        x, _ = part.read(range(30), [1, 2, 3], ["chunks"])
        assert torch.allclose(x.mean((0, 1)), torch.zeros(3, 5), atol=1e-5)


def test_statistics_of_the_sources_are_those_of_all_their_rows():
    parts = [rows(n, seed=n, offset=float(n)) for n in (10, 30, 5)]
    fit_standardisers(
        "source", [[parts[0]], [parts[1]]], [[parts[2]]], [1, 2, 3], ["chunks"]
    )
    pooled = torch.cat([part.features.chunks for part in parts[:2]])
    for part in parts:
        found = part.standardisers["chunks"]
        assert torch.allclose(found.mean, pooled.mean((0, 1)), atol=1e-5)


def pairs_batch():
    """8 source rows of corpora 0 and 1, 8 target rows of 0, 1 and 2."""
    batch = make_batch()
    corpora = [0] * 3 + [1] * 5 + [0] * 2 + [1] * 3 + [2] * 3
    return replace(batch, corpora=torch.tensor(corpora))


@pytest.mark.parametrize("align_sources", [False, True])
def test_the_alignment_is_the_mean_over_pairs_of_corpora(
    align_sources, make_brain
):
    seen = []

    def keep(source, target):
        seen.append((source.detach(), target.detach()))
        return LayerCoral()(source, target)

    brain = make_brain(gamma=1, alignment=keep)
    batch = pairs_batch()
    outputs = brain.compute_forward(batch, "train")
    inputs = brain.alignment_inputs(outputs, batch)
    loss = brain.align(keep, inputs, align_sources)
    z = torch.stack([inputs.source, inputs.target])
    sources, targets = [z[0][:3], z[0][3:]], [z[1][:2], z[1][2:5], z[1][5:]]
    pairs = [(s, t) for s in sources for t in targets]
    pairs += [tuple(sources)] * align_sources
    for found, expected in zip(seen, pairs, strict=True):
        assert all(map(torch.equal, found, expected))
    losses = [LayerCoral()(*pair) for pair in pairs]
    assert torch.allclose(loss, torch.stack(losses).mean())


def test_labels_and_embeddings_are_those_of_the_pair(make_brain):
    seen = []

    def keep(labels, source_embeddings, target_embeddings):
        seen.append((labels.tolist(), len(target_embeddings)))
        return source_embeddings.sum()

    brain = make_brain(gamma=1, alignment=keep)
    batch = pairs_batch()
    outputs = brain.compute_forward(batch, "train")
    brain.align(keep, brain.alignment_inputs(outputs, batch), False)
    labels = [[0, 1, 2], [3, 0, 1, 2, 3]]
    assert seen == [(part, n) for part in labels for n in (2, 3, 3)]


def test_a_list_of_one_is_that_one(train_on, tmp_path):
    one = train_on("left", "right")
    again = train_on("[left]", "[right]", output_root=tmp_path / "other")
    assert again == tmp_path / "other/small_lam_gl/left-right/0"
    name = "predictions.csv"
    assert (again / name).read_bytes() == (one / name).read_bytes()
    assert same_weights(one, again)
    hashes = [results_of(f)["settings_hash"] for f in (one, again)]
    assert hashes[0] == hashes[1]


def test_each_target_has_a_result_that_is_its_own_where_none_is_aligned(
    train_on,
):
    both = train_on("left", "[right, third]", gamma=0)
    assert both.parent.name == "left-right+third"
    for target in ("right", "third"):
        results = results_of(both / target)
        assert results["target"] == target
        assert results["targets"] == ["right", "third"]
        alone = train_on("left", target, gamma=0)
        tables = [
            read_table(folder / "predictions.csv")
            for folder in (both / target, alone)
        ]
        assert tables[0] == tables[1]
        assert results["uar"] == results_of(alone)["uar"]


@pytest.mark.parametrize("system", ["few_shot", "ensemble", "best_layer"])
def test_systems_train_on_several_sources(system, train_on):
    keys = {"target_shots": 0} if system == "few_shot" else {}
    folder = train_on("[left, third]", "right", system, **keys)
    results = results_of(folder)
    assert folder.parent.name == "left+third-right"
    sources = results["source"], results["sources"]
    assert sources == ("left+third", ["left", "third"])
    data = yaml.safe_load((folder / "settings.yaml").read_text())["data"]
    parts = [data[f"source_train of {name}"] for name in ("left", "third")]
    assert results["n_train_source"] == sum(part["rows"] for part in parts)
    assert min(part["rows"] for part in parts) > 0


def test_balance_and_the_rows_of_each_corpus_decide(train_on, three):
    results = [
        results_of(train_on("[left, third]", "right", balance=b, experiment=b))
        for b in ("corpus", "rows")
    ]
    assert results[0]["settings_hash"] != results[1]["settings_hash"]
    assert results[0]["weights_hash"] != results[1]["weights_hash"]
    path = three / "third/labels.csv"
    text = path.read_text()
    path.write_text("".join(text.splitlines(keepends=True)[:-3]))
    try:
        with pytest.raises(UserError, match="source_train of third"):
            train_on("[left, third]", "right", experiment="corpus")
    finally:
        path.write_text(text)


def test_what_is_given_by_corpus_is_read_by_corpus(train_on, three, tmp_path):
    moved = tmp_path / "moved"
    moved.symlink_to(three / "third")
    folder = train_on(
        "[left, again]", "right", source_folder=f"{{again: {moved}}}"
    )
    assert json.loads((folder / "results.json").read_text())["sources"] == [
        *("left", "again")
    ]
    with pytest.raises(UserError, match=r'--source_folder "{left: ...}"'):
        train_on("[left, third]", "right", source_folder=moved)
    with pytest.raises(UserError, match="name each corpus once"):
        train_on("[left, left]", "right")


def launch(world: int, made: list[str]) -> None:
    """Train in processes that torchrun starts."""
    ranks = ["--standalone", f"--nproc_per_node={world}"]
    launcher = [sys.executable, "-m", "torch.distributed.run", *ranks]
    done = subprocess.run(  # processes that miss each other wait for ever
        [*launcher, ROOT / "train.py", *made],
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_two_processes_align_the_same_pairs_as_one(three, wavlm, tmp_path):
    file = tmp_path / "sgd.yaml"  # Adam makes a full step of any gradient
    file.write_text(
        f"base: {HPARAMS}/small/lam_gl.yaml\n"
        "opt_class: !name:torch.optim.SGD\n    lr: !ref <lr>\n"
    )
    keys = {
        **{"source": "[left, third]", "target": "right", "lr": 0.1},
        **{"data_folder": three, "encoder_source": wavlm, "max_steps": 3},
        **{"feature_folder": three / "features", "batch_size": 16},
        **{"projection_dim": 16, "num_heads": 2, "anchor_layers": "[1, 2]"},
        **{"dropout": 0, "gamma": 5, "align_sources": True},
    }
    losses = []
    for world in (1, 2):
        words = [f"--{key}={value}" for key, value in keys.items()]
        words += [f"--output_root={tmp_path / str(world)}", "--device=cpu"]
        made = [str(file), "--noprogressbar", *words]
        if world == 1:
            run(made)
        else:
            launch(world, made)
        table = read_table(folder_of(made) / "history.csv")
        losses.append([float(row["valid_loss"]) for row in table])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_several_targets_may_share_the_statistics_of_the_source(train_on):
    folder = train_on("left", "[right, third]", normalise="source")
    kept = load_file(folder / "save/inference.safetensors")
    assert torch.equal(kept["right/mean"], kept["third/mean"])
    for target in ("right", "third"):
        assert (folder / target / "results.json").is_file()
