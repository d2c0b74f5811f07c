"""Label tables of corpora: a CSV or JSON file, and its columns by any name."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lam_sb.errors import UserError

DELIMITERS = ",;\t|"
# The names of a column by what it holds; case, spaces and signs do not count.
# The first is taken before the others, of which there must be one alone.
COLUMNS = {
    "path": (
        *("path", "filename", "file", "filepath", "wav", "wavfile"),
        *("wavpath", "audio", "audiofile", "audiopath", "audiofilename"),
    ),
    "emotion": (
        *("emotion", "emoclass", "emo", "label", "emotions", "emolabel"),
        *("emotionlabel", "emotionclass", "emotionname"),
    ),
    "speaker": (
        *("speaker", "spkrid", "speakerid", "spk", "spkid", "spkr"),
        *("speakername", "speakerlabel", "actor", "actorid", "talker"),
    ),
    "split": ("split", "splitset", "partition", "subset", "splitname"),
    "gender": ("gender", "sex", "speakergender", "speakersex"),
    "language": ("language", "lang", "languagecode"),
    "alignment": ("alignment", "textgrid", "alignmentpath", "textgridpath"),
    "id": ("id", "utteranceid", "uttid", "utt"),
}
# What a column that nothing reads may have been meant for.
ROOTS = {
    "path": r"path|file|wav|audio",
    "emotion": r"^emo(?!act|val|dom)|emotion|label|class|category|affect",
    "speaker": r"speaker|^spk|actor|talker|subject|participant|person",
    "split": r"split|partition|subset",
    "gender": r"gender|^sex",
    "language": r"^lang",
    "alignment": r"textgrid|align",
}
# Without these a result is worth less: all columns are shown that may be them.
WANTED = ("emotion", "speaker")
SHOWN = 12  # columns of a table in a sentence


@dataclass(frozen=True)
class Table:
    """A label table.

    Arguments
    ---------
    name : str
        Of its file, for messages.
    columns : list[str]
        As the file spells them, in its order.
    rows : list[dict[str, str]]
        Stripped text by column.
    blank_rows : int
        Rows without any text, which are not among ``rows``.
    """

    name: str
    columns: list[str]
    rows: list[dict[str, str]]
    blank_rows: int = 0


def read_table(path: Path) -> Table:
    """Read a label table, in UTF-8 with or without a byte order mark.

    Arguments
    ---------
    path : Path
        ``.json`` holds ``{"<file>": {column: value}}``, whose file names come
        to stand in a column ``FileName``; anything else is read as CSV with a
        header, whose fields a comma, semicolon, tab or bar parts.

    Raises
    ------
    UserError
        No such file, no UTF-8, no such JSON, two columns of one name, or a
        row with more fields than columns, or a quote that is not closed.

    Example
    -------
    >>> path = getfixture("tmp_path") / "labels.json"
    >>> _ = path.write_text('{"a.wav": {"EmoClass": "N", "SpkrID": 30}}')
    >>> read_table(path).rows
    [{'FileName': 'a.wav', 'EmoClass': 'N', 'SpkrID': '30'}]
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no UTF-8: {error}; save it so.") from None
    if path.suffix.lower() == ".json":
        rows = _json_rows(text, path)
        columns = list(dict.fromkeys(name for row in rows for name in row))
        return Table(path.name, columns, rows)
    return _csv_table(text, path)


def _csv_table(text: str, path: Path) -> Table:
    header = text.partition("\n")[0]
    delimiter = max(DELIMITERS, key=header.count)  # of equals, the first
    lines = _csv_lines(text, delimiter, path)
    _, columns = next(lines)
    twice = [c for c, n in Counter(columns).items() if n > 1 and c]
    if twice:
        raise UserError(
            f"{path} has two columns '{twice[0]}'; rename or remove one."
        )
    rows, blank = [], 0
    for number, values in lines:
        if any(values[len(columns) :]):
            raise UserError(
                f"{path}, line {number}, has {len(values)} fields, but "
                f"there are {len(columns)} columns: put quotes around a value "
                f"that holds '{delimiter}'."
            )
        if any(values):
            values += [""] * (len(columns) - len(values))
            rows.append(dict(zip(columns, values, strict=False)))
        else:
            blank += 1
    return Table(path.name, columns, rows, blank)


def _csv_lines(
    text: str, delimiter: str, path: Path
) -> Iterator[tuple[int, list[str]]]:
    """Last line and values of each row; refuse a quote that swallows rows."""
    whole = io.StringIO(text.removesuffix("\n") + "\n", newline="")
    lines = csv.reader(whole, delimiter=delimiter)
    first = 1
    try:
        for line in lines:
            for value in line:
                if delimiter in value and set(value) & {"\n", "\r"}:
                    raise csv.Error("a value runs on over a line's end")
            yield lines.line_num, [value.strip() for value in line]
            first = lines.line_num + 1
    except csv.Error as error:  # also of a value that is too long
        raise UserError(
            f'{path}, line {first}: {error}. Is a quote (") not closed there? '
            'Close it, write "" for a quote within a value, and leave line '
            "breaks out."
        ) from None


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
    table: Table,
    what: str,
    names: Sequence[str],
    columns: Mapping[str, str | None] | None = None,
) -> str | None:
    """Find the column that holds something, by its usual names.

    Arguments
    ---------
    table : Table
        The label table.
    what : str
        What the column holds: path, emotion, speaker, ...
    names : Sequence[str]
        Usual names, as in `COLUMNS`.
    columns : Mapping[str, str | None], optional
        The user's own names by what they hold, None for what is not to be
        read; they go before the others.

    Returns
    -------
    str | None
        The column as the table spells it, None if there is none.

    Raises
    ------
    UserError
        The user's column is not there, or several may be meant.

    Example
    -------
    >>> table = Table("labels.csv", ["Utt", "Speaker ID", "EMO"], [])
    >>> find_column(table, "speaker", COLUMNS["speaker"])
    'Speaker ID'
    """
    if columns and what in columns:
        if columns[what] not in (*table.columns, None):
            raise missing_column(table, f"'{columns[what]}' ({what})", what)
        return columns[what]
    found = [c for c in table.columns if plain_name(c) in names]
    first = [c for c in found if plain_name(c) == names[0]]
    if len(first or found) > 1:
        raise UserError(
            f"{table.name} has several columns that may hold the {what}: "
            f"{', '.join(first or found)}. Say which does: "
            f"{option(what, (first or found)[0])}."
        )
    return next(iter(first or found), None)


def missing_column(table: Table, missing: str, what: str) -> UserError:
    """Error to raise, which shows the columns that there are.

    ``missing`` is in words, ``what`` as in the option columns.
    """
    names = ", ".join(c or "(unnamed)" for c in table.columns)
    return UserError(
        f"The label table {table.name} has no column {missing}; its columns: "
        f"{names or 'none'}. Name yours with the option columns: "
        f"{option(what, 'NAME')}."
    )


def table_facts(
    corpus: str,
    table: Table,
    used: Mapping[str, str | None],
    columns: Mapping[str, object],
) -> tuple[dict, list[str]]:
    """Say what of a table was not read.

    Arguments
    ---------
    corpus : str
        For the notes.
    table : Table
        The label table.
    used : Mapping[str, str | None]
        The columns that are read, by what they hold.
    columns : Mapping[str, object]
        The user's own, as in `find_column`.

    Returns
    -------
    facts : dict
        ``blank_rows`` and ``unused_columns``, as far as there are any.
    notes : list[str]
        A sentence on each thing that no column holds: on the unused columns
        that look like it, and for `WANTED` on all.

    Example
    -------
    >>> table = Table("labels.csv", ["path", "the_speakers", "age"], [], 2)
    >>> table_facts("toy", table, {"path": "path", "speaker": None}, {})[0]
    {'blank_rows': 2, 'unused_columns': ['the_speakers', 'age']}
    """
    unused = [c for c in table.columns if c not in used.values() and c]
    facts = {"blank_rows": table.blank_rows, "unused_columns": unused}
    notes = []
    for what in sorted(ROOTS.keys() & used.keys() - columns.keys()):
        like = [c for c in unused if re.search(ROOTS[what], plain_name(c))]
        shown = unused if what in WANTED else like
        if used[what] is None and shown:
            held = option(what, (like or shown)[0])
            listed = ", ".join(shown[:SHOWN])
            if len(shown) > SHOWN:
                listed += f" and {len(shown) - SHOWN} more"
            notes.append(
                f"No column of {corpus} ({table.name}) is read as the {what}. "
                f"If one of those that are not read is it ({listed}), say "
                f"which: {held}."
            )
    return {name: fact for name, fact in facts.items() if fact}, notes


def option(what: str, column: str) -> str:
    """Give what to type to say which column holds something."""
    mapping = f'"{{columns: {{{what}: {column}}}}}"'
    return f"--source_options {mapping} (or --target_options)"


def plain_name(name: str) -> str:
    """Name without case, spaces and signs: Speaker_ID is speakerid."""
    return re.sub(r"[\W_]", "", name).lower()
