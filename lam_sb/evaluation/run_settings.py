"""What decided results, and in what runs differ that stand in one table."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from lam_sb.data import differing_data
from lam_sb.evaluation.catalogue import family_of, name_of, row_of
from lam_sb.evaluation.results import TRAINING_LENGTH, Run

# Keys of settings.yaml that may differ between the runs of one row.
VARYING = {"seed", "fold", "experiment"}
# And between its folds: rows, and the anchors selected on them.
OF_FOLDS = {"data", "anchored_layers"}
# Keys that define a system. In all others the rows of a table are alike.
SYSTEM_KEYS = {
    *("system", "fit", "bound", "segment", "mix_layers", "layer_weighting"),
    *("anchor_layers", "anchored_layers"),
    *("similarity", "use_target_labels", "selection_settings"),
    *("vowels", "negative", "margin"),
    *("target_shots", "episode_shots", "episode_queries"),
}
# Objects that define a system by their class, and by the arguments that the
# other system's object of that class does not have.
SYSTEM_OBJECTS = {
    *("alignment", "modules", "model"),
    *("layers", "projector", "pooling", "head"),
}
ARGUMENT = re.compile(r" *(\w+):(?: +(.*))?$")  # of an object, in its text
# What LAM-Plus and its ablations change by what they are.
OF_PLUS = {"normalise", "gamma"}
# What a bound changes by what it is.
OF_BOUNDS = {"source", "source_folder", "source_options"}
SOURCE_PARTS = ("source_train", "source_valid")  # or with a corpus behind


def of_equal_settings(runs: Sequence[Run], problems: list[str]) -> list[Run]:
    """Leave out runs whose settings are not those of the first with any.

    Runs of one fold also share `OF_FOLDS`. Those that are left out are named
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
        fold = {k: same_fold.settings.get(k) for k in OF_FOLDS}
        known = _known(first) | fold
        keys = settings.keys() | known.keys()
        keys = {k for k in keys if settings.get(k) != known.get(k)}
        texts = sorted(keys - {"data"})
        texts += differing_data(known["data"], settings.get("data"))
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
        Runs whose settings or data nobody knows may differ in anything.
    """
    for row in (reference, runs):
        name = name_of(row_of(row[0].results))
        if not all(run.settings for run in row):
            return {"settings": f"settings of {name} unknown"}
        if not all(run.settings.get("data") for run in row):
            return {"data": f"data of {name} unknown"}
    folds = {run.results["fold"]: run for run in reversed(reference)}
    found: dict[str, str] = {}
    for fold, run in {r.results["fold"]: r for r in reversed(runs)}.items():
        there, bound = folds.get(fold, reference[0]), run.results["bound"]
        keys = differing_keys(_known(there), _known(run), bound)
        families = {family_of(row_of(r.results)) for r in (there, run)}
        of_plus = OF_PLUS if "plus" in families else ()
        found |= {k: text for k, text in keys.items() if k not in of_plus}
        if fold in folds:
            found |= _other_data(there.settings, run.settings, bound)
    return found


def differing_keys(there: Mapping, now: Mapping, bound: str) -> dict[str, str]:
    """Say by key what two systems both use and is not the same."""
    left_out = SYSTEM_KEYS | VARYING | {"data"}
    if bound != "none":
        left_out |= OF_BOUNDS
    one, other = _values(there), _values(now)
    return {
        key: f"{key}: {other[key]}, not {one[key]}"
        for key in sorted((one.keys() & other.keys()) - left_out)
        if one[key] != other[key]
    }


def _values(settings: Mapping) -> dict[str, object]:
    """Give settings by key; of objects that define a system, the arguments.

    Their names begin with the key and the class, so that only objects of one
    class have some in common. Plain values in their place define it whole.
    """
    values: dict[str, object] = {}
    for key, value in settings.items():
        if key not in SYSTEM_OBJECTS:
            values[key] = value
        elif isinstance(value, str):
            values |= _arguments(key, value)
    return values


def _arguments(key: str, text: str) -> dict[str, str]:
    r"""Give the arguments of an object by name, from the text of its key.

    Example
    -------
    >>> _arguments("head", "!new:my.Head\n    dim: 4\n    size: !ref <a>")
    {'head !new:my.Head dim': '4', 'head !new:my.Head size': '!ref <a>'}
    """
    kind = text.split()[0] if text.startswith("!") else ""
    prefix = f"{key} {kind}".strip()
    found: dict[str, str] = {}
    name = prefix
    for line in text.removeprefix(kind).strip().splitlines():
        argument = ARGUMENT.match(line)
        if argument:
            name = f"{prefix} {argument[1]}"
            line = argument[2]
        found[name] = f"{found.get(name, '')} {line.strip()}".strip()
    return found


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
        parts = {part for part in parts if not part.startswith(SOURCE_PARTS)}
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
