"""Files of the recipe as SpeechBrain's own tests want them."""

from __future__ import annotations

import ast
import pydoc
import re
import sys
from pathlib import Path

from lam_sb.config import key_blocks
from lam_sb.errors import UserError
from lam_sb.options import unused_keys
from lam_sb.run_options import RUN_OPTIONS
from lam_sb.yaml_text import (
    comments_above,
    plain_values,
    split_keys,
    without_comments,
)

AUTHORS = """\
# [P]: stated in the paper. [D]: our choice where the paper is silent.
# Any key can be set on the command line: --key value. A file of your own with
# `base:` and the path of this one says only what differs.
#
# Authors
#  * The lam_sb authors 2026

"""


def flat_file(path: Path, script: str) -> str:
    """One plain YAML of a system, without the keys that idle in it.

    Arguments
    ---------
    path : Path
        The system's file, which may have a base.
    script : str
        Text of train.py. A key that it reads stays.

    Returns
    -------
    str
        What HyperPyYAML loads by itself.

    Raises
    ------
    UserError
        A file that does not load, or with a loss that is not lam_sb's.
    """
    blocks = key_blocks(path, {})
    title = next(iter(split_keys(path.read_text(encoding="utf-8")).values()))
    lines = comments_above(title).splitlines(keepends=True)
    own = [line for line in lines if line.startswith("#")]
    if not without_comments(title).startswith("base:"):  # has the legend too
        own = own[:2]
    first = next(iter(blocks))
    *_, paragraph = comments_above(blocks[first]).split("\n\n")
    blocks[first] = paragraph + without_comments(blocks[first])
    for key in _idle_keys(blocks, script, str(path)):
        del blocks[key]
    text = "".join([*own, AUTHORS, *blocks.values()])
    return text.replace(" docs/", " lam_sb's docs/")


def _idle_keys(blocks: dict[str, str], script: str, where: str) -> list[str]:
    """Keys that neither the system, nor another key, nor train.py reads."""
    plain, tagged = plain_values(blocks, where)
    loss = re.match(r"!(?:new|name):([\w.]+)", tagged.get("alignment", ""))
    aligns = pydoc.locate(loss[1]) if loss else None
    if loss and aligns is None:
        raise UserError(
            f"{where} has the loss {loss[1]}, which is none of lam_sb's: put "
            "it into lam_sb/losses, or the file elsewhere than in hparams/."
        )
    hparams = {
        "fit": plain["fit"],
        "mix_layers": plain["mix_layers"],
        "alignment": aligns,
    }
    text = "".join(map(without_comments, blocks.values()))
    return [
        key
        for key in sorted(unused_keys(hparams) & plain.keys())
        if f"<{key}>" not in text
        and f'["{key}"]' not in script
        and f"hparams.{key}" not in script
        and key not in RUN_OPTIONS
    ]


def sorted_imports(text: str) -> str:
    r"""Put imports into the order of a recipe in SpeechBrain's tree.

    There lam_sb is a third-party package, and speechbrain the tree's own,
    which comes last. Only imports that follow each other and name lam_sb
    somewhere are sorted.

    Example
    -------
    >>> text = "import torch\n\nfrom lam_sb import run\n"
    >>> print(sorted_imports(text), end="")
    import torch
    from lam_sb import run
    """
    lines = text.splitlines(keepends=True)
    for together in reversed(_imports(text)):
        sections: dict[int, list] = {}
        for node in together:
            own = "".join(lines[node.lineno - 1 : node.end_lineno])
            order = isinstance(node, ast.ImportFrom), _module(node), own
            sections.setdefault(_section(node), []).append(order)
        parts = [
            "".join(own for *_, own in sorted(sections[number]))
            for number in sorted(sections)
        ]
        first, last = together[0].lineno - 1, together[-1].end_lineno
        lines[first:last] = "\n".join(parts)
    return "".join(lines)


def _imports(text: str) -> list[list[ast.stmt]]:
    """Give a module's imports that follow each other and name lam_sb."""
    runs: list[list[ast.stmt]] = [[]]
    for node in ast.parse(text).body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            runs[-1].append(node)
        else:
            runs.append([])
    return [
        run
        for run in runs
        if any(_module(node).startswith("lam_sb") for node in run)
    ]


def _module(node: ast.stmt) -> str:
    if isinstance(node, ast.ImportFrom):
        return node.module
    return node.names[0].name


def _section(node: ast.stmt) -> int:
    """Future, standard library, other packages, or speechbrain."""
    package = _module(node).partition(".")[0]
    if package == "__future__":
        return 0
    if package in sys.stdlib_module_names:
        return 1
    return 3 if package == "speechbrain" else 2
