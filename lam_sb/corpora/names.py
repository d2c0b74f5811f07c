"""The corpora of a role, source or target: one by its name, or several.

A list in a YAML file or on the command line, ``[ravdess, savee]``, becomes the
one text ``ravdess+savee``, which names results and their folders.
"""

from __future__ import annotations

from collections.abc import Mapping

from lam_sb.errors import UserError
from lam_sb.values import PATH

ROLES = ("source", "target")
# What keys of each role end in that hold something for each corpus.
BY_CORPUS = ("_folder", "_options", "_train", "_valid", "_test")
MANIFESTS = ("source_train", "source_valid", "target_train", "target_test")


def joined(corpora: object) -> object:
    """Give a list of corpora as one text, and anything else as it is.

    Example
    -------
    >>> joined("emodb"), joined(["emodb"]), joined(["ravdess", "savee"])
    ('emodb', 'emodb', 'ravdess+savee')
    """
    if not isinstance(corpora, list) or not corpora:
        return corpora
    return "+".join(map(str, corpora))


def names_of(corpora: str) -> list[str]:
    """Names of the corpora that `joined` gave.

    Example
    -------
    >>> names_of("emodb"), names_of("ravdess+savee")
    (['emodb'], ['ravdess', 'savee'])
    """
    return str(corpora).split("+")


def paths(folder: str, corpora: str, *rest: str) -> str | dict[str, str]:
    """Path of a corpus below a folder; of several, the paths by corpus.

    Example
    -------
    >>> paths("m", "emodb", "test.json")
    'm/emodb/test.json'
    >>> paths("data", "ravdess+savee")
    {'ravdess': 'data/ravdess', 'savee': 'data/savee'}
    """
    names = names_of(corpora)
    found = {name: "/".join((folder, name, *rest)) for name in names}
    return found if len(names) > 1 else found[names[0]]


def by_corpus(key: str, value: object, corpora: str) -> dict[str, object]:
    """Give what a key holds for each corpus of its role.

    Arguments
    ---------
    key : str
        Its name, for the error.
    value : object
        Of one corpus, or, of several, a mapping by corpus.
    corpora : str
        As from `joined`.

    Returns
    -------
    dict[str, object]
        By corpus; None for those of several that the mapping leaves out.

    Raises
    ------
    UserError
        Something else than a mapping for several, or names of others in it.
    """
    names = names_of(corpora)
    is_mapping = isinstance(value, Mapping)
    if len(names) == 1 and not (is_mapping and [*value] == names):
        return {names[0]: value}
    value = {} if value is None else value
    if not isinstance(value, Mapping) or not {*map(str, value)} <= {*names}:
        raise UserError(
            f"{key} is {value!r}, but the corpora are {', '.join(names)}; give "
            f'it by corpus: --{key} "{{{names[0]}: ...}}".'
        )
    given = {str(name): part for name, part in value.items()}
    return {name: given.get(name) for name in names}


def set_by_corpus(hparams: dict) -> None:
    """Give the keys of each role by corpus, and ``sources`` and ``targets``.

    A corpus whose folder is not named lies in the data folder.

    Raises
    ------
    UserError
        A corpus that is named twice or not at all, or without manifests, or a
        path that is none.
    """
    for role in ROLES:
        corpora = hparams[role]
        names = hparams[f"{role}s"] = names_of(corpora)
        if len(set(names)) < len(names) or "" in names:
            raise UserError(
                f"{role} is {corpora}; name each corpus once, and none with a "
                '"+" in its name.'
            )
        keys = [f"{role}{end}" for end in BY_CORPUS]
        if role == ("target" if hparams["select_on"] == "target" else "source"):
            keys.append("valid")
        for key in keys:
            if key in hparams:
                hparams[key] = by_corpus(key, hparams[key], corpora)
                _check_paths(key, hparams[key])
        for name, folder in hparams[f"{role}_folder"].items():
            if folder is None:
                folder = f"{hparams['data_folder']}/{name}"
                hparams[f"{role}_folder"][name] = folder
    for key in MANIFESTS:
        for name, path in hparams.get(key, {}).items():
            if path is None:
                raise UserError(f"{key} names no manifest of {name}.")


def _check_paths(key: str, given: Mapping[str, object]) -> None:
    for name, path in given.items():
        fits = key.endswith("_options") or path is None or PATH.fits(path)
        if not fits:
            raise UserError(
                f"{key} of {name} is {path!r}; it takes {PATH.takes}."
            )


def role_keys(
    corpora: Mapping[str, Mapping | None], role: str, side: str
) -> dict[str, object]:
    """Keys that say where the corpora of a role lie, and how they are read.

    Arguments
    ---------
    corpora : Mapping[str, Mapping | None]
        By corpus, what the keys of its role hold, without the role's name.
    role : str
        source or target.
    side : str
        Its corpora, as from `joined`.

    Example
    -------
    >>> role_keys({"emodb": {"folder": "a"}, "savee": None}, "source", "emodb")
    {'source_folder': 'a'}
    """
    given = {name: corpora[name] or {} for name in names_of(side)}
    if len(given) == 1:
        return {f"{role}_{end}": value for end, value in given[side].items()}
    ends = dict.fromkeys(end for own in given.values() for end in own)
    return {
        f"{role}_{end}": {n: own[end] for n, own in given.items() if end in own}
        for end in ends
    }
