"""YAML as text: keys with their comments, and plain values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from io import StringIO

import yaml
from ruamel.yaml import YAML, YAMLError

from lam_sb.errors import UserError

try:  # libyaml, several times as fast
    from ruamel.yaml import CLoader, CSafeLoader
except ImportError:  # no ruamel.yaml.clib
    from ruamel.yaml import Loader as CLoader
    from ruamel.yaml import SafeLoader as CSafeLoader

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
        return YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        reason = getattr(error, "problem", None) or " ".join(str(error).split())
        raise UserError(f"{where} is no valid YAML: {reason}.") from None


def _parse_file(text: str, where: str) -> object:
    """`parse_yaml` of much text."""
    try:
        return yaml.load(text, Loader=_FastSafeLoader)
    except YAMLError:
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
        lines = [re.sub(r"\s+#.*$", "", x) for x in body.splitlines()]
        body = "\n".join(x.rstrip() for x in lines if x.strip())
        if "!" in body:
            tagged[key] = body.partition(":")[2].strip()
        elif key:
            plain.append(block)
    return _parse_file("".join(plain), where) or {}, tagged
