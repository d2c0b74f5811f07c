"""Label tables of corpora: a CSV or JSON file, and its columns by any name."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from lam_sb.errors import UserError


def read_table(path: Path) -> list[dict[str, str]]:
    """Read a label table, in UTF-8 with or without a byte order mark.

    Arguments
    ---------
    path : Path
        ``.json`` holds ``{"<file>": {column: value}}``; anything else is read
        as CSV with a header.

    Returns
    -------
    list[dict[str, str]]
        Stripped text by column, a row each; a JSON's file names stand in the
        column ``FileName``.

    Raises
    ------
    UserError
        No such file, no UTF-8, or no such JSON.

    Example
    -------
    >>> path = getfixture("tmp_path") / "labels.json"
    >>> _ = path.write_text('{"a.wav": {"EmoClass": "N", "SpkrID": 30}}')
    >>> read_table(path)
    [{'FileName': 'a.wav', 'EmoClass': 'N', 'SpkrID': '30'}]
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no UTF-8: {error}; save it so.") from None
    if path.suffix.lower() == ".json":
        return _json_rows(text, path)
    reader = csv.DictReader(io.StringIO(text, newline=""))
    reader.fieldnames = [(c or "").strip() for c in reader.fieldnames or []]
    return [
        {k: (v or "").strip() for k, v in row.items() if k is not None}
        for row in reader
    ]


def _json_rows(text: str, path: Path) -> list[dict[str, str]]:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise UserError(f"{path} is no JSON: {error}") from None
    if not isinstance(content, dict) or not all(
        isinstance(row, dict) for row in content.values()
    ):
        raise UserError(f"{path} does not hold {{file: {{column: value}}}}.")
    return [
        {"FileName": name}
        | {k: "" if v is None else str(v).strip() for k, v in row.items()}
        for name, row in content.items()
    ]


def find_column(
    table: Sequence[Mapping],
    what: str,
    variants: Sequence[str],
    columns: Mapping[str, str] | None = None,
) -> str | None:
    """Name of a column among its variants, in any case.

    Arguments
    ---------
    table : Sequence[Mapping]
        Rows by column.
    what : str
        What the column holds: file, emotion, speaker, ...
    variants : Sequence[str]
        Names, the first that is there is taken.
    columns : Mapping[str, str], optional
        The user's own names by what they hold; they go before the variants.

    Returns
    -------
    str | None
        The column as the table spells it, None if there is none; a user's
        column that is not there is an error.

    Example
    -------
    >>> find_column([{"Utt": "a", "EMO": "sad"}], "emotion", ["emotion", "emo"])
    'EMO'
    """
    names = columns_of(table)
    if columns and what in columns:
        if columns[what] not in names:
            raise missing_column(table, f"'{columns[what]}' ({what})")
        return columns[what]
    spelled = {name.lower(): name for name in reversed(names)}
    return next(
        (spelled[v.lower()] for v in variants if v.lower() in spelled), None
    )


def columns_of(table: Sequence[Mapping]) -> list[str]:
    """Columns of a table, in order; rows of a JSON may differ in theirs."""
    return list(dict.fromkeys(name for row in table for name in row))


def missing_column(table: Sequence[Mapping], what: str) -> UserError:
    """Error to raise, which shows the columns that there are."""
    names = ", ".join(c or "(unnamed)" for c in columns_of(table))
    return UserError(
        f"The label table has no column {what}; its columns: "
        f"{names or 'none'}. Name yours with the option columns, for example "
        "{columns: {emotion: EmoClass}}."
    )
