"""Statistics of corpora and speakers by hand."""

from __future__ import annotations

import pytest
import torch
from domain_rows import rows

from lam_sb.errors import UserError
from lam_sb.training.rows import DomainRows
from lam_sb.training.standardisation import fit_standardisers


def read_all(made, segment="chunks"):
    return made.read(range(len(made)), [1, 2, 3], [segment])[0]


def test_normalise_domain_standardises_each_corpus_with_its_own_statistics():
    source = rows(40, scale=3.0, offset=2.0)
    target = rows(40, seed=1, scale=0.5, offset=-4.0)
    fit_standardisers("domain", [[source]], [[target]], [1, 2, 3], ["chunks"])
    for made in (source, target):
        x = read_all(made)
        assert torch.allclose(x.mean((0, 1)), torch.zeros(3, 5), atol=1e-5)
        assert torch.allclose(
            x.std((0, 1), correction=0), torch.ones(3, 5), atol=1e-5
        )


def test_normalise_source_gives_the_target_the_sources_statistics():
    source, target = rows(40, scale=3.0, offset=2.0), rows(40, seed=1)
    raw_source, raw_target = read_all(source), read_all(target)
    fit_standardisers("source", [[source]], [[target]], [1, 2, 3], ["chunks"])
    mean = raw_source.mean((0, 1))
    std = raw_source.std((0, 1), correction=0)
    expected = (raw_target - mean) / std
    assert torch.allclose(read_all(target), expected, atol=1e-5)


def test_normalise_none_changes_nothing():
    source, target = rows(8, offset=2.0), rows(8, seed=1)
    before = read_all(source)
    fit_standardisers("none", [[source]], [[target]], [1, 2, 3], ["chunks"])
    assert torch.equal(read_all(source), before)


def test_normalise_speaker_subtracts_a_shrunken_mean_of_each_speaker():
    n = 40
    speakers = ["a"] * (n // 2) + ["b"] * (n // 2 - 4) + ["unknown"] * 4
    source, target = rows(n), rows(n, seed=1, speakers=speakers)
    target.features.chunks[: n // 2] += 5.0
    fit_standardisers("domain", [[source]], [[target]], [1, 2, 3], ["chunks"])
    domain = read_all(target)
    fit_standardisers("speaker", [[source]], [[target]], [1, 2, 3], ["chunks"])
    # By hand: n / (n + 20) of the speaker's mean goes, then all of it again.
    expected = domain.clone()
    for name, count in (("a", 20), ("b", 16)):
        own = [i for i, s in enumerate(speakers) if s == name]
        mean = domain[own].mean((0, 1))
        expected[own] = domain[own] - count / (count + 20) * mean
    mean, std = expected.mean((0, 1)), expected.std((0, 1), correction=0)
    expected = (expected - mean) / std
    assert torch.allclose(read_all(target), expected, atol=1e-4)


def test_normalise_residual_takes_off_what_the_emotions_do_not_explain():
    """By hand, of speakers who do not speak alike often in each emotion."""
    speakers = ["a"] * 13 + ["b"] * 9 + ["unknown"] * 2
    source, target = rows(24), rows(24, seed=1, speakers=speakers)
    rng = torch.Generator().manual_seed(5)
    for part in (source, target):
        logits = 2 * torch.randn(24, 4, generator=rng, dtype=torch.float64)
        part.emotions = logits.softmax(1)
        part.features.chunks += part.emotions.argmax(1)[:, None, None, None]
    raw = read_all(target).double()
    fit_standardisers("residual", [[source]], [[target]], [1, 2, 3], ["chunks"])
    p = target.emotions
    share = p.mean(0)
    weight = torch.stack([sum(row / share) for row in p])[:, None, None, None]

    def standardised(x):
        w = weight.expand(-1, 2, -1, -1)  # of both chunks of a row
        mean = (w * x).sum((0, 1)) / w.sum((0, 1))
        variance = (w * (x - mean) ** 2).sum((0, 1)) / w.sum((0, 1))
        return (x - mean) / variance.sqrt()

    x = standardised(raw)
    means = [
        (p[:, c, None, None, None] * x).sum((0, 1)) / (2 * p[:, c].sum())
        for c in range(4)
    ]
    explained = sum(p[:, c, None, None, None] * means[c] for c in range(4))
    expected = x.clone()
    for name, count in (("a", 13), ("b", 9)):
        own = [i for i, s in enumerate(speakers) if s == name]
        left = (x - explained)[own].mean((0, 1))
        expected[own] -= count / (count + 20) * left
    expected = standardised(expected).float()
    assert torch.allclose(read_all(target), expected, atol=1e-4)


def test_residual_means_are_speaker_means_where_nothing_is_known():
    """Equal shares of all emotions explain nothing and weigh all rows alike."""
    found = {}
    for normalise in ("speaker", "residual"):
        source, target = rows(20), rows(20, seed=1)
        for part in (source, target):
            part.emotions = torch.full((20, 4), 0.25, dtype=torch.float64)
        fit_standardisers(
            normalise, [[source]], [[target]], [1, 2, 3], ["chunks"]
        )
        found[normalise] = read_all(target)
    assert torch.allclose(found["speaker"], found["residual"], atol=1e-5)


def test_speaker_means_count_a_row_of_two_splits_once():
    def fitted(parts):
        source, target = [rows(20)], [rows(20, seed=1), *parts]
        fit_standardisers("speaker", [source], [target], [1, 2, 3], ["chunks"])
        return read_all(target[0])

    assert torch.equal(fitted([]), fitted([rows(20, seed=1)]))
    assert not torch.equal(fitted([]), fitted([rows(20, seed=2)]))


def test_statistics_ignore_chunks_without_frames():
    source = rows(10)
    source.features.shard_frames[:5, 1] = 0
    source.features.chunks[:5, 1] = 1e6
    fit_standardisers(
        "source", [[source]], [[rows(10, seed=1)]], [1, 2, 3], ["chunks"]
    )
    assert source.standardisers["chunks"].mean.abs().max() < 10


def test_an_unknown_normalisation_is_refused():
    with pytest.raises(UserError, match="none, source, domain, speaker"):
        fit_standardisers("batch", [[rows()]], [[rows()]], [1], ["chunks"])


@pytest.mark.parametrize("normalise", ["domain", "speaker"])
def test_each_segment_has_statistics_of_its_own(normalise):
    """The mean of two independent chunks deviates less than a chunk does."""
    source, target = rows(60, scale=3.0), rows(60, seed=1, offset=2.0)
    assert read_all(source, "utterance").std() < 0.8 * 3.0
    segments = ["chunks", "utterance"]
    fit_standardisers(normalise, [[source]], [[target]], [1, 2, 3], segments)
    for made in (source, target):
        for segment in segments:
            x = read_all(made, segment)
            ones = torch.ones(3, 5)
            assert torch.allclose(x.mean((0, 1)), 0 * ones, atol=1e-5)
            std = x.std((0, 1), correction=0)
            assert torch.allclose(std, ones, atol=1e-4)


def test_a_segment_without_frames_anywhere_is_left_as_it_is():
    source, target = rows(4), rows(4, seed=1)
    target.features.shard_frames[:] = 0
    fit_standardisers(
        "domain", [[source]], [[target]], [1, 2, 3], ["utterance"]
    )
    x = read_all(target, "utterance")
    assert torch.equal(x[:, 0], target.features.chunks.mean(1))


def fit_kept(folder, normalise="domain", parts=None, segment="chunks"):
    source, target = parts or (rows(9), rows(8, seed=1))
    fit_standardisers(
        normalise, [[source]], [[target]], [1, 3], [segment], folder
    )
    return source.standardisers[segment], target.standardisers[segment]


def same(ours, theirs):
    return all(
        torch.equal(a.mean, b.mean)
        and torch.equal(a.std, b.std)
        and a.offsets.keys() == b.offsets.keys()
        and all(torch.equal(a.offsets[s], b.offsets[s]) for s in a.offsets)
        for a, b in zip(ours, theirs, strict=True)
    )


@pytest.mark.parametrize("normalise", ["domain", "speaker"])
def test_statistics_are_fitted_once(normalise, tmp_path, monkeypatch):
    folder = tmp_path / "statistics"
    expected = fit_kept(None, normalise)
    assert same(fit_kept(folder, normalise), expected)
    assert len([*folder.iterdir()]) == 2

    def read(*_):
        raise AssertionError("features are read")

    monkeypatch.setattr(DomainRows, "read", read)
    assert same(fit_kept(folder, normalise), expected)


def test_other_rows_segments_and_kinds_have_statistics_of_their_own(tmp_path):
    fit_kept(tmp_path)
    for changes in (
        {"parts": (rows(9, seed=3), rows(8, seed=1))},
        {"segment": "utterance"},
        {"normalise": "speaker"},
        {"parts": (rows(9), rows(8, seed=1, speakers=["a"] * 8))}
        | {"normalise": "speaker"},
    ):
        fresh = fit_kept(None, **changes)
        assert same(fit_kept(tmp_path, **changes), fresh)
    # Two each, less what is the same: rows of the target, twice.
    assert len([*tmp_path.iterdir()]) == 2 + 1 + 2 + 2 + 1


def test_damaged_statistics_are_fitted_again(tmp_path):
    expected = fit_kept(tmp_path)
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:50])
    assert same(fit_kept(tmp_path), expected)
    assert all(path.stat().st_size > 50 for path in tmp_path.iterdir())


def test_a_store_that_is_only_read_keeps_none(tmp_path):
    no_folder = tmp_path / "file"
    no_folder.write_text("")
    assert same(fit_kept(no_folder / "statistics"), fit_kept(None))


@pytest.mark.parametrize("normalise", ["domain", "speaker"])
def test_each_layer_has_statistics_of_its_own(normalise):
    def fitted(layers):
        source, target = rows(9), rows(8, seed=1)
        for n in range(3):
            source.features.chunks[:, :, n] += 10 * n
        fit_standardisers(normalise, [[source]], [[target]], layers, ["chunks"])
        return source.read(range(9), layers, ["chunks"])[0]

    assert torch.equal(fitted([1, 3]), fitted([1, 2, 3])[:, :, [0, 2]])
    assert fitted([3]).abs().max() < 5
