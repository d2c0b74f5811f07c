"""Which rows form a batch."""

from __future__ import annotations

import pytest
import torch

from lam_sb.errors import UserError
from lam_sb.training.samplers import (
    DualDomainSampler,
    EpisodeSampler,
    InOrder,
    make_sampler,
)


def test_an_epoch_is_one_pass_over_the_source_in_a_new_order():
    sampler = DualDomainSampler(12, 5, batch_size=4, seed=3)
    orders = []
    for epoch in (1, 2):
        sampler.set_epoch(epoch)
        batches = list(sampler)
        assert len(batches) == len(sampler) == 3
        orders.append([i for b in batches for i in b[:4]])
        assert sorted(orders[-1]) == list(range(12))
    assert orders[0] != orders[1]


def test_the_target_cycles_through_permutations_over_epoch_borders():
    sampler = DualDomainSampler(8, 6, batch_size=4, seed=3)
    stream = []
    for epoch in (1, 2, 3):
        sampler.set_epoch(epoch)
        stream += [i - 8 for b in sampler for i in b[4:]]
    assert len(stream) == 24
    for start in range(0, 24, 6):
        assert sorted(stream[start : start + 6]) == list(range(6))


def test_batches_depend_on_seed_epoch_and_position_alone():
    first = DualDomainSampler(40, 30, 8, seed=1)
    for epoch in (1, 2, 3):
        first.set_epoch(epoch)
        passed = list(first)
    fresh = DualDomainSampler(40, 30, 8, seed=1)
    fresh.set_epoch(3)
    assert list(fresh) == passed
    other = DualDomainSampler(40, 30, 8, seed=2)
    other.set_epoch(3)
    assert list(other) != passed


def test_ranks_share_every_global_batch():
    whole = list(DualDomainSampler(16, 9, 8, seed=5))
    parts = [list(DualDomainSampler(16, 9, 8, 5, r, 2)) for r in (0, 1)]
    for batch, left, right in zip(whole, *parts, strict=True):
        assert left[:4] + right[:4] == batch[:8]
        assert left[4:] + right[4:] == batch[8:]


@pytest.mark.parametrize(
    ("rows", "world", "fits"),
    [(7, 1, 4), (8, 1, 8), (63, 1, 32), (2, 1, 2), (31, 3, 24), (9, 4, 8)],
)
def test_a_source_smaller_than_a_batch_is_told_which_fits(rows, world, fits):
    message = f"has {rows} labelled .* batch of 96; set --batch_size {fits}.$"
    with pytest.raises(UserError, match=message):
        DualDomainSampler(rows, 100, 96, seed=0, world=world)
    assert len(DualDomainSampler(rows, 100, fits, seed=0, world=world)) > 0


def test_a_batch_that_nothing_mends_is_refused():
    with pytest.raises(UserError, match=r"1 labelled .* and too few for any"):
        DualDomainSampler(1, 100, 8, seed=0)
    with pytest.raises(UserError, match="shared by 3 processes"):
        DualDomainSampler(100, 100, 8, 0, rank=0, world=3)


def episodes(rank=0, world=1, epoch=1):
    labels = torch.arange(60) % 4
    sampler = EpisodeSampler(
        [labels], [7], 2, 3, seed=4, rank=rank, world=world
    )
    sampler.set_epoch(epoch)
    return labels, list(sampler)


def test_an_episode_has_support_then_queries_then_target_rows():
    labels, batches = episodes()
    assert len(batches) == 60 // 12
    for batch in batches:
        assert len(batch) == 4 * 2 + 4 * 3 + 4 * 3
        source, target = batch[:20], batch[20:]
        assert labels[source[:8]].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
        assert sorted(labels[source[8:]].tolist()) == [0] * 3 + [1] * 3 + (
            [2] * 3 + [3] * 3
        )
        assert len(set(source)) == 20  # no query is in its own support
        assert all(60 <= row < 67 for row in target)
    seen = [row for batch in batches for row in batch[20:]]
    for start in range(0, 56, 7):  # the target cycles as ever
        assert sorted(seen[start : start + 7]) == list(range(60, 67))
    assert batches == episodes()[1]
    assert batches != episodes(epoch=2)[1]


def test_ranks_share_queries_and_target_but_have_the_whole_support():
    _, whole = episodes()
    ranks = [episodes(rank, 2)[1] for rank in (0, 1)]
    for one, *two in zip(whole, *ranks, strict=True):
        assert two[0][:8] == two[1][:8] == one[:8]
        assert two[0][8:14] + two[1][8:14] == one[8:20]
        assert two[0][14:] + two[1][14:] == one[20:]


@pytest.mark.parametrize(
    ("sad", "world", "shots", "queries"),
    [(4, 1, 1, 3), (9, 1, 3, 6), (2, 1, 1, 1), (9, 8, 3, 6), (8, 16, 2, 4)],
)
def test_too_few_rows_for_an_episode_are_told_which_fit(
    sad, world, shots, queries
):
    labels = torch.tensor([0, 1, 2, 3] * sad + [0, 1, 2] * 9)
    message = (
        rf"{sad} training rows of sad.* 5 \+ 10; set --episode_shots {shots} "
        f"--episode_queries {queries}.$"
    )
    with pytest.raises(UserError, match=message):
        EpisodeSampler([labels], [7], shots=5, queries=10, seed=0, world=world)
    EpisodeSampler([labels], [7], shots, queries, seed=0, world=world)


def test_an_emotion_of_one_row_gives_no_episode():
    labels = torch.tensor([0, 1, 2, 3, 0, 1, 2])
    with pytest.raises(
        UserError, match=r"1 training rows of sad.*, at least 2"
    ):
        EpisodeSampler([labels], [7], shots=1, queries=1, seed=0)


def test_the_fit_chooses_the_sampler():
    labels = torch.arange(40) % 4
    given = ([labels], [7], 8, "corpus", 1, 2, 5, 1, 2)
    sampler = make_sampler("brain", *given)
    assert list(sampler) == list(DualDomainSampler(40, 7, 8, 5, 1, 2))
    sampler = make_sampler("episodes", *given)
    assert list(sampler) == list(EpisodeSampler([labels], [7], 1, 2, 5, 1, 2))


def test_in_order_the_last_batch_holds_the_rest():
    assert list(InOrder(5, 2)) == [[0, 1], [2, 3], [4]]
    assert len(InOrder(5, 2)) == 3
    assert list(InOrder(4, 2)) == [[0, 1], [2, 3]]
