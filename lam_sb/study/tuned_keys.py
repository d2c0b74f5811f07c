"""The command line of ``tune``: a grid of settings, and keys of a study."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping

from lam_sb.config import check
from lam_sb.errors import UserError

# Keys of a study that may be set beside those of the system.
STUDY_KEYS = {
    *("seeds", "jobs", "cluster", "partition", "gpus", "cpus", "minutes"),
    *("requeue", "sbatch", "keep_weights", "dry_run", "print_commands"),
    "report_only",
}
# Keys under which other rows are tested, so that their scores say nothing.
OF_ROWS = {
    *("protocol", "split_seed", "folds", "fold", "hold_out_shots"),
    *("min_duration", "max_duration", "label_map"),
}


def check_tuning(path: str, overrides: Mapping[str, object]) -> None:
    """Refuse a grid, keys and values that no run would take.

    Raises
    ------
    UserError
        As `settings_of` and `lam_sb.config.check`.
    """
    own = {k: v for k, v in overrides.items() if k not in STUDY_KEYS}
    for settings in settings_of(own.pop("grid", None)).values():
        check(path, own | settings)


def settings_of(grid: object) -> dict[str, dict]:
    """Give all combinations of a grid by a name, in its order.

    Raises
    ------
    UserError
        No mapping of lists, or of keys that decide which rows are tested.

    Example
    -------
    >>> settings_of({"gamma": [0, 0.1], "anchor_layers": [[1, 2]]})
    ... # doctest: +NORMALIZE_WHITESPACE
    {'gamma=0,anchor_layers=1_2': {'gamma': 0, 'anchor_layers': [1, 2]},
     'gamma=0.1,anchor_layers=1_2': {'gamma': 0.1, 'anchor_layers': [1, 2]}}
    """
    if (
        not isinstance(grid, Mapping)
        or not grid
        or not all(isinstance(v, list) and v for v in grid.values())
    ):
        raise UserError(
            f"grid is {grid!r}; give a list of values for each key to choose, "
            '--grid "{gamma: [0, 0.1, 0.5], normalise: [domain, speaker]}".'
        )
    for key, values in grid.items():
        if key in OF_ROWS and values[1:]:
            raise UserError(
                f"grid: {key} decides which rows are tested, so its settings "
                f"cannot be compared; give all of them one, as --{key}."
            )
        if len({_word(value) for value in values}) < len(values):
            raise UserError(f"grid: two values of {key} would have one name.")
    found = {}
    for values in itertools.product(*grid.values()):
        settings = dict(zip(grid, values, strict=True))
        words = [f"{k}={_word(v)}" for k, v in settings.items()]
        found[",".join(words)] = settings
    return found


def _word(value: object) -> str:
    return re.sub(r"[^\w.-]+", "_", str(value)).strip("_")
