"""Options of preparing a corpus."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lam_sb.corpora.phones import PHONE_SETS
from lam_sb.errors import UserError, check_choice
from lam_sb.values import CHOICES


@dataclass(frozen=True)
class PrepOptions:
    """What decides which rows stand in which split.

    Arguments
    ---------
    protocol : str
        ``speakers``: speaker-disjoint splits, about 60/20/20 of the speakers,
        unless the corpus has its own. ``transductive``: test.json holds every
        row, train.json and valid.json 80/20 of the speakers (of one speaker,
        valid.json is empty); a target corpus then adapts and tests on
        test.json, a source corpus trains on the other two.
    split_seed : int
        Decides the splits.
    folds, fold : int
        With ``folds: n``, the speakers fall into n groups; group ``fold`` is
        the test set, the next one the validation set.
    min_duration, max_duration : float
        Seconds; utterances outside are dropped.
    require_alignment : bool
        Drop utterances without phones.
    phone_set : str
        That of the TextGrids: ``auto`` (the one that has all their phones) or
        one of `lam_sb.corpora.phones.PHONE_SETS`, whatever others there are.
    """

    protocol: str = "speakers"
    split_seed: int = 0
    folds: int = 0
    fold: int = 0
    min_duration: float = 0.1
    max_duration: float | None = None
    require_alignment: bool = False
    phone_set: str = "auto"

    def __post_init__(self):
        check_choice("protocol", self.protocol, CHOICES["protocol"])
        check_choice("phone_set", self.phone_set, ("auto", *PHONE_SETS))
        if self.folds and not (
            self.folds >= 3
            and 0 <= self.fold < self.folds
            and self.protocol == "speakers"
        ):
            raise UserError(
                f"folds: {self.folds}, fold: {self.fold} and protocol: "
                f"{self.protocol} do not go together; use at least 3 folds, "
                "numbered from 0, with the protocol speakers."
            )
        if self.fold and not self.folds:
            raise UserError(
                f"fold: {self.fold} needs folds, their number, for example "
                "--folds 5."
            )
        if (self.max_duration or math.inf) < self.min_duration:
            raise UserError(
                f"No utterance lasts {self.min_duration} seconds or more "
                f"(min_duration) and {self.max_duration} or less "
                "(max_duration)."
            )

    @property
    def makes_splits(self) -> bool:
        """Whether the corpus's own splits are left aside."""
        return self.protocol == "transductive" or bool(self.folds)


def check_mapping(
    corpus: str,
    name: str,
    value: object,
    keys: Sequence[str] | None = None,
) -> Mapping:
    """Refuse a corpus's option that is no mapping, or has other keys.

    None is an empty mapping.
    """
    value = {} if value is None else value
    if not isinstance(value, Mapping):
        raise UserError(f"{name} of {corpus} is '{value}'; use {{key: value}}.")
    unknown = [key for key in value if keys is not None and key not in keys]
    if unknown:
        raise UserError(
            f"{name} of {corpus} has no '{unknown[0]}'; it knows "
            f"{', '.join(keys or ())}."
        )
    return value
