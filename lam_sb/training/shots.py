"""Labelled target rows of the few-shot baseline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from lam_sb.corpora.manifests import EMOTIONS
from lam_sb.errors import UserError

CANDIDATES = 0.2  # of the rows that are adapted on and tested


def shot_candidates(
    train: Iterable[str], test: Iterable[str], split_seed: int
) -> list[str]:
    """Target rows that shots may come from, if nobody is tested on them.

    Arguments
    ---------
    train, test : Iterable[str]
        Ids of the target's training and test rows.
    split_seed : int
        Decides the draw. Labels do not, so all systems and seeds, with labels
        or without, have one test set.

    Returns
    -------
    list[str]
        All training rows where none of them is tested; otherwise a fifth of
        the rows that are both, which ``hold_out_shots`` takes out of the test
        set.

    Example
    -------
    >>> shot_candidates(["a", "b"], ["c"], split_seed=0)
    ['a', 'b']
    >>> len(shot_candidates("abcdefghij", "abcdefghij", split_seed=0))
    2
    """
    train = sorted(train)
    shared = sorted(set(train) & set(test))
    if not shared:
        return train
    generator = np.random.default_rng([split_seed, len(shared)])
    count = round(CANDIDATES * len(shared))
    picked = generator.choice(len(shared), count, replace=False)
    return [shared[n] for n in sorted(picked)]


def draw_shots(
    emotions: Mapping[str, str | None],
    shots: int,
    split_seed: int,
    seed: int,
) -> list[str]:
    """Draw labelled target rows for the few-shot baseline.

    Arguments
    ---------
    emotions : Mapping[str, str | None]
        Label by id of the rows that shots may come from.
    shots : int
        Rows an emotion.
    split_seed, seed : int
        Decide the draw; each seed of a run has its own.

    Returns
    -------
    list[str]
        4 shots ids, emotion by emotion.

    Raises
    ------
    UserError
        Too few rows of an emotion.

    Example
    -------
    >>> rows = {f"{e}{n}": e for e in EMOTIONS for n in range(9)}
    >>> drawn = draw_shots(rows, shots=2, split_seed=0, seed=1)
    >>> [i[:-1] for i in drawn]
    ['neutral', 'neutral', 'happy', 'happy', 'angry', 'angry', 'sad', 'sad']
    """
    generator = np.random.default_rng([split_seed, seed])
    drawn = []
    for emotion in EMOTIONS:
        ids = sorted(i for i, e in emotions.items() if e == emotion)
        if len(ids) < shots:
            raise UserError(
                f"target_shots: {shots} of {emotion} are asked for, but only "
                f"{len(ids)} labelled target rows may be used as shots."
            )
        drawn += generator.choice(ids, shots, replace=False).tolist()
    return drawn
