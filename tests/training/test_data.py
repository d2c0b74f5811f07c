import numpy as np
import pytest
import torch

from lam_sb.errors import UserError
from lam_sb.training.data import (
    DomainRows,
    DualDomainSampler,
    EpisodeSampler,
    FeatureDataset,
    draw_shots,
    fit_standardisers,
    in_order_loader,
    shot_candidates,
)


class MadeUpRows:
    """Features in memory, as `FeatureRows` gives them from a store."""

    def __init__(self, chunks, frames=None):
        self.chunks = torch.as_tensor(chunks, dtype=torch.float32)
        shape = self.chunks.shape[:2]
        self.frames = torch.ones(shape) if frames is None else frames

    def gather(self, name, indices, layers=None):
        picked = [layer - 1 for layer in layers]
        chunks = self.chunks[list(indices)][:, :, picked]
        frames = self.frames[list(indices)]
        if name == "chunks":
            return chunks, frames
        return chunks.mean(1), frames.sum(1)


def rows(n=10, seed=0, speakers=None, labelled=True, scale=1.0, offset=0.0):
    rng = np.random.default_rng(seed)
    emotions = ("neutral", "happy", "angry", "sad")
    manifest = {
        f"u{seed}_{i}": {
            "emo": emotions[i % 4],
            "speaker": speakers[i] if speakers else f"s{i % 3}",
        }
        for i in range(n)
    }
    chunks = rng.normal(offset, scale, (n, 2, 3, 5))
    return DomainRows(manifest, MadeUpRows(chunks), labelled)


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


def test_a_source_smaller_than_a_batch_is_refused():
    with pytest.raises(UserError, match="7 labelled training rows"):
        DualDomainSampler(7, 100, 8, seed=0)
    with pytest.raises(UserError, match="shared by 3 processes"):
        DualDomainSampler(100, 100, 8, 0, rank=0, world=3)


def test_a_batch_holds_source_rows_then_target_rows_without_labels():
    source, target = rows(6), rows(5, seed=1, labelled=False)
    batch = FeatureDataset(source, target, [1, 3], "utterance").__getitems__(
        [4, 0, 6 + 2, 6 + 1]
    )
    assert batch.num_source == 2
    assert batch.labels.tolist() == [0, 0, -1, -1]
    assert batch.x.shape == (4, 3, 2, 5)
    expected = source.features.chunks[4][:, [0, 2]]
    assert torch.equal(batch.x[0, :2], expected)
    assert torch.allclose(batch.x[0, 2], expected.mean(0))


def test_chunks_without_frames_are_masked():
    frames = torch.tensor([[3, 0], [2, 2]])
    manifest = {f"u{i}": {"emo": "sad", "speaker": "a"} for i in range(2)}
    made = DomainRows(manifest, MadeUpRows(torch.ones(2, 2, 1, 4), frames), 1)
    _, mask = made.read([0, 1], [1], "utterance")
    assert mask.tolist() == [[True, False, True], [True, True, True]]


def test_in_order_loader_gives_each_row_once():
    made = rows(7)
    loader = in_order_loader(FeatureDataset(made, None, [1], "utterance"), 3)
    assert [len(b.labels) for b in loader] == [3, 3, 1]
    labels = torch.cat([b.labels for b in loader])
    assert torch.equal(labels, made.labels)


def read_all(made):
    return made.read(range(len(made)), [1, 2, 3], "utterance")[0][:, :-1]


def test_normalise_domain_standardises_each_corpus_with_its_own_statistics():
    source = rows(40, scale=3.0, offset=2.0)
    target = rows(40, seed=1, scale=0.5, offset=-4.0)
    fit_standardisers("domain", [source], [target], [1, 2, 3])
    for made in (source, target):
        x = read_all(made)
        assert torch.allclose(x.mean((0, 1)), torch.zeros(3, 5), atol=1e-5)
        assert torch.allclose(
            x.std((0, 1), correction=0), torch.ones(3, 5), atol=1e-5
        )


def test_normalise_source_gives_the_target_the_sources_statistics():
    source, target = rows(40, scale=3.0, offset=2.0), rows(40, seed=1)
    raw_source, raw_target = read_all(source), read_all(target)
    fit_standardisers("source", [source], [target], [1, 2, 3])
    mean = raw_source.mean((0, 1))
    std = raw_source.std((0, 1), correction=0)
    expected = (raw_target - mean) / std
    assert torch.allclose(read_all(target), expected, atol=1e-5)


def test_normalise_none_changes_nothing():
    source, target = rows(8, offset=2.0), rows(8, seed=1)
    before = read_all(source)
    fit_standardisers("none", [source], [target], [1, 2, 3])
    assert torch.equal(read_all(source), before)


def test_normalise_speaker_subtracts_a_shrunken_mean_of_each_speaker():
    n = 40
    speakers = ["a"] * (n // 2) + ["b"] * (n // 2 - 4) + ["unknown"] * 4
    source, target = rows(n), rows(n, seed=1, speakers=speakers)
    target.features.chunks[: n // 2] += 5.0
    fit_standardisers("domain", [source], [target], [1, 2, 3])
    domain = read_all(target)
    fit_standardisers("speaker", [source], [target], [1, 2, 3])
    # By hand: n / (n + 20) of the speaker's mean goes, then all of it again.
    expected = domain.clone()
    for name, count in (("a", 20), ("b", 16)):
        own = [i for i, s in enumerate(speakers) if s == name]
        mean = domain[own].mean((0, 1))
        expected[own] = domain[own] - count / (count + 20) * mean
    center = expected.mean((0, 1))
    spread = expected.std((0, 1), correction=0)
    expected = (expected - center) / spread
    assert torch.allclose(read_all(target), expected, atol=1e-4)


def test_speaker_means_count_a_row_of_two_splits_once():
    def fitted(parts):
        source, target = [rows(20)], [rows(20, seed=1), *parts]
        fit_standardisers("speaker", source, target, [1, 2, 3])
        return read_all(target[0])

    assert torch.equal(fitted([]), fitted([rows(20, seed=1)]))
    assert not torch.equal(fitted([]), fitted([rows(20, seed=2)]))


def test_statistics_ignore_chunks_without_frames():
    source = rows(10)
    source.features.frames[:5, 1] = 0
    source.features.chunks[:5, 1] = 1e6
    fit_standardisers("source", [source], [rows(10, seed=1)], [1, 2, 3])
    assert source.standardiser.mean.abs().max() < 10


def test_unknown_normalisation_and_no_rows_are_refused():
    with pytest.raises(UserError, match="none, source, domain, speaker"):
        fit_standardisers("batch", [rows()], [rows()], [1])
    with pytest.raises(UserError, match="No rows are left"):
        DomainRows({}, MadeUpRows(torch.zeros(0, 2, 1, 4)), True)


def episodes(rank=0, world=1, epoch=1):
    labels = torch.arange(60) % 4
    sampler = EpisodeSampler(labels, 7, 2, 3, seed=4, rank=rank, world=world)
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


def test_too_few_rows_for_an_episode_are_refused():
    labels = torch.tensor([0, 1, 2, 3] * 4 + [0, 1, 2] * 9)
    with pytest.raises(UserError, match=r"4 training rows of sad.* 2 \+ 3"):
        EpisodeSampler(labels, 7, shots=2, queries=3, seed=0)


def test_shot_candidates_leave_the_test_set_only_where_they_must():
    rows = [f"u{n}" for n in range(50)]
    assert shot_candidates(rows[:20], rows[20:], 0) == sorted(rows[:20])
    shared = shot_candidates(rows, rows, 0)
    assert len(shared) == 10
    assert shared == shot_candidates(rows[::-1], rows, 0)
    assert shared != shot_candidates(rows, rows, 1)
    assert set(shot_candidates(rows[:30], rows[20:], 0)) < set(rows[20:30])


def test_shots_are_drawn_for_each_emotion_and_draw():
    emotions = ("neutral", "happy", "angry", "sad")
    rows = {f"u{n}": (*emotions, None)[n % 5] for n in range(100)}
    draws = [draw_shots(rows, 5, split_seed=0, draw=d) for d in range(5)]
    for drawn in draws:
        assert [rows[i] for i in drawn] == [
            e for e in emotions for _ in range(5)
        ]
        assert len(set(drawn)) == 20
    assert len(set(map(tuple, draws))) == 5
    assert draws[1] == draw_shots(rows, 5, split_seed=0, draw=1)
    assert draws[1] != draw_shots(rows, 5, split_seed=1, draw=1)
    with pytest.raises(UserError, match="target_shots: 21 of neutral"):
        draw_shots(rows, 21, split_seed=0, draw=0)
