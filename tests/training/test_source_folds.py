"""Choices that see the source's speakers alone."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import EMOTIONS
from domain_rows import FeaturesInMemory

from lam_sb.training.rows import DomainRows
from lam_sb.training.source_folds import (
    choose_layers,
    layer_scores,
    speaker_folds,
)

SPEAKERS = np.arange(120) // 12


@pytest.fixture
def source():
    """Layer 2 tells the emotions of anyone, layer 3 those of known speakers."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((120, 3, 40))
    labels = np.arange(120) % 4
    x[:, 1, :4] += 1.5 * np.eye(4)[labels]
    own = rng.normal(0, 3, (10, 4, 40))
    x[:, 2] = own[SPEAKERS, labels] + 0.01 * x[:, 2]
    manifest = {
        f"u{n}": {"emo": EMOTIONS[labels[n]], "speaker": f"s{SPEAKERS[n]}"}
        for n in range(120)
    }
    return DomainRows(manifest, FeaturesInMemory(x[:, None]), labelled=True)


def test_no_speaker_is_trained_on_and_validated_on():
    clusters = [f"s{n}" for n in SPEAKERS]
    folds = speaker_folds(clusters)
    assert len(folds) == 5
    assert sorted(i for _, part in folds for i in part) == [*range(120)]
    for train, part in folds:
        assert not {*SPEAKERS[train]} & {*SPEAKERS[part]}
        assert len(train) + len(part) == 120


def test_of_a_single_speaker_rows_are_held_out():
    folds = speaker_folds(["a"] * 12)
    assert len(folds) == 5
    assert sorted(i for _, part in folds for i in part) == [*range(12)]


def test_the_best_layer_is_that_of_new_speakers(source):
    scores = layer_scores([source], [1, 2, 3])
    assert scores[2] > 0.6
    assert max(scores[1], scores[3]) < 0.45
    hparams = {"mix_layers": "best_on_source", "layers": [3]}
    hparams["encoder"] = type("Encoder", (), {"num_layers": 3})
    choose_layers(hparams, [source])
    assert hparams["layers"] == [2]
    assert hparams["layer_scores"] == {str(n): s for n, s in scores.items()}


def test_other_layers_stay_as_they_are(source):
    hparams = {"mix_layers": "top", "layers": [3]}
    choose_layers(hparams, [source])
    assert hparams == {"mix_layers": "top", "layers": [3], "layer_scores": None}


def test_rows_without_a_label_count_nowhere(source):
    scores = layer_scores([source], [2])
    source.labels[::7] = -1
    source.features.chunks[::7] = 1e6
    assert layer_scores([source], [2])[2] == pytest.approx(scores[2], abs=0.15)
