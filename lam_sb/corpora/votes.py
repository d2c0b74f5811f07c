"""Emotions by vote: one column an emotion, with counts or shares."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence

from lam_sb.corpora.tables import Table, missing_column
from lam_sb.errors import UserError

NO_VALUES = ("", "nan", "na", "none", "null", "-")
# Numbers that are no votes, by their column's name without signs.
ATTRIBUTES = re.compile(
    r"(emo)?(act(ivation)?|aro(usal)?|val(ence)?|dom(inance)?)(mean|avg|std|sd)?"
    r"|(unnamed)?\d*|\w*id|age|year|index|row|line|turn|snr|samplerate"
    r"|(dur(ation)?|len(gth)?|start|end|begin|onset|offset|time)"
    r"(time|s|ms|secs?|seconds)?"
    r"|(n|num|numberof)?(raters?|annotators?|workers?|votes?)"
    r"|total|sum|confidence|agreement|entropy|kappa"
)
ROUNDING = 0.02  # of a sum of shares


def vote_columns(
    table: Table, taken: Collection[str | None], emotions: Collection[str]
) -> tuple[list[str], list[str]]:
    """Tell the columns of votes from other numbers.

    Each emotion has a vote, also one that nobody foresaw: a column of numbers
    like those of the known emotions (shares up to 1, or, if those are whole,
    counts), unless its name says something else (`ATTRIBUTES`), or the known
    emotions sum to the same in each row and it would break that.

    Arguments
    ---------
    table : Table
        The label table.
    taken : Collection[str | None]
        Columns that hold something else.
    emotions : Collection[str]
        Names of known emotions in lower case.

    Returns
    -------
    votes, others : list[str]
        Columns of votes, and other columns of numbers.

    Raises
    ------
    UserError
        Fewer than two columns of known emotions.

    Example
    -------
    >>> row = {"annoyed": "0.67", "angry": "0.33", "sad": "0", "EmoAct": "4.2"}
    >>> vote_columns(Table("t", [*row], [row]), [], ["angry", "sad"])
    (['annoyed', 'angry', 'sad'], ['EmoAct'])
    """
    free = [c for c in table.columns if c not in taken]
    known = [c for c in free if c.lower() in emotions]
    if len(known) < 2:
        raise missing_column(table, "of emotions", "emotion")
    numbers = {c: [_number(row.get(c, "")) for row in table.rows] for c in free}
    unknown = [
        c
        for c in free
        if c not in known and None not in numbers[c] and any(numbers[c])
    ]
    votes_known = [v for c in known for v in numbers[c] if v is not None]
    whole = all(v == int(v) for v in votes_known)
    alike = [
        c
        for c in unknown
        if not ATTRIBUTES.fullmatch(re.sub(r"[\W_]", "", c).lower())
        and (
            all(v <= 1 for v in numbers[c])
            or (whole and all(v == int(v) for v in numbers[c]))
        )
    ]
    sums = [_spread(numbers, known), _spread(numbers, [*known, *alike])]
    if sums[0] <= ROUNDING < sums[1]:
        alike = []
    votes = [c for c in free if c in known or c in alike]
    return votes, [c for c in unknown if c not in alike]


def _spread(numbers: Mapping[str, Sequence], columns: Sequence[str]) -> float:
    """How far the rows' sums lie apart."""
    sums = [
        sum(v or 0 for v in row)
        for row in zip(*(numbers[c] for c in columns), strict=True)
    ]
    return max(sums) - min(sums) if sums else 0.0


def _number(text: str) -> float | None:
    """Value of a vote, None where it is no number from 0 on."""
    try:
        value = 0.0 if text.lower() in NO_VALUES else float(text)
    except ValueError:
        return None
    return value if 0 <= value < math.inf else None


def most_votes(line: Mapping[str, str], columns: Sequence[str]) -> str:
    """Name of the column with the single largest count or share.

    ``no votes`` or ``tie`` where there is none.

    Raises
    ------
    UserError
        A value that is no number from 0 on.

    Example
    -------
    >>> most_votes({"annoyed": "2", "angry": "1"}, ["annoyed", "angry"])
    'annoyed'
    """
    votes = {c: _number(line.get(c, "")) for c in columns}
    wrong = [c for c, vote in votes.items() if vote is None]
    if wrong:
        raise UserError(
            f"The columns {', '.join(columns)} of the label table are read as "
            f"votes, but {wrong[0]} is '{line[wrong[0]]}' in {dict(line)}. "
            "Name those that are votes, for example --source_options "
            '"{columns: {emotion: [angry, sad]}}" (or --target_options).'
        )
    most = max(votes.values())
    if not most > 0:
        return "no votes"
    winners = [c for c in columns if votes[c] == most]
    return winners[0] if len(winners) == 1 else "tie"
