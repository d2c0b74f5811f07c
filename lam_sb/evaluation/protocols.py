"""Which runs may stand in one table: those under one protocol."""

from __future__ import annotations

from collections.abc import Sequence

from lam_sb.evaluation.catalogue import family_of, row_of
from lam_sb.evaluation.results import Run

# Keys of results.json that are the same for all runs of a table.
PROTOCOL = (
    *("normalise", "protocol", "folds", "split_seed", "select_on"),
    *("target_rows", "hold_out_shots"),
)


def protocols_of(runs: Sequence[Run]) -> list[tuple]:
    """Give the protocol of each run, its values of `PROTOCOL`.

    How LAM-Plus and its ablations standardise is a part of these systems, so
    they stand beside systems that do it otherwise, under the first such
    ``normalise`` that is there.
    """
    own = [tuple(run.results[key] for key in PROTOCOL) for run in runs]
    plus = [family_of(row_of(run.results)) == "plus" for run in runs]
    by_rest: dict[tuple, tuple] = {}
    for protocol, is_plus in zip(own, plus, strict=True):
        if not is_plus:
            by_rest.setdefault(protocol[1:], protocol)
    return [
        by_rest.setdefault(protocol[1:], protocol) if is_plus else protocol
        for protocol, is_plus in zip(own, plus, strict=True)
    ]
