"""YAML as text: keys with their comments, and plain values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from io import StringIO

import yaml
from ruamel.yaml import YAML, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from lam_sb.errors import UserError

try:  # libyaml, several times as fast
    from ruamel.yaml import CLoader, CSafeLoader
except ImportError:  # no ruamel.yaml.clib
    from ruamel.yaml import Loader as CLoader
    from ruamel.yaml import SafeLoader as CSafeLoader

DEEPEST = 20  # lists and mappings in each other, of names
MOST_VALUES = 100_000  # in a file, where each alias counts as what it names
PLAIN = "tag:yaml.org,2002:"  # what begins the tags of YAML's own types
KEY = re.compile(r"""^["']?([A-Za-z_][\w.-]*)["']?\s*:""")


class FastLoader(CLoader):
    """Loads most YAML as ruamel's `Loader` does, and refuses the rest.

    Only that one reads ``[http://a]``.
    """

    processing_version = (1, 2)  # where 1e-4 is a number


class _FastSafeLoader(CSafeLoader):
    """`FastLoader` of plain values; a tuple of HyperPyYAML is a text."""

    processing_version = (1, 2)


# Without libyaml, HyperPyYAML's tuples are found by all of ruamel's loaders.
_FastSafeLoader.add_constructor("!tuple", CSafeLoader.construct_yaml_str)


def split_keys(text: str) -> dict[str, str]:
    """Top-level keys with the comments above them, in order.

    Comments at the end belong to the last key, lines before the first key
    that are no comments to the key "". A key that stands twice keeps both.
    """
    blocks: dict[str, str] = {"": ""}
    waiting, key = "", ""
    for line in text.splitlines(keepends=True):
        match = KEY.match(line)
        if match:
            key = match[1]
            blocks[key] = blocks.get(key, "") + waiting + line
            waiting = ""
        elif line.startswith("#") or not line.strip():
            waiting += line
        else:
            blocks[key] += waiting + line
            waiting = ""
    blocks[key] += waiting
    if not blocks[key].endswith("\n"):
        blocks[key] += "\n"
    if not blocks[""]:
        del blocks[""]
    return blocks


def comments_above(block: str) -> str:
    """Comment and blank lines above the key of a block of `key_blocks`."""
    lines = block.splitlines(keepends=True)
    count = next((n for n, x in enumerate(lines) if KEY.match(x)), 0)
    return "".join(lines[:count])


def without_comments(block: str) -> str:
    """Give a block of `key_blocks` from its key on."""
    return block[len(comments_above(block)) :]


def parse_yaml(text: str, where: str) -> object:
    """Read YAML as HyperPyYAML does, where 1e-4 is a number.

    Raises
    ------
    UserError
        No YAML; ``where`` says whose text it is.
    """
    try:
        return _limited(YAML(typ="safe", pure=True).load(text), where)
    except UserError:
        raise
    except (YAMLError, RecursionError, ValueError) as error:
        raise _no_yaml(error, where) from None


def parse_names(text: str, where: str) -> object:
    """Read YAML whose scalars are names: each as it is typed.

    ``0011``, ``1e3``, ``2026-11-26`` and ``true`` stay what they are; ``null``
    is none.

    Raises
    ------
    UserError
        No YAML; ``where`` says whose text it is.

    Example
    -------
    >>> parse_names("[0011, 1e3, null]", "it")
    ['0011', '1e3', None]
    """
    try:
        node = YAML(typ="safe", pure=True).compose(text)
    except (YAMLError, RecursionError, ValueError) as error:
        raise _no_yaml(error, where) from None
    return _as_typed(node, where, 0)


def _as_typed(node: Node | None, where: str, depth: int) -> object:
    if depth > DEEPEST:
        raise UserError(f"{where} is nested too deeply.")
    if node is not None and not str(node.ctag).startswith(PLAIN):
        raise UserError(f"{where}: {node.ctag} builds something; give a name.")
    if isinstance(node, SequenceNode):
        return [_as_typed(n, where, depth + 1) for n in node.value]
    if isinstance(node, MappingNode):
        pairs = (
            [_as_typed(part, where, depth + 1) for part in pair]
            for pair in node.value
        )
        return {str(key): value for key, value in pairs}
    if node is None or str(node.ctag).endswith(":null"):
        return None
    return node.value


def _limited(content: object, where: str) -> object:
    """Refuse aliases that multiply, or hold themselves."""
    waiting, count = [content], 0
    while waiting:
        value, count = waiting.pop(), count + 1
        if count > MOST_VALUES:
            raise UserError(f"{where} holds too many values.")
        if isinstance(value, Mapping):
            waiting += value.values()
        elif isinstance(value, (list, tuple, set)):
            waiting += value
    return content


def _no_yaml(error: Exception, where: str) -> UserError:
    reason = getattr(error, "problem", None) or " ".join(str(error).split())
    return UserError(f"{where} is no valid YAML: {reason}.")


def _parse_file(text: str, where: str) -> object:
    """`parse_yaml` of much text."""
    try:
        return _limited(yaml.load(text, Loader=_FastSafeLoader), where)
    except UserError:
        raise
    except (YAMLError, RecursionError, ValueError):
        return parse_yaml(text, where)


def dump(content: Mapping[str, object]) -> str:
    """Write values by key as YAML."""
    writer, text = YAML(typ="safe", pure=True), StringIO()
    writer.default_flow_style = False
    writer.sort_base_mapping_type_on_output = False
    writer.dump(dict(content), text)
    return text.getvalue()


def plain_values(
    blocks: Mapping[str, str], where: str
) -> tuple[dict[str, object], dict[str, str]]:
    """Read the values that need nothing else to be built.

    Arguments
    ---------
    blocks : Mapping[str, str]
        As from `key_blocks`.
    where : str
        Whose text they are, for the message.

    Returns
    -------
    plain : dict[str, object]
        Values by key.
    tagged : dict[str, str]
        Text of the others, without comments.
    """
    tagged, plain = {}, []
    for key, block in blocks.items():
        body = without_comments(block)
        lines = [re.sub(r"(^|\s+)#.*$", "", x) for x in body.splitlines()]
        body = "\n".join(x.rstrip() for x in lines if x.strip())
        if "!" in body:
            tagged[key] = body.partition(":")[2].strip()
        elif key:
            plain.append(block)
    return _parse_file("".join(plain), where) or {}, tagged
