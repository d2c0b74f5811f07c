from __future__ import annotations

import csv
import itertools

import numpy as np
import pytest
from raw_features import (
    DIM,
    EMOTIONS,
    LAYERS,
    MEANS,
    by_hand,
    curve,
    domain,
    found,
    noise,
    phoned,
    present,
    raw_rows,
)
from scipy import stats

from lam_sb.analysis.measures import MEASURES
from lam_sb.analysis.selection import select_layers
from lam_sb.analysis.similarity import (
    COLUMNS,
    read_similarity,
    similarity_rows,
    write_similarity,
)
from lam_sb.analysis.sums import corpus_sums
from lam_sb.corpora.phones import VOWELS


@pytest.fixture(scope="module")
def pair():
    return phoned(1), phoned(2, n=50)


@pytest.fixture(scope="module")
def table(pair):
    source, target = (corpus_sums(part[0], covariance=True) for part in pair)
    return found(similarity_rows(source, target, MEASURES))


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
