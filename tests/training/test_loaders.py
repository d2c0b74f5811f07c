"""Batches as the loaders give them."""

from __future__ import annotations

import torch
from domain_rows import rows

from lam_sb.training.loaders import (
    FeatureDataset,
    in_order_loader,
    training_loader,
)
from lam_sb.training.samplers import DualDomainSampler


def test_a_batch_holds_source_rows_then_target_rows_without_labels():
    source, target = rows(6), rows(5, seed=1, labelled=False)
    batch = FeatureDataset(
        [source], [target], [1, 3], ["chunks", "utterance"]
    ).__getitems__([4, 0, 6 + 2, 6 + 1])
    assert batch.num_source == 2
    assert batch.labels.tolist() == [0, 0, -1, -1]
    assert batch.x.shape == (4, 3, 2, 5)
    expected = source.features.chunks[4][:, [0, 2]]
    assert torch.equal(batch.x[0, :2], expected)
    assert torch.allclose(batch.x[0, 2], expected.mean(0))


def test_in_order_loader_gives_each_row_once():
    made = rows(7)
    loader = in_order_loader(FeatureDataset([made], [], [1], ["chunks"]), 3)
    assert [len(b.labels) for b in loader] == [3, 3, 1]
    labels = torch.cat([b.labels for b in loader])
    assert torch.equal(labels, made.labels)


def test_training_batches_hold_the_rows_that_the_sampler_drew():
    source, target = rows(6), rows(5, seed=1, labelled=False)
    sampler = DualDomainSampler(6, 5, batch_size=3, seed=0)
    dataset = FeatureDataset([source], [target], [1], ["chunks"])
    batches = list(training_loader(dataset, sampler))
    assert [b.num_source for b in batches] == [3, 3]
    drawn = [i for batch in sampler for i in batch[:3]]
    labels = torch.cat([b.labels[:3] for b in batches])
    assert torch.equal(labels, source.labels[drawn])
    assert all((b.labels[3:] == -1).all() for b in batches)


def test_drawing_batches_leaves_torchs_random_numbers_alone():
    dataset = FeatureDataset([rows(6)], [rows(5, seed=1)], [1], ["chunks"])
    sampler = DualDomainSampler(6, 5, batch_size=3, seed=0)
    before = torch.get_rng_state()
    list(training_loader(dataset, sampler))
    list(in_order_loader(dataset, 4))
    assert torch.equal(torch.get_rng_state(), before)


def test_batches_share_the_memory_of_the_largest():
    source, target = rows(6), rows(5, seed=1, labelled=False)
    shared, *fresh = (
        FeatureDataset([source], [target], [1, 3], ["chunks"]) for _ in range(5)
    )
    addresses = []
    for indices, other in zip(
        [[0, 3, 7], [5, 1, 10, 8], [2, 9], [4, 0, 6, 7]], fresh, strict=True
    ):
        batch, expected = (d.__getitems__(indices) for d in (shared, other))
        assert torch.equal(batch.x, expected.x)
        addresses.append(batch.x.data_ptr())
    assert addresses[0] != addresses[1] == addresses[2] == addresses[3]
