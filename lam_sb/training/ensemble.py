"""The ensemble baseline: three classifiers that vote (Zehra et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import skops.io
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.model_selection import cross_val_predict
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier
from sklearn.tree._tree import Tree

from lam_sb.corpora.manifests import EMOTIONS
from lam_sb.errors import UserError
from lam_sb.evaluation.metrics import uar
from lam_sb.files import whole_file
from lam_sb.training.rows import DomainRows, Parts
from lam_sb.training.source_folds import joint_clusters, speaker_folds

# The majority wins, and the SVM where all three disagree.
VOTES = {"tree": 2, "svm": 3, "forest": 2}
KEPT_ENSEMBLE = "ensemble.skops"  # a format that loads without running code
# Types of an ensemble that skops does not load by itself. scikit-learn would
# read anywhere by a tree whose numbers lie out of range: they are checked.
TRUSTED = ["sklearn.tree._tree.Tree", "sklearn.utils._bunch.Bunch"]
SVM_CS = (0.0001, 0.001, 0.01, 0.1, 1.0)


def fit_and_test_ensemble(
    rows: Parts,
    layers: Sequence[int],
    seed: int,
    class_weight: str,
    select_on: str,
    save_folder: str,
    keep: bool,
) -> tuple[dict[str, dict[str, np.ndarray]], dict]:
    """Fit the ensemble and classify the test rows.

    Arguments
    ---------
    rows : Parts
        By corpus, of the parts ``source_train``, ``target_train``, ``valid``
        and ``target_test``; the target's training rows count where their
        labels are known.
    layers : Sequence[int]
        Layers whose utterance means are the input.
    seed : int
        Of all classifiers.
    class_weight : str
        balanced or none.
    select_on : str
        Rule under which the posteriors are given.
    save_folder : str
        Gets ensemble.skops, which holds the ensemble.
    keep : bool
        Whether it does.

    Returns
    -------
    posteriors : dict[str, dict[str, np.ndarray]]
        (N, 4) of the test rows by target and rule.
    learned : dict
        Part of results.json; None for what only a Brain has.
    """
    parts = chain(rows["source_train"].values(), rows["target_train"].values())
    train = [part for part in parts if (part.labels >= 0).any()]
    classifier = fit_ensemble(train, layers, seed, class_weight)
    if keep:
        Path(save_folder).mkdir(parents=True, exist_ok=True)
        with whole_file(Path(save_folder, KEPT_ENSEMBLE)) as temporary:
            skops.io.dump(classifier, temporary)
    valid, test = (
        [ensemble_posteriors(classifier, part, layers) for part in parts]
        for parts in (rows["valid"].values(), rows["target_test"].values())
    )
    labels = np.concatenate([p.labels.numpy() for p in rows["valid"].values()])
    names = ("layer_weights", "layer_share", "epochs", "steps", "best_epoch")
    names += ("tested_epochs",)
    posteriors = dict(zip(rows["target_test"], test, strict=True))
    return {target: {select_on: p} for target, p in posteriors.items()}, {
        **dict.fromkeys(names),
        "svm_c": classifier.named_estimators["svm"].C,
        "valid_uar": uar(labels, np.concatenate(valid).argmax(1)),
        "device": "cpu",
    }


def fit_ensemble(
    rows: Sequence[DomainRows],
    layers: Sequence[int],
    seed: int,
    class_weight: str = "balanced",
) -> VotingClassifier:
    """Fit a decision tree (entropy), a linear SVM and a random forest.

    The SVM's C is the one of the best UAR on held-out speakers of these rows,
    the smallest of equals.

    Arguments
    ---------
    rows : Sequence[DomainRows]
        Rows to train on, of one or more domains; unlabelled ones are left out.
    layers : Sequence[int]
        Layers whose utterance means are the input.
    seed : int
        Of all three.
    class_weight : str
        balanced or none.

    Returns
    -------
    VotingClassifier
        Fitted; it votes hard.
    """
    settings = {
        "random_state": seed,
        "class_weight": class_weight if class_weight == "balanced" else None,
    }
    x = np.concatenate([_utterances(part, layers) for part in rows])
    y = np.concatenate([part.labels.numpy() for part in rows])
    clusters = np.concatenate(joint_clusters(rows))
    x, y, clusters = (values[y >= 0] for values in (x, y, clusters))
    svm = LinearSVC(C=_choose_c(x, y, clusters, settings), **settings)
    classifier = VotingClassifier(
        [
            ("tree", DecisionTreeClassifier(criterion="entropy", **settings)),
            ("svm", svm),
            ("forest", RandomForestClassifier(n_jobs=-1, **settings)),
        ],
        weights=list(VOTES.values()),
    )
    return classifier.fit(x, y)


def _choose_c(
    x: np.ndarray, y: np.ndarray, clusters: np.ndarray, settings: dict
) -> float:
    """C of the SVM, by cross-validation over speakers."""
    folds = speaker_folds(clusters)
    scores = {}
    for c in SVM_CS:
        svm = LinearSVC(C=c, **settings)
        scores[c] = uar(y, cross_val_predict(svm, x, y, cv=folds))
    return max(scores, key=scores.get)


def ensemble_posteriors(
    classifier: VotingClassifier, rows: DomainRows, layers: Sequence[int]
) -> np.ndarray:
    """Shares of the votes, of which the SVM has 3 of 7, the others 2.

    Arguments
    ---------
    classifier : VotingClassifier
        From `fit_ensemble`.
    rows : DomainRows
        Rows to classify.
    layers : Sequence[int]
        As in `fit_ensemble`.

    Returns
    -------
    np.ndarray
        (N, 4); the largest share is the majority's, or the SVM's in a tie.
    """
    return vote_shares(classifier, _utterances(rows, layers))


def read_ensemble(path: str | Path, width: int) -> VotingClassifier:
    """Load an ensemble from a format that runs no code.

    Arguments
    ---------
    path : str | Path
        A file ensemble.skops.
    width : int
        Number of features.

    Raises
    ------
    UserError
        The file is damaged, or holds something else.
    """
    try:
        classifier = skops.io.load(path, trusted=TRUSTED)
        forest = classifier.named_estimators_["forest"].estimators_
        trees = [classifier.named_estimators_["tree"], *forest]
        sound = all(_is_sound(tree.tree_, width) for tree in trees)
        sound = sound and len(classifier.estimators_) == len(VOTES)
        svm = classifier.named_estimators_["svm"]
        if not sound or svm.coef_.shape[1] != width:
            raise ValueError("its numbers lie out of range")
        # scikit-learn's own checks, once for all that is left.
        vote_shares(classifier, np.zeros((1, width)))
    except Exception as error:  # of zip, JSON, NumPy, scikit-learn and skops
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"{path} holds no ensemble of this model, or is damaged ({reason})."
        ) from error
    return classifier


def _is_sound(tree: Tree, width: int) -> bool:
    """Whether a tree leads from its root to leaves, by features there are."""
    nodes = np.arange(tree.node_count)
    left, right, by = tree.children_left, tree.children_right, tree.feature
    inner = left != -1
    below = all(
        ((nodes[inner] < side[inner]) & (side[inner] < len(nodes))).all()
        for side in (left, right)
    )
    known = ((by[inner] >= 0) & (by[inner] < width)).all()
    same = (inner == (right != -1)).all() and len(nodes) > 0
    return bool(below and known and same and tree.n_features == width)


def vote_shares(classifier: VotingClassifier, x: np.ndarray) -> np.ndarray:
    """Shares of the votes (N, 4) on standardised utterance means (N, M D)."""
    votes = classifier.transform(x)
    classes = classifier.classes_[votes]  # (N, 3), of the four emotions
    shares = np.zeros((len(x), len(EMOTIONS)))
    for column, weight in enumerate(VOTES.values()):
        shares[np.arange(len(x)), classes[:, column]] += weight
    return shares / sum(VOTES.values())


def _utterances(rows: DomainRows, layers: Sequence[int]) -> np.ndarray:
    """Utterance means (N, M D), standardised."""
    x, _ = rows.read(range(len(rows)), layers, ["utterance"])
    x = x.flatten(1)
    broken = (~x.isfinite().all(1)).nonzero()
    if len(broken):
        raise UserError(
            f"The features of {len(broken)} rows are not finite, "
            f"{rows.ids[int(broken[0])]} the first; look at its audio, or use "
            "--storage_dtype float32."
        )
    return x.numpy()
