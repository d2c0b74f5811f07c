"""Values of YAML keys, of which names stay as they are typed."""

from __future__ import annotations

from collections.abc import Mapping

from lam_sb.values import NAME_KEYS
from lam_sb.yaml_text import parse_names, parse_yaml

# Of a study: all of it are names; or what stands by name is no name itself.
NAMES = NAME_KEYS | {"directions", "include", "encoders"}
BY_NAME = {"corpora", "systems"}


def read_value(key: str, text: str, where: str) -> object:
    """Read the value of a key.

    Arguments
    ---------
    key : str
        YAML key, of a run or a study.
    text : str
        YAML of its value.
    where : str
        Whose text it is, for the message.

    Raises
    ------
    UserError
        No YAML.

    Example
    -------
    >>> read_value("experiment", "0011", "it"), read_value("seed", "0011", "it")
    ('0011', 11)
    >>> read_value("corpora", "{0011: {options: {takes: 2}}}", "it")
    {'0011': {'options': {'takes': 2}}}
    """
    if key in NAMES:
        return parse_names(text, where)
    value = parse_yaml(text, where)
    if key == "keys" and isinstance(value, Mapping):
        typed = parse_names(text, where)
        return {k: typed[k] if k in NAMES else value[k] for k in value}
    if key in BY_NAME and isinstance(value, (Mapping, list)):
        typed = parse_names(text, where)
        if isinstance(typed, list):
            return typed
        return dict(zip(typed, value.values(), strict=True))
    return value
