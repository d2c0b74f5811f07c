from __future__ import annotations

import numpy as np
import pytest
import torch
from domain_rows import FeaturesInMemory
from sklearn.svm import LinearSVC

from lam_sb.corpora.manifests import EMOTIONS
from lam_sb.training.ensemble import SVM_CS, ensemble_posteriors, fit_ensemble
from lam_sb.training.rows import DomainRows


class InMemory(FeaturesInMemory):
    """One chunk of one layer, which is named 12."""

    def __init__(self, x):
        self.x = torch.as_tensor(x, dtype=torch.float32)
        super().__init__(self.x[:, None, None])

    def shape(self, name, layers=None):
        assert (name, layers) == ("utterance", [12])
        return super().shape(name)

    def fill(self, out, name, indices, layers=None):
        super().fill(out, name, indices)


def rows(count, seed, unlabelled=()):
    rng = np.random.default_rng(seed)
    manifest = {
        f"u{seed}_{n}": {
            "emo": None if n in unlabelled else EMOTIONS[n % 4],
            "speaker": "s",
        }
        for n in range(count)
    }
    x = np.eye(4)[np.arange(count) % 4] * 2 + rng.standard_normal((count, 4))
    return DomainRows(manifest, InMemory(x), labelled=True)


def test_the_ensemble_learns_and_its_seed_decides():
    train, test = rows(200, 0), rows(100, 1)
    found = [
        ensemble_posteriors(fit_ensemble([train], [12], seed), test, [12])
        for seed in (0, 0, 1)
    ]
    assert np.array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])
    assert (found[0].argmax(1) == test.labels.numpy()).mean() > 0.7
    assert np.allclose(found[0].sum(1), 1)


class Fixed:
    """A voter that always says the same."""

    classes_ = np.arange(4)

    def __init__(self, *votes):
        self.votes = votes

    def transform(self, x):
        return np.tile(self.votes, (len(x), 1))


@pytest.mark.parametrize(
    ("tree", "svm", "forest", "winner"),
    [
        (0, 1, 0, 0),  # the majority
        (2, 2, 1, 2),
        (0, 1, 2, 1),  # a tie goes to the SVM
        (3, 0, 1, 0),
        (3, 3, 3, 3),
    ],
)
def test_majority_wins_and_the_svm_breaks_ties(tree, svm, forest, winner):
    posteriors = ensemble_posteriors(Fixed(tree, svm, forest), rows(3, 0), [12])
    assert posteriors.argmax(1).tolist() == [winner] * 3
    assert np.allclose(posteriors.sum(1), 1)


def test_sklearn_votes_as_the_posteriors_say():
    train, test = rows(60, 0), rows(400, 1)
    classifier = fit_ensemble([train], [12], seed=0)
    posteriors = ensemble_posteriors(classifier, test, [12])
    x, _ = test.read(range(400), [12], ["utterance"])
    assert classifier.predict(x.flatten(1).numpy()).tolist() == (
        posteriors.argmax(1).tolist()
    )
    names = [name for name, _ in classifier.estimators]
    assert names == ["tree", "svm", "forest"]
    tree, svm, forest = classifier.estimators_
    assert tree.criterion == "entropy"
    assert {e.class_weight for e in (tree, svm, forest)} == {"balanced"}


def test_unlabelled_rows_are_left_out_and_domains_join():
    hidden = rows(80, 0, unlabelled=range(40, 80))
    alone = fit_ensemble([rows(40, 0)], [12], seed=0, class_weight="none")
    assert {e.class_weight for e in alone.estimators_} == {None}
    both = fit_ensemble([hidden, rows(40, 2)], [12], seed=0)
    assert both.estimators_[1].n_features_in_ == 4
    forest = both.estimators_[2]
    assert forest.estimators_[0].tree_.weighted_n_node_samples[0] == (
        pytest.approx(80)
    )


def test_the_svm_s_c_is_that_of_the_best_uar_on_held_out_speakers():
    """By hand, on 4 speakers whose offsets a large C would learn."""
    rng = np.random.default_rng(3)
    made, speakers = rows(80, 3), np.arange(80) // 20
    made.clusters = [f"s{n}" for n in speakers]
    offsets = rng.normal(0, 2, (4, 30))[speakers]
    noise = offsets + rng.standard_normal((80, 30))
    weak = 0.6 * made.features.x
    x = torch.cat([weak, torch.tensor(noise)], dim=1).float()
    made.features = InMemory(x)
    y, uars = made.labels.numpy(), {}
    for c in SVM_CS:
        found = np.empty(80, dtype=int)
        for speaker in range(4):
            test = speakers == speaker
            svm = LinearSVC(C=c, random_state=0, class_weight="balanced")
            found[test] = svm.fit(x[~test], y[~test]).predict(x[test])
        uars[c] = np.mean([(found[y == k] == k).mean() for k in range(4)])
    best = max(SVM_CS, key=uars.get)
    assert uars[best] > uars[SVM_CS[-1]]
    classifier = fit_ensemble([made], [12], seed=0)
    chosen = classifier.named_estimators["svm"].C
    assert chosen == best
