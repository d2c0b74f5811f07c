"""Which utterances train, validate and test."""

from __future__ import annotations

import itertools
import random
from collections import defaultdict
from collections.abc import Sequence

from lam_sb.corpora.manifests import SPLITS, Utterance, cluster_of
from lam_sb.corpora.options import PrepOptions
from lam_sb.errors import UserError

ORDERS = 1000  # of the speakers, that are tried


def split_utterances(
    utterances: Sequence[Utterance], options: PrepOptions
) -> dict[str, list[Utterance]]:
    """Utterances of train, valid and test, as `PrepOptions` explains.

    Raises
    ------
    UserError
        Fewer speakers than groups.
    """
    seed = options.split_seed
    if options.protocol == "transductive":
        train, valid = [*utterances], []
        if len({cluster_of(u.id, u.speaker) for u in utterances}) > 1:
            train, valid = _speaker_groups(utterances, (0.8, 0.2), seed)
        return {"train": train, "valid": valid, "test": [*utterances]}
    if options.folds:
        shares = (1 / options.folds,) * options.folds
        groups = _speaker_groups(utterances, shares, seed)
        test, valid, *others = groups[options.fold :] + groups[: options.fold]
        train = [u for group in others for u in group]
        return {"train": train, "valid": valid, "test": test}
    if has_official_splits(utterances, options):
        return {s: [u for u in utterances if u.split == s] for s in SPLITS}
    groups = _speaker_groups(utterances, (0.6, 0.2, 0.2), seed)
    return dict(zip(SPLITS, groups, strict=True))


def has_official_splits(
    utterances: Sequence[Utterance], options: PrepOptions
) -> bool:
    """Whether the corpus has its own splits and the protocol leaves them."""
    return not options.makes_splits and any(u.split for u in utterances)


def _speaker_groups(
    utterances: Sequence[Utterance], shares: Sequence[float], seed: int
) -> list[list[Utterance]]:
    """Speaker-disjoint groups, each with every emotion where possible.

    Of seeded orders of the speakers, the first in which most emotions stand in
    most groups.
    """
    rows: dict[str, list[Utterance]] = defaultdict(list)
    for u in utterances:
        rows[cluster_of(u.id, u.speaker)].append(u)
    speakers = sorted(rows)
    if len(speakers) < len(shares):
        raise UserError(
            f"{len(speakers)} speakers or recordings are too few for "
            f"{len(shares)} speaker-disjoint groups; name the speakers or the "
            "splits in the label table, or use --protocol transductive, where "
            "a target needs no split."
        )
    emotions = {s: {u.emo for u in rows[s]} - {None} for s in speakers}
    possible = len(set().union(*emotions.values())) * len(shares)
    bounds = list(itertools.pairwise(_group_bounds(len(speakers), shares)))
    generator = random.Random(seed)
    most, best = -1, [speakers]
    for _ in range(ORDERS):
        generator.shuffle(speakers)
        groups = [speakers[a:b] for a, b in bounds]
        number = sum(
            len(set().union(*(emotions[s] for s in group))) for group in groups
        )
        if number > most:
            most, best = number, groups
        if number == possible:
            break
    return [[u for s in group for u in rows[s]] for group in best]


def _group_bounds(count: int, shares: Sequence[float]) -> list[int]:
    """Cut count speakers by shares, at least one a group."""
    bounds, total = [0], 0.0
    for n, share in enumerate(shares, start=1):
        total += share
        left = len(shares) - n
        bound = max(round(total * count), bounds[-1] + 1)
        bounds.append(min(bound, count - left))
    return bounds
