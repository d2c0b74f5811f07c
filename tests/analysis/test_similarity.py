from __future__ import annotations

import csv
import itertools
import json

import numpy as np
import pytest
import torch
from scipy import stats

from lam_sb.analysis import similarity
from lam_sb.analysis.similarity import (
    COLUMNS,
    MEASURES,
    corpus_sums,
    random_layers,
    read_similarity,
    select_layers,
    similarity_rows,
    write_similarity,
)
from lam_sb.corpora.phones import VOWELS
from lam_sb.errors import UserError
from lam_sb.training.data import DomainRows

EMOTIONS = ("neutral", "happy", "angry", "sad")
MEANS = ("centroid", "pairwise", "centred")
LAYERS, DIM = 4, 6


class MadeUpRows:
    """Named segments in memory, as `FeatureRows` gives them from a store."""

    def __init__(self, segments):
        self.segments = {
            name: (torch.tensor(x, dtype=torch.float32), torch.tensor(frames))
            for name, (x, frames) in segments.items()
        }
        self.calls = []

    def gather(self, name, indices, layers=None):
        self.calls.append((name, list(indices)))
        assert layers is None
        if name in self.segments:
            values, frames = self.segments[name]
            return values[indices], frames[indices]
        shape = (len(indices), *((6,) if name == "vowel_classes" else ()))
        whole = self.segments["utterance"][0].shape[1:]
        return torch.zeros(*shape, *whole), torch.zeros(shape)


def domain(x, labels=None, speakers=None, **segments):
    """Rows with utterance vectors x (N, L, D); emotions take turns."""
    n = len(x)
    labels = np.arange(n) % 4 if labels is None else labels
    speakers = np.arange(n) // 4 % 5 if speakers is None else speakers
    manifest = {
        f"u{i}": {
            "emo": None if labels[i] < 0 else EMOTIONS[labels[i]],
            "speaker": f"s{speakers[i]}",
        }
        for i in range(n)
    }
    segments["utterance"] = (x, np.ones(n))
    return DomainRows(manifest, MadeUpRows(segments), labelled=True)


def noise(seed, n=60, layers=LAYERS, dim=DIM, offset=1.0):
    return np.random.default_rng(seed).normal(offset, 1, (n, layers, dim))


def phoned(seed, n=60):
    """Rows with all segments, some of them masked, and their raw parts."""
    rng = np.random.default_rng([seed, 1])
    labels = rng.integers(-1, 4, n)
    speakers = rng.integers(0, 7, n)
    segments = {
        name: (
            rng.normal(0.5, 1, (n, *shape, LAYERS, DIM)),
            rng.integers(0, 3, (n, *shape)),
        )
        for name, shape in (
            ("vowels", ()),
            ("consonants", ()),
            ("vowel_classes", (6,)),
        )
    }
    rows = domain(noise(seed, n), labels, speakers, **segments)
    raw = {}
    for name, (values, frames) in rows.features.segments.items():
        values, frames = values.double().numpy(), frames.numpy()
        if name == "vowel_classes":
            for k, vowel in enumerate(VOWELS):
                raw[vowel] = values[:, k], frames[:, k] > 0
        else:
            raw[name] = values, frames > 0
    return rows, raw, labels, np.array(rows.clusters)


def raw_rows(x, labels, emotion):
    return x if emotion == "all" else x[labels == EMOTIONS.index(emotion)]


def cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def by_hand(measure, emotion, xs, ys, xt, yt):
    """One measure of one layer, (N, D) vectors and their labels."""
    s, t = raw_rows(xs, ys, emotion), raw_rows(xt, yt, emotion)
    if measure == "centroid":
        return cosine(s.mean(0), t.mean(0))
    if measure == "pairwise":
        return np.mean([cosine(a, b) for a in s for b in t])
    if measure == "centred":
        return cosine(s.mean(0) - xs.mean(0), t.mean(0) - xt.mean(0))
    if measure == "covariance_standardised":
        s, t = s / xs.std(0), t / xt.std(0)
    a, b = np.cov(s.T), np.cov(t.T)
    return (a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b)


def found(rows):
    """Rows by emotion, segment, measure and layer."""
    keys = ("emotion", "segment", "measure", "layer")
    by_key = {tuple(row[k] for k in keys): row for row in rows}
    assert len(by_key) == len(rows)
    return by_key


def curve(rows, measure, emotion, segment="utterance"):
    rows = [
        row
        for row in rows
        if (row["measure"], row["emotion"], row["segment"])
        == (measure, emotion, segment)
    ]
    assert [row["layer"] for row in rows] == list(range(1, len(rows) + 1))
    return np.array([row["value"] for row in rows])


@pytest.fixture(scope="module")
def pair():
    return phoned(1), phoned(2, n=50)


@pytest.fixture(scope="module")
def table(pair):
    source, target = (corpus_sums(part[0], covariance=True) for part in pair)
    return found(similarity_rows(source, target, MEASURES))


def present(part, segment):
    """Vectors, labels and clusters of the rows that have a segment."""
    _, raw, labels, clusters = part
    x, has = raw[segment]
    return x[has], labels[has], clusters[has]


@pytest.mark.parametrize("measure", MEASURES)
def test_each_measure_is_that_of_the_raw_vectors(pair, table, measure):
    segments = ("utterance", "vowels", "consonants", *VOWELS)
    emotions = EMOTIONS + (("all",) if measure != "centred" else ())
    whole = measure.startswith("covariance")
    count = 0
    for segment in segments[:1] if whole else segments:
        (xs, ys, _), (xt, yt, _) = (present(p, segment) for p in pair)
        for emotion, layer in itertools.product(emotions, range(LAYERS)):
            row = table[emotion, segment, measure, layer + 1]
            expected = by_hand(
                measure, emotion, xs[:, layer], ys, xt[:, layer], yt
            )
            assert row["value"] == pytest.approx(expected, abs=1e-12)
            assert row["n_source"] == len(raw_rows(xs, ys, emotion))
            assert row["n_target"] == len(raw_rows(xt, yt, emotion))
            count += 1
    assert count == sum(key[2] == measure for key in table)


def test_masked_segments_count_nowhere():
    rows, raw, *_ = phoned(1)
    for name, (values, frames) in rows.features.segments.items():
        assert name == "utterance" or (frames == 0).any()
        values[frames == 0] = torch.nan
    sums = corpus_sums(rows)
    for name, part in sums.segments.items():
        values, has = raw[name]
        assert np.allclose(part.vectors.sum((0, 1)), values[has].sum(0))
        assert part.counts.sum() == has.sum()
        assert np.isfinite(part.units).all()


def test_segments_that_no_row_has_are_left_out():
    x = noise(0)
    x_vowels = np.ones((60, 6, LAYERS, DIM)), np.zeros((60, 6))
    x_vowels[1][3:7, 4] = 2
    some = domain(x, vowel_classes=x_vowels)
    assert list(corpus_sums(some).segments) == ["utterance", "o"]
    sums = corpus_sums(domain(x))
    assert list(sums.segments) == ["utterance"]
    rows = similarity_rows(corpus_sums(some), sums, ["centroid"])
    assert {row["segment"] for row in rows} == {"utterance"}


def test_the_interval_is_a_jackknife_over_the_groups_of_both_corpora(
    pair, table
):
    cases = itertools.product(
        MEANS, ("utterance", "ə"), ("happy", "all"), (0, 2)
    )
    for measure, segment, emotion, layer in cases:
        if (measure, emotion) == ("centred", "all"):
            continue
        parts = [present(p, segment) for p in pair]
        variances = []
        for n, (x, y, clusters) in enumerate(parts):
            deleted = []
            for cluster in np.unique(clusters):
                own = clusters == cluster
                counts = measure == "centred" or emotion == "all"
                if counts or (y[own] == 1).any():
                    xy = [(a[:, layer], b) for a, b, _ in parts]
                    xy[n] = x[~own][:, layer], y[~own]
                    deleted.append(by_hand(measure, emotion, *xy[0], *xy[1]))
            k = len(deleted)
            variances.append(((k - 1) * np.var(deleted), k - 1))
        variance = sum(v for v, _ in variances)
        df = variance**2 / sum(v**2 / d for v, d in variances)
        row = table[emotion, segment, measure, layer + 1]
        margin = stats.t.ppf(0.975, df) * np.sqrt(variance)
        low = max(row["value"] - margin, -1)
        high = min(row["value"] + margin, 1)
        assert row["low"] == pytest.approx(low, abs=1e-10)
        assert row["high"] == pytest.approx(high, abs=1e-10)


def test_intervals_cover():
    # Speakers and rows scatter around known centroids 45 degrees apart.
    rng = np.random.default_rng(0)
    mean_s, mean_t = np.array([1.0, 0, 0]), np.array([1.0, 1, 0])
    true, hits = np.sqrt(0.5), 0
    for _ in range(200):
        sums = []
        for mean in (mean_s, mean_t):
            speakers = np.repeat(np.arange(12), 5)
            x = mean + rng.normal(0, 0.3, (12, 3))[speakers]
            x = x + rng.normal(0, 0.3, x.shape)
            sums.append(corpus_sums(domain(x[:, None], speakers=speakers)))
        rows = found(similarity_rows(*sums, ["centroid"]))
        row = rows["all", "utterance", "centroid", 1]
        hits += row["low"] <= true <= row["high"]
    assert 0.9 <= hits / 200 <= 0.99


def test_one_group_gives_no_interval_and_no_halves():
    one = domain(noise(0), speakers=np.zeros(60, dtype=int))
    one, many = corpus_sums(one), corpus_sums(domain(noise(1)))
    rows = found(similarity_rows(one, many, ["centroid"]))
    row = rows["sad", "utterance", "centroid", 1]
    assert row["low"] is None
    assert row["high"] is None
    names = {key[2] for key in rows}
    assert "centroid:within_source" not in names
    assert "centroid:within_target" in names
    chosen = select_layers(one, many, "centroid", use_target_labels=False)
    assert chosen["stability"] is None


def test_an_emotion_of_one_speaker_has_no_interval():
    labels = np.arange(60) % 3
    labels[:5] = 3
    speakers = np.maximum(np.arange(60) // 6, 0)
    sad = domain(noise(0), labels, speakers)
    sums = corpus_sums(sad), corpus_sums(domain(noise(1)))
    rows = found(similarity_rows(*sums, ["centroid", "centred"]))
    for measure in ("centroid", "centred"):
        assert rows["sad", "utterance", measure, 1]["low"] is None
        assert rows["happy", "utterance", measure, 1]["low"] is not None


def test_what_does_not_vary_has_an_interval_of_no_width():
    x = np.ones((60, 2, 3)) * [1.0, 0.0, 0.0]
    y = np.ones((60, 2, 3)) * [3.0, 4.0, 0.0]
    sums = [corpus_sums(domain(part)) for part in (x, y)]
    rows = found(similarity_rows(*sums, ["centroid"]))
    row = rows["all", "utterance", "centroid", 2]
    assert row["low"] == row["value"] == row["high"] == 0.6


def test_one_row_has_no_covariance():
    labels = np.minimum(np.arange(60), 1)
    lone = corpus_sums(domain(noise(0), labels), covariance=True)
    rows = similarity_rows(lone, lone, MEASURES[-2:])
    assert {row["emotion"] for row in rows} == {"happy", "all"}


def test_a_constant_dimension_does_not_count_once_standardised():
    values = []
    for dim in (DIM, DIM + 1):
        sums = []
        for seed in (1, 2):
            x = np.full((60, 1, dim), 1234.567)
            x[..., :DIM] = noise(seed, layers=1)
            sums.append(corpus_sums(domain(x), covariance=True))
        rows = similarity_rows(*sums, ["covariance_standardised"])
        values.append(curve(rows, "covariance_standardised", "all"))
    assert values[0] == pytest.approx(values[1], abs=1e-9)


@pytest.mark.parametrize("block", [1, 7, 60])
def test_the_block_size_changes_nothing(pair, monkeypatch, block):
    rows = pair[1][0]
    expected = corpus_sums(rows, covariance=True)
    monkeypatch.setattr(similarity, "READ_AT_ONCE", block)
    sums = corpus_sums(rows, covariance=True)
    assert set(sums.segments) == set(expected.segments)
    for name, part in sums.segments.items():
        other = expected.segments[name]
        assert np.array_equal(part.counts, other.counts)
        assert np.allclose(part.vectors, other.vectors, rtol=1e-12)
        assert np.allclose(part.units, other.units, rtol=1e-12)
    assert np.allclose(sums.products, expected.products, rtol=1e-12)


def test_each_block_of_each_segment_is_read_once(pair, monkeypatch):
    rows = pair[0][0]
    monkeypatch.setattr(similarity, "READ_AT_ONCE", 25)
    rows.features.calls.clear()
    corpus_sums(rows, covariance=True)
    blocks = [list(range(25)), list(range(25, 50)), list(range(50, 60))]
    names = ("utterance", "vowels", "consonants", "vowel_classes")
    expected = [(name, block) for block in blocks for name in names]
    assert sorted(rows.features.calls) == sorted(expected)


def size(sums):
    arrays = [sums.products]
    for part in sums.segments.values():
        arrays += [part.counts, part.vectors, part.units]
    return sum(array.nbytes for array in arrays)


def test_memory_does_not_grow_with_the_utterances():
    sums = []
    for n in (100, 1000):
        rows = domain(noise(0, n), speakers=np.arange(n))
        sums.append(corpus_sums(rows, covariance=True))
    assert size(sums[0]) == size(sums[1])
    assert sums[0].num_groups == sums[1].num_groups == 50
    counts = sums[1].utterances.counts.sum(1)
    assert counts.tolist() == [20] * 50  # 1,000 speakers in equal groups


def test_up_to_50_clusters_are_groups_of_their_own():
    speakers = np.repeat(np.arange(50), 2)
    x = noise(0, 100)
    sums = corpus_sums(domain(x, speakers=speakers)).utterances
    own = x.astype(np.float32).astype(float).reshape(50, 2, LAYERS, DIM).sum(1)
    groups = sums.vectors.sum(1)
    order = [np.abs(groups - mine).sum((1, 2)).argmin() for mine in own]
    assert sorted(order) == list(range(50)) != order
    assert np.allclose(groups[order], own)


def halves_by_hand(part, measure, emotion, layer):
    """Mean over all ways to halve the groups, and the error of 20 of them."""
    x, y, clusters = part
    names, values = np.unique(clusters), []
    for half in itertools.combinations(names, len(names) // 2):
        own = np.isin(clusters, half)
        xs, xt = x[own][:, layer], x[~own][:, layer]
        values.append(by_hand(measure, emotion, xs, y[own], xt, y[~own]))
    return np.mean(values), np.std(values) / np.sqrt(20)


@pytest.mark.parametrize("measure", MEANS)
def test_within_compares_halves_of_the_groups(pair, table, measure):
    for n, side in enumerate(("source", "target")):
        part = present(pair[n], "utterance")
        mean, error = halves_by_hand(part, measure, "sad", 1)
        row = table["sad", "utterance", f"{measure}:within_{side}", 2]
        assert row["value"] == pytest.approx(mean, abs=2.5 * error)
        assert row["low"] is None


def test_within_two_groups_is_their_similarity():
    x, labels = noise(3), np.arange(60) % 4
    sums = corpus_sums(domain(x, labels, np.arange(60) // 30))
    halves = [
        corpus_sums(domain(x[part], labels[part]))
        for part in (slice(30), slice(30, 60))
    ]
    for measure in MEANS:
        within = similarity_rows(sums, sums, [measure])
        across = similarity_rows(*halves, [measure])
        for emotion in EMOTIONS:
            halved = curve(within, f"{measure}:within_source", emotion)
            assert halved == pytest.approx(curve(across, measure, emotion))
            assert len(halved) == LAYERS


@pytest.mark.parametrize("measure", MEANS)
def test_mismatched_is_the_mean_over_the_other_emotions(pair, table, measure):
    (xs, ys, _), (xt, yt, _) = (present(p, "a") for p in pair)
    for e, emotion in enumerate(EMOTIONS):
        values = []
        for other in (o for o in range(4) if o != e):
            # Call the target's other emotion by this one's name.
            renamed = np.where(yt == other, e, np.where(yt == e, other, yt))
            values.append(
                by_hand(measure, emotion, xs[:, 3], ys, xt[:, 3], renamed)
            )
        row = table[emotion, "a", f"{measure}:mismatched", 4]
        assert row["value"] == pytest.approx(np.mean(values), abs=1e-12)
    assert ("all", "a", f"{measure}:mismatched", 4) not in table


@pytest.mark.parametrize("measure", ["centroid", "centred"])
def test_without_top3_leaves_out_the_strongest_dimensions(pair, table, measure):
    (xs, ys, _), (xt, yt, _) = (present(p, "vowels") for p in pair)
    for layer in range(LAYERS):
        s, t = xs[:, layer], xt[:, layer]
        kept = np.argsort(s.mean(0) ** 2 + t.mean(0) ** 2)[:-3]
        expected = by_hand(measure, "angry", s[:, kept], ys, t[:, kept], yt)
        name = f"{measure}:without_top3"
        row = table["angry", "vowels", name, layer + 1]
        assert row["value"] == pytest.approx(expected, abs=1e-12)


def test_without_top3_unmasks_giant_dimensions():
    rng = np.random.default_rng(0)
    x = [rng.normal(0, 1, (200, 1, 40)) + rng.normal(0, 1, 40) for _ in "st"]
    for part in x:
        part[:, :, [3, 17, 30]] += 500
    sums = [corpus_sums(domain(part)) for part in x]
    rows = similarity_rows(*sums, ["centroid"])
    assert curve(rows, "centroid", "all")[0] > 0.999
    assert abs(curve(rows, "centroid:without_top3", "all")[0]) < 0.5


PLANTED = [2, 4, 5]


def planted(seed, n=400, layers=7, dim=12):
    """Layers 2, 4 and 5 have one distribution in all corpora, others none."""
    shared, own = np.random.default_rng(99), np.random.default_rng([seed, 5])
    labels = np.arange(n) % 4
    x = np.empty((n, layers, dim))
    for layer in range(layers):
        rng = shared if layer + 1 in PLANTED else own
        mean = rng.normal(0, 1, dim)
        emotions = rng.normal(0, 1, (4, dim))
        mix = rng.normal(0, 1, (dim, 3))
        parts = own.normal(0, 1, (n, 3)) @ mix.T
        parts += own.normal(0, 0.2, (n, dim))
        x[:, layer] = mean + emotions[labels] + parts
    return domain(x, speakers=np.arange(n) // 4 % 20)


@pytest.fixture(scope="module")
def planted_sums():
    return [corpus_sums(planted(seed), covariance=True) for seed in (1, 2)]


@pytest.mark.parametrize("measure", MEASURES)
def test_layers_made_alike_are_ranked_first(planted_sums, measure):
    chosen = select_layers(*planted_sums, measure, use_target_labels=True)
    assert chosen["group"] == PLANTED
    assert chosen["best"][0] in PLANTED
    assert not set(chosen["worst"]) & set(PLANTED)
    scores = chosen["scores"]
    assert chosen["best"] == [int(max(scores, key=scores.get))]
    assert sorted(scores, key=scores.get)[:3] == sorted(
        map(str, chosen["worst"]), key=scores.get
    )
    assert len(scores) == 7


@pytest.mark.parametrize("measure", [m for m in MEASURES if m != "centred"])
def test_layers_made_alike_are_found_without_target_labels(
    planted_sums, measure
):
    source = planted_sums[0]
    target = planted(2)
    target.labels[:] = -1
    target = corpus_sums(target, covariance=True)
    chosen = select_layers(source, target, measure, use_target_labels=False)
    assert chosen["group"] == PLANTED
    rows = similarity_rows(source, target, [measure])
    scores = list(chosen["scores"].values())
    assert scores == pytest.approx(curve(rows, measure, "all"), abs=1e-12)
    emotions = {r["emotion"] for r in rows if r["measure"] == measure}
    assert emotions == {"all"}


def test_scores_are_means_over_the_emotions(planted_sums):
    for measure in MEASURES:
        rows = similarity_rows(*planted_sums, [measure])
        mean = np.mean([curve(rows, measure, e) for e in EMOTIONS], axis=0)
        chosen = select_layers(*planted_sums, measure, use_target_labels=True)
        scores = list(chosen["scores"].values())
        assert scores == pytest.approx(mean, abs=1e-12)


def test_centred_sees_through_a_constant_offset():
    x = noise(0, offset=3) + 2 * np.eye(4, DIM)[np.arange(60) % 4][:, None]
    y = x.copy()
    y[:, 2] += 30 * np.array([1, -1, 1, -1, 1, -1])
    sums = [corpus_sums(domain(part)) for part in (x, y)]
    rows = similarity_rows(*sums, ["centroid", "centred"])
    for emotion in EMOTIONS:
        centroid, centred = (
            curve(rows, measure, emotion) for measure in ("centroid", "centred")
        )
        assert centroid[2] < 0.5 < 0.999 < centroid[[0, 1, 3]].min()
        assert centred.min() > 0.999


def test_a_layer_without_emotion_has_matched_equal_mismatched():
    rng = np.random.default_rng(0)
    parts = []
    for _ in "st":
        x = 3 + rng.normal(0, 1, (80, 2, DIM))
        x[:, 0] = np.repeat(x[:20, 0], 4, axis=0)  # each emotion has the same
        x[:, 1] += 2 * np.eye(4, DIM)[np.arange(80) % 4]
        parts.append(corpus_sums(domain(x)))
    rows = similarity_rows(*parts, ["centroid", "pairwise"])
    for measure, emotion in itertools.product(MEANS[:2], EMOTIONS):
        matched = curve(rows, measure, emotion)
        other = curve(rows, f"{measure}:mismatched", emotion)
        assert matched[0] == pytest.approx(other[0], abs=1e-9)
        assert matched[1] > other[1] + 0.02


def test_missing_labels_are_refused_for_what_needs_them(planted_sums):
    source = planted_sums[0]
    blind = corpus_sums(domain(noise(0, 8, 7, 12), np.full(8, -1)))
    with pytest.raises(
        UserError, match=r"centred needs .* the target has none"
    ):
        similarity_rows(source, blind, ["centroid", "centred"])
    with pytest.raises(
        UserError, match=r"centred needs .* the source has none"
    ):
        select_layers(blind, source, "centred", use_target_labels=True)
    with pytest.raises(UserError, match="use_target_labels: true needs"):
        select_layers(source, blind, "centroid", use_target_labels=True)
    with pytest.raises(UserError, match="needs use_target_labels: true"):
        select_layers(source, source, "centred", use_target_labels=False)


def test_what_cannot_be_measured_is_refused(planted_sums):
    with pytest.raises(UserError, match="one of centroid, pairwise"):
        similarity_rows(*planted_sums, ["cosine"])
    with pytest.raises(UserError, match="one of centroid, pairwise"):
        select_layers(*planted_sums, "cosine", use_target_labels=False)
    without = corpus_sums(planted(1))
    with pytest.raises(ValueError, match="covariance=True"):
        similarity_rows(without, without, ["covariance"])
    happy, sad = (
        corpus_sums(domain(noise(0), np.full(60, label))) for label in (1, 3)
    )
    with pytest.raises(UserError, match="too few rows or emotions"):
        select_layers(happy, sad, "centroid", use_target_labels=True)


def test_ties_go_to_the_lower_layer():
    x = noise(0).repeat(2, axis=1)  # layers 1 = 2, 3 = 4, 5 = 6, 7 = 8
    y = x.copy()
    y[:, :4] += 50 * np.arange(DIM)
    y[:, 4:6, 0] += 1
    sums = [corpus_sums(domain(part)) for part in (x, y)]
    for labels in (True, False):
        chosen = select_layers(*sums, "centroid", labels)
        assert chosen["group"] == [5, 7, 8]
        assert chosen["best"] == [7]
    same = corpus_sums(domain(noise(0, layers=1).repeat(5, axis=1)))
    chosen = select_layers(same, same, "pairwise", use_target_labels=False)
    assert chosen["group"] == chosen["worst"] == [1, 2, 3]


def test_selection_is_stable_where_layers_differ_and_not_in_noise(
    planted_sums,
):
    clear = select_layers(*planted_sums, "pairwise", use_target_labels=True)
    assert clear["stability"]["group"] == 1.0
    assert clear["stability"]["layers"] == {
        str(n): float(n in PLANTED) for n in range(1, 8)
    }
    sums = [
        corpus_sums(domain(noise(seed, layers=8, offset=0))) for seed in (1, 2)
    ]
    blurred = select_layers(*sums, "centroid", use_target_labels=True)
    stability = blurred["stability"]
    assert 0 < stability["group"] < 0.9
    assert 0 < stability["worst"] < 0.9
    assert sum(stability["layers"].values()) == pytest.approx(3)
    assert blurred == select_layers(*sums, "centroid", True)
    assert stability != select_layers(*sums, "centroid", True, seed=1)


def test_stability_resamples_the_groups_of_both_corpora():
    # Layer 1 is the most alike but for one of the 5 speakers of one corpus,
    # so 2 is best unless a draw leaves that speaker out: (4 / 5)^5.
    angles = 0.1 * np.arange(4)
    x = np.zeros((20, 4, 2)) + np.stack([np.cos(angles), np.sin(angles)], 1)
    y = np.ones((20, 4, 2)) * [1.0, 0.0]
    y[:4, 0] = [-1.0, 0.0]
    sums = [corpus_sums(domain(part)) for part in (x, y)]
    for pair in (sums, sums[::-1]):
        chosen = select_layers(*pair, "pairwise", False, resamples=4000)
        assert chosen["best"] == [2]
        share = chosen["stability"]["best"]
        assert share == pytest.approx(1 - 0.8**5, abs=0.03)


def test_resamples_without_a_shared_emotion_do_not_count():
    labels = np.where(np.arange(60) < 30, np.arange(60) % 4, -1)
    half = corpus_sums(domain(noise(1), labels, np.arange(60) // 30))
    chosen = select_layers(half, half, "pairwise", use_target_labels=True)
    stability = chosen["stability"]  # all that can vary is how many rows count
    assert [stability[k] for k in ("group", "best", "worst")] == [1, 1, 1]


def test_the_selection_says_what_it_was_made_from(planted_sums):
    source, target = planted_sums[0], corpus_sums(planted(2, n=60))
    chosen = select_layers(source, target, "centred", use_target_labels=True)
    assert json.loads(json.dumps(chosen, allow_nan=False)) == chosen
    expected = {
        "measure": "centred",
        "use_target_labels": True,
        "n_source": 400,
        "n_target": 60,
        "groups_source": 20,
        "groups_target": 15,
    }
    assert expected.items() <= chosen.items()
    chosen = select_layers(*planted_sums, "covariance", use_target_labels=False)
    assert chosen["stability"] is None


def test_rows_that_carry_no_emotion_count_in_all_alone():
    labels = np.arange(60) % 5 - 1
    sums = corpus_sums(domain(noise(0), labels))
    rows = similarity_rows(sums, sums, ["centroid"])
    counts = {row["emotion"]: row["n_source"] for row in rows}
    assert counts == dict.fromkeys(EMOTIONS, 12) | {"all": 60}
    with_labels, without = (
        select_layers(sums, sums, "centroid", use) for use in (True, False)
    )
    assert (with_labels["n_source"], without["n_source"]) == (48, 60)


def test_random_layers_are_seeded_different_and_sorted():
    draws = [random_layers(seed, 12) for seed in range(200)]
    for drawn in draws:
        assert drawn == sorted(set(drawn))
        assert len(drawn) == 3
    assert set(itertools.chain(*draws)) == set(range(1, 13))
    assert random_layers(7, 12) == draws[7]
    assert len(set(map(tuple, draws))) > 100
    assert len(random_layers(0, 12, count=5)) == 5
    json.dumps(draws)


def test_similarity_csv_has_six_digits_and_empty_cells(tmp_path):
    one = domain(noise(0), speakers=np.zeros(60, dtype=int))
    sums = corpus_sums(one, covariance=True)
    rows = similarity_rows(sums, sums, ["centroid"])
    rows[0]["segment"] = "ɛ"
    path = tmp_path / "similarity.csv"
    write_similarity(path, rows)
    with open(path, encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == len(rows)
    assert lines[0] == {
        "layer": "1",
        "emotion": "neutral",
        "segment": "ɛ",
        "measure": "centroid",
        "value": "1.000000",
        "low": "",
        "high": "",
        "n_source": "15",
        "n_target": "15",
    }


def test_what_was_written_is_read_again(tmp_path):
    values = (
        (1, "happy", "ɛ", "centroid", 0.25, -0.5, 1.0, 3, 4),
        (2, "all", "i", "centred", -0.5, None, None, 3, 4),
    )
    rows = [dict(zip(COLUMNS, v, strict=True)) for v in values]
    write_similarity(tmp_path / "s.csv", rows)
    assert read_similarity(tmp_path / "s.csv") == rows
