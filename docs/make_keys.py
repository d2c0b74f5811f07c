"""Write keys.md, every key of the YAML files, from the comments above them.

python docs/make_keys.py
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from lam_sb.values import CHOICES, KINDS
from lam_sb.yaml_text import comments_above, split_keys, without_comments

DOCS = Path(__file__).parent
HPARAMS = DOCS.parent / "hparams"
SYSTEM = HPARAMS / "lam_gl_wavlm.yaml"
SMALL = HPARAMS / "small/settings.yaml"
STUDY = HPARAMS / "study/table2.yaml"
OBJECTS = "Objects built from the keys above"  # their part of a system's file
HEAD = """\
# Every key

Made by `python docs/make_keys.py` from the comments in the files; mend those.
[P]: stated in the paper. [D]: our choice where the paper is silent. Any key can
be set on the command line, `--key value`, or in
[a file of your own](usage.md#keys-and-files-of-your-own).
"""
SYSTEMS = """\

## Of a system

The value stands in `hparams/lam_gl_wavlm.yaml`; after *small*, that of
`hparams/small` where it differs. Other systems' files set what makes them
([Systems](systems.md)). A key that a system has no use for is refused in its
file and on the command line.

"""
STUDIES = """\

## Of a study

As in `hparams/study/table2.yaml` ([Studies](studies.md)).

"""
BUILT = """\

## Objects

What a system's file builds from its keys. A file of your own may put another
class in the place of one: a loss as `alignment`, a head, an optimiser.

"""


def read_keys(path: Path) -> dict[str, str]:
    """Give the text of each key of a file, with the comments above it."""
    text = path.read_text(encoding="utf-8")
    return split_keys(re.sub(r"\A(#.*\n)+\n?", "", text))  # its own title


def value_of(block: str) -> str:
    """Give what a key is set to, without its comment."""
    text = re.sub(r"\s+#.*$", "", without_comments(block), flags=re.M)
    first, _, more = text.partition(":")[2].partition("\n")
    if more.strip():
        return "a mapping, in the file"
    return f"`{first.strip()}`" if first.strip() else ""


def comment_of(block: str) -> str:
    """Give the comments above and behind a key as one text."""
    above = [x.lstrip("# ") for x in comments_above(block).splitlines()]
    behind = re.findall(r"\s#\s+(.*)$", without_comments(block), flags=re.M)
    return " ".join([*filter(None, above), *behind])


def grouped(blocks: Mapping[str, str]) -> Iterator[list[str]]:
    """Give the keys that share one comment: that of the first."""
    group: list[str] = []
    for key, block in blocks.items():
        if group and not comments_above(block).strip():
            group.append(key)
        else:
            if group:
                yield group
            group = [key]
    yield group


def takes(key: str) -> str:
    """Give in words what a key takes."""
    if key in CHOICES:
        return ", ".join(f"`{choice}`" for choice in CHOICES[key])
    return KINDS[key].takes if key in KINDS else ""


def table(blocks: Mapping[str, str], small: Mapping[str, str]) -> str:
    """Give a row for each group of keys."""
    rows = ["| key | value | takes | what it is |", "|---|---|---|---|"]
    for keys in grouped(blocks):
        values = []
        for key in keys:
            values.append(value_of(blocks[key]))
            if key in small and value_of(small[key]) != values[-1]:
                values[-1] += f", *small* {value_of(small[key])}"
        names = "<br>".join(f"`{key}`" for key in keys)
        kinds = list(dict.fromkeys(filter(None, map(takes, keys))))
        comment = " ".join(filter(None, (comment_of(blocks[k]) for k in keys)))
        cells = names, "<br>".join(values), "; ".join(kinds), comment
        line = " | ".join(cell.replace("|", "\\|") for cell in cells)
        rows.append(f"| {line} |")
    return "\n".join(rows) + "\n"


def make() -> str:
    """Give the text of keys.md."""
    blocks, small = read_keys(SYSTEM), read_keys(SMALL)
    names = list(blocks)
    first = next(k for k in names if OBJECTS in comments_above(blocks[k]))
    built = names[names.index(first) :]
    plain = {key: blocks[key] for key in names if key not in built}
    del plain["__set_seed"]
    objects = {key: blocks[key] for key in built}
    objects[first] = objects[first].replace(f"# {OBJECTS}.\n", "")
    lines = ["| key | built as |", "|---|---|"]
    for key, block in objects.items():
        start = without_comments(block).splitlines()[0].partition(":")[2]
        note = comment_of(comments_above(block) + f"{key}:")
        what = f"`{start.strip()}`" if start.strip() else "a mapping"
        lines.append(f"| `{key}` | {what} {note}".rstrip() + " |")
    study = read_keys(STUDY)
    return "".join(
        [
            *(HEAD, SYSTEMS, table(plain, small), STUDIES, table(study, {})),
            *(BUILT, "\n".join(lines), "\n"),
        ]
    )


if __name__ == "__main__":
    (DOCS / "keys.md").write_text(make(), encoding="utf-8")
