from __future__ import annotations

import json

import numpy as np
import pytest
from raw_features import (
    DIM,
    EMOTIONS,
    MEANS,
    curve,
    domain,
    noise,
)

from lam_sb.analysis.measures import MEASURES
from lam_sb.analysis.selection import select_layers
from lam_sb.analysis.similarity import (
    similarity_rows,
)
from lam_sb.analysis.sums import corpus_sums
from lam_sb.errors import UserError

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


@pytest.mark.parametrize("measure", MEANS)
def test_layers_are_ranked_on_the_segment_that_is_aligned(measure):
    """On vowels, layers 1, 3 and 4 are alike: those of utterances shifted."""

    def corpus(seed):
        x = planted(seed).features.segments["utterance"][0].numpy()
        vowels = np.roll(x, -1, axis=1)
        frames = np.arange(400) % 5  # a fifth of the rows has none
        return domain(
            x, speakers=np.arange(400) // 4 % 20, vowels=(vowels, frames)
        )

    sums = [corpus_sums(corpus(seed), covariance=True) for seed in (1, 2)]
    chosen = {
        segment: select_layers(*sums, measure, True, segment)
        for segment in ("utterance", "vowels")
    }
    assert chosen["utterance"]["group"] == PLANTED
    assert chosen["vowels"]["group"] == [1, 3, 4]
    assert chosen["vowels"]["stability"]["group"] > 0.9
    assert chosen["vowels"]["n_source"] == 320
    with pytest.raises(UserError, match="both corpora need consonants"):
        select_layers(*sums, measure, True, "consonants")
    with pytest.raises(UserError, match="covariance compares whole utterances"):
        select_layers(*sums, "covariance", True, "vowels")


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
