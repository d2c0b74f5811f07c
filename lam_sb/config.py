"""YAML files with a base, and the command line on top."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from pathlib import Path

import yaml
from hyperpyyaml import load_hyperpyyaml
from ruamel.yaml import YAMLError

from lam_sb.corpora.names import ROLES, joined
from lam_sb.errors import UserError, suggestion
from lam_sb.run_options import RUN_OPTIONS
from lam_sb.values import KINDS, STUDY_KINDS, check_values
from lam_sb.yaml_names import BY_NAME, NAMES, read_value
from lam_sb.yaml_text import (
    FastLoader,
    comments_above,
    dump,
    parse_yaml,
    plain_values,
    split_keys,
    without_comments,
)

# A text for certain, but for YAML's own words.
WORD = re.compile(r"[A-Za-z_/][\w/+ .-]*$", re.ASCII)
# What holds objects, or values of other keys on lines of its own.
BUILT = re.compile(r"!(new|name|apply|module):|\n.*!ref")
MOST_FILES, LARGEST_FILE = 100, 2**20  # bytes
OTHERS = ("true", "false", "null")


def flatten(path: str | Path) -> str:
    r"""Text of a YAML file with all its bases filled in.

    A file may name another with ``base:``; its own top-level keys then replace
    the base's, whole, each with the comments above it. In a list of bases,
    the keys of each replace those of the ones before.

    Arguments
    ---------
    path : str | Path
        The file; ``base`` is relative to it.

    Raises
    ------
    UserError
        A file that does not exist, bases in a circle, or a key that the base
        does not have.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> text = "# Trade-off.\ngamma: 0.5\nlr: 1\n"
    >>> _ = (folder / "a.yaml").write_text(text)
    >>> _ = (folder / "b.yaml").write_text("base: a.yaml\nlr: 2\n")
    >>> print(flatten(folder / "b.yaml"))
    # Trade-off.
    gamma: 0.5
    lr: 2
    <BLANKLINE>
    """
    return "".join(_flatten(Path(path)).values())


def _flatten(
    path: Path,
    above: tuple[Path, ...] = (),
    read: Iterator[int] | None = None,
) -> dict[str, str]:
    """Blocks of a file; ``read`` counts the files that have been read."""
    read = count() if read is None else read
    if next(read) == MOST_FILES:
        raise UserError(f"{path}: more than {MOST_FILES} bases stand above it.")
    own, bases = _read(path, above)
    if not bases:
        return own
    above = (*above, path.resolve())
    merged = _flatten(bases[0], above, read)
    for base in bases[1:]:
        _replace(merged, _flatten(base, above, read), str(base))
    return _replace(merged, own, str(path))


def _read(
    path: Path, above: tuple[Path, ...]
) -> tuple[dict[str, str], list[Path]]:
    """Give a file's own keys, and its bases."""
    if not path.is_file():
        asked = f" (base of {above[-1]})" if above else ""
        raise UserError(f"There is no YAML file {path}{asked}.")
    if path.resolve() in above:
        raise UserError(f"{path} is its own base.")
    if path.stat().st_size > LARGEST_FILE:
        raise UserError(f"{path} is too large for a file of settings.")
    try:
        own = split_keys(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not in UTF-8 ({error}).") from error
    _keep_names(own, str(path))
    if "base" not in own:
        return own, []
    for line in own.get("", "").splitlines():
        if not line.startswith(("---", "%")):  # YAML's own first lines
            raise UserError(
                f"{path}: '{line.strip()}' stands before the first key; begin "
                "each key at the start of a line."
            )
    names = parse_yaml(own.pop("base"), str(path))["base"]
    names = names if isinstance(names, list) else [names]
    if not names or not all(isinstance(name, str) for name in names):
        raise UserError(f"{path}: base is {names}; name YAML files.")
    return own, [path.parent / name for name in names]


def _keep_names(own: dict[str, str], where: str) -> None:
    """Write each name as it is typed, and a list of corpora as one text."""
    for key in own.keys() & {*NAMES, *BY_NAME, "keys"}:
        body = without_comments(own[key])
        text = body.partition(":")[2]
        typed = text.partition("#")[0].strip()
        is_word = WORD.match(typed) and typed.lower() not in OTHERS
        if is_word or {*"!&*"} & {*body}:  # built, or named, elsewhere
            continue
        value = parse_yaml(body, where)[key]
        kept = read_value(key, text, where) if value is not None else None
        kept = joined(kept) if key in ROLES else kept
        if kept != value:
            own[key] = comments_above(own[key]) + dump({key: kept})


def recipe_folder(path: str | Path) -> Path:
    """Folder of the recipe that a YAML file belongs to.

    Arguments
    ---------
    path : str | Path
        The file.

    Returns
    -------
    Path
        The nearest folder above the file's first base, or else above the file
        itself, that holds train.py.

    Raises
    ------
    UserError
        There is none.
    """
    folder = _find_recipe(Path(path))
    if folder is None:
        raise UserError(
            f"No folder above {path} holds train.py; give a YAML file of the "
            "recipe's hparams, or name one as its base."
        )
    return folder


def _find_recipe(path: Path) -> Path | None:
    root, above = path, ()
    while bases := _read(root, above)[1]:
        root, above = bases[0], (*above, root.resolve())
    for file in (root, path):
        for folder in Path(os.path.abspath(file)).parents:
            if (folder / "train.py").is_file():
                return folder
    return None


def _replace(
    merged: dict[str, str], own: Mapping[str, str], where: str
) -> dict[str, str]:
    """Put own keys in the place of those of the bases."""
    _check_known(own.keys() - {""}, merged, where)
    for key, block in own.items():
        if key:
            comments, body = comments_above(block), without_comments(block)
            if not comments.strip():
                comments = comments_above(merged[key])
            merged[key] = comments + body
    return merged


def own_keys(path: str | Path) -> set[str]:
    """Top-level keys that a file sets over its base; none without a base."""
    own, bases = _read(Path(path), ())
    return own.keys() - {""} if bases else set()


def _check_known(
    keys: Iterable[str], known: Mapping[str, object], where: str
) -> None:
    """Refuse keys that do not exist, naming the nearest one."""
    for key in sorted(keys):
        if key not in known:
            hint = suggestion(key, [*known, *sorted(RUN_OPTIONS)])
            raise UserError(f"{where}: there is no key '{key}'.{hint}")


def load(path: str | Path, overrides: Mapping[str, object]) -> dict:
    """Load a file over its bases, the command line on top.

    Modules that it names are found in the recipe's folder and beside it.

    Arguments
    ---------
    path : str | Path
        The YAML file.
    overrides : Mapping[str, object]
        Values by key.

    Raises
    ------
    UserError
        An unknown key, no ``data_folder``, a value that its key does not
        take, or a file that does not load.
    """
    return _load_blocks(_checked_blocks(path, overrides), path)


def check(
    path: str | Path, overrides: Mapping[str, object], is_study: bool = False
) -> None:
    """Refuse the keys and values that `load` or `load_study` would.

    Of a study's file, only keys that neither it nor its systems have.
    """
    if not is_study:
        _checked_blocks(path, overrides)
        return
    blocks = study = key_blocks(path, {})
    if "study" not in blocks:
        raise UserError(f"{path} is no study; see hparams/study/.")
    hparams = parse_yaml(blocks["hparams"], str(path))["hparams"]
    check_values({"hparams": hparams}, STUDY_KINDS)
    folder = (_setter(Path(path), "hparams").parent / hparams).parent
    for file in folder.glob("*.yaml"):
        blocks = blocks | key_blocks(file, {})
    _check_known(overrides, blocks, "command line")
    own = {key: overrides[key] for key in overrides.keys() & study.keys()}
    check_values(own, STUDY_KINDS)


def _checked_blocks(
    path: str | Path, overrides: Mapping[str, object]
) -> dict[str, str]:
    """`key_blocks` of a system, its plain values checked."""
    blocks = _flatten(Path(path))
    if "study" in blocks:
        raise UserError(
            f"{path} is a study, no system: python -m lam_sb reproduce {path}"
        )
    _check_not_built(blocks, overrides)
    blocks = _set_over(blocks, overrides)
    data_folder = blocks.get("data_folder", "")
    if "!PLACEHOLDER" in without_comments(data_folder):
        raise UserError(
            "Say where the corpora lie: --data_folder <folder with a folder "
            "for each corpus>."
        )
    check_values(plain_values(blocks, str(path))[0])
    return blocks


def _check_not_built(
    blocks: Mapping[str, str], overrides: Mapping[str, object]
) -> None:
    """Refuse plain values for what the file builds; no alignment is one."""
    for key in blocks.keys() & overrides.keys() - KINDS.keys():
        body = without_comments(blocks[key])
        if BUILT.search(body) and (key, overrides[key]) != ("alignment", None):
            raise UserError(
                f"command line: {key} is built by the file from other keys; "
                "set those, or write it into a YAML file with this as base."
            )


def load_study(
    path: str, overrides: Mapping[str, object]
) -> tuple[dict, dict[str, object]]:
    """Load a study's file over its bases.

    Arguments
    ---------
    path : str
        The file.
    overrides : Mapping[str, object]
        Values by key, of the study or of its runs.

    Returns
    -------
    values : dict
        Of the study, the command line on top; its ``hparams`` is relative to
        the file that sets it, or, from the command line, to the study's.
    rest : dict[str, object]
        Overrides that are no keys of the study.

    Raises
    ------
    UserError
        A file that is no study, or does not load.
    """
    check(path, overrides, is_study=True)
    known = key_blocks(path, {})
    own = {key: value for key, value in overrides.items() if key in known}
    rest = {key: overrides[key] for key in overrides.keys() - own.keys()}
    values = _load_blocks(key_blocks(path, own), path)
    file = Path(path) if "hparams" in own else _setter(Path(path), "hparams")
    values["hparams"] = str(file.parent / values["hparams"])
    return values, rest


def _setter(path: Path, key: str) -> Path:
    """Find which of a file and its bases sets a key that one of them has."""
    own, bases = _read(path, ())
    if key in own:
        return path
    return _setter([b for b in bases if key in key_blocks(b, {})][-1], key)


def _load_blocks(blocks: Mapping[str, str], path: str | Path) -> dict:
    """Load a text, its errors as the user's own."""
    for folder in (_find_recipe(Path(path)), Path(path).parent):
        if folder is not None and str(folder.resolve()) not in sys.path:
            sys.path.append(str(folder.resolve()))
    try:
        return _build("".join(map(without_comments, blocks.values())))
    except UserError:
        raise
    except (
        *(YAMLError, yaml.YAMLError, ValueError, TypeError, ImportError),
        # Of what a file builds, or includes.
        *(AttributeError, LookupError, RecursionError, OSError, RuntimeError),
    ) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} does not load: {reason}") from error


def _build(text: str) -> dict:
    """Load a text, which takes half as long without comments."""
    try:
        return load_hyperpyyaml(text, loader=FastLoader)
    except YAMLError:
        return load_hyperpyyaml(text)


def complete_text(path: str, overrides: Mapping[str, object]) -> str:
    """Give one file without a base that loads to the same values.

    A run leaves it as hyperparams.yaml, to be run again. References stay, so
    that other values can be set over it.
    """
    return "".join(key_blocks(path, overrides).values())


def key_blocks(
    path: str | Path, overrides: Mapping[str, object]
) -> dict[str, str]:
    """Text of each key of a file over its bases, the command line on top.

    Arguments
    ---------
    path : str | Path
        The YAML file.
    overrides : Mapping[str, object]
        Values by key.

    Returns
    -------
    dict[str, str]
        The YAML lines of each top-level key, with the comments above it.

    Raises
    ------
    UserError
        As `flatten`, or an override of a key that does not exist.
    """
    return _set_over(_flatten(Path(path)), overrides)


def _set_over(
    blocks: dict[str, str], overrides: Mapping[str, object]
) -> dict[str, str]:
    """Put the values of the command line in the place of those of files."""
    _check_known(overrides.keys(), blocks, "command line")
    for key, value in overrides.items():
        value = joined(value) if key in ROLES else value
        blocks[key] = comments_above(blocks[key]) + dump({key: value})
    return blocks
