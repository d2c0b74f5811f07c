"""What decided results, and in what runs differ that stand in one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lam_sb.data import differing_data
from lam_sb.evaluation.results import TRAINING_LENGTH, Run

# Keys of settings.yaml that may differ between the runs of one row.
VARYING = {"seed", "fold", "experiment"}
# Keys that define a system. In all others the rows of a table are alike.
SYSTEM_KEYS = {
    *("system", "fit", "bound", "alignment", "gamma", "segment", "modules"),
    *("anchor_layers", "anchored_layers", "mix_layers"),
    *("layers", "layer_weighting", "projector", "pooling", "head", "model"),
    *("similarity", "use_target_labels", "selection_settings"),
    *("vowels", "negative", "margin"),
    *("target_shots", "episode_shots", "episode_queries"),
}
# What a bound changes by what it is.
OF_BOUNDS = {"source", "source_folder", "source_options"}
SOURCE_PARTS = {"source_train", "source_valid"}


def of_equal_settings(runs: Sequence[Run], problems: list[str]) -> list[Run]:
    """Leave out runs whose settings are not those of the first with any.

    Runs of one fold also share their data. Those that are left out are named
    among the problems, with what differs.
    """
    first: Run | None = None
    first_of_fold: dict[int, Run] = {}
    kept = []
    for run in runs:
        settings = _known(run)
        if not settings:  # nobody knows
            kept.append(run)
            continue
        first = first or run
        same_fold = first_of_fold.setdefault(run.results["fold"], run)
        known = _known(first)
        keys = {k for k in settings if settings[k] != known.get(k)}
        keys |= known.keys() - settings.keys()
        data = (r.settings.get("data") for r in (same_fold, run))
        texts = sorted(keys - {"data"}) + differing_data(*data)
        if texts:
            problems.append(
                f"{run.path}: other settings than {first.path} "
                f"({', '.join(texts)})."
            )
        else:
            kept.append(run)
    return kept


def differing_rows(
    reference: Sequence[Run], runs: Sequence[Run]
) -> dict[str, str]:
    """Say in what two rows of a table differ that is not their systems.

    Arguments
    ---------
    reference, runs : Sequence[Run]
        The runs of each, by seed and fold.

    Returns
    -------
    dict[str, str]
        By key, or part of the data, the second's value and the first's in
        words. A key that one of them does not have is none of its system.
    """
    folds = {run.results["fold"]: run for run in reversed(reference)}
    found: dict[str, str] = {}
    for fold, run in {r.results["fold"]: r for r in reversed(runs)}.items():
        there, bound = folds.get(fold, reference[0]), run.results["bound"]
        found |= differing_keys(_known(there), _known(run), bound)
        if fold in folds:
            found |= _other_data(there.settings, run.settings, bound)
    return found


def differing_keys(there: Mapping, now: Mapping, bound: str) -> dict[str, str]:
    """Say by key what two systems both use and is not the same."""
    left_out = SYSTEM_KEYS | VARYING | {"data"}
    if bound != "none":
        left_out |= OF_BOUNDS
    return {
        key: f"{key}: {now[key]}, not {there[key]}"
        for key in sorted((there.keys() & now.keys()) - left_out)
        if there[key] != now[key]
    }


def _known(run: Run) -> dict:
    """Give what decided a result, and how far it was trained, if known."""
    if not run.settings:
        return {}
    length = {k: run.results[k] for k in TRAINING_LENGTH if k in run.results}
    return {k: v for k, v in run.settings.items() if k not in VARYING} | length


def _other_data(there: Mapping, now: Mapping, bound: str) -> dict[str, str]:
    """Say in what data differ that both rest on."""
    one, other = there.get("data", {}), now.get("data", {})
    parts = one.keys() & other.keys()
    if bound != "none":
        parts -= SOURCE_PARTS
    texts = differing_data(
        {part: _common(one[part], other[part]) for part in parts},
        {part: _common(other[part], one[part]) for part in parts},
    )
    return {text: text for text in texts}


def _common(part: object, other: object) -> object:
    """Give of a part of the data what the other one has too."""
    if not isinstance(part, Mapping) or not isinstance(other, Mapping):
        return part
    return {key: part[key] for key in part.keys() & other.keys()}
