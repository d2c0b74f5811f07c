"""Emotions by vote: one column an emotion, with counts or shares."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence

from lam_sb.corpora.labels import is_no_name
from lam_sb.corpora.tables import Table, missing_column, option, plain_name
from lam_sb.errors import UserError

# Numbers that are no votes, by their column's name without case and signs.
THINGS = (
    r"(speaker|spkr?|actor|subject|participant|talker|listener|annotator|rater"
    r"|worker|user|response|vote|annotation|file|audio|wav|video|clip|utt"
    r"|utterance|segment|turn|row|line|item|sentence|text|dialog(ue)?|scene"
    r"|session|podcast|episode|show|recording|track|channel|part|chunk|frame"
    r"|sample|word|char|character|phone|syllable|take|trial|repetition|block)s?"
)
RATINGS = (
    r"(emo|mean|avg|average|median|std|sd)*"
    r"(act(ivation)?|aro(usal)?|val(ence)?|dom(inance)?|resp|acc(uracy)?|dist"
    r"|ratings?|intensity|level|score|confidence|agreement|quality)"
    r"(mean|avg|std|sd)?"
)
TIMES = (
    r"(dur(ation)?|len(gth)?|start|end|begin|onset|offset|time(stamp)?)"
    r"(time|s|ms|secs?|seconds)?"
)
ATTRIBUTES = re.compile(
    rf"{RATINGS}|{TIMES}|(unnamed)?\d*|(n|num|numberof|number)?{THINGS}"
    rf"|({THINGS})?(id|no|nr|num|number|index|idx)|version|year|month|day|hour"
    r"|age|height|weight|(is)?(fe)?male|native|total|sum|entropy|kappa|alpha"
    r"|snr|rms|energy|loudness|volume|gain|pitch|f0(mean)?|sampl(e|ing)rate|sr"
)
ROUNDING = 0.05  # of the largest sum of votes; sixteen shares of two digits


def vote_columns(
    table: Table, taken: Collection[str | None], emotions: Collection[str]
) -> tuple[list[str], list[str]]:
    """Tell the columns of votes from other numbers.

    Known emotions have votes; other numbers have none by their name
    (`ATTRIBUTES`), or where the known emotions are shares of 1 or 100 without
    them. The rest have votes where with them each row is so shared, or each
    row, and only then, has the same number of votes. Else the user is asked:
    a vote left out, or a number taken for one, would give rows wrong labels.

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
        Fewer than two columns of known emotions, or columns of which nothing
        says whether they are votes.

    Example
    -------
    >>> rows = [
    ...     {"wary": "0.67", "angry": "0.33", "sad": "0", "EmoAct": "4.2"},
    ...     {"wary": "0", "angry": "0", "sad": "1", "EmoAct": "2.5"},
    ... ]
    >>> vote_columns(Table("t", [*rows[0]], rows), [], ["angry", "sad"])
    (['wary', 'angry', 'sad'], ['EmoAct'])
    """
    free = [c for c in table.columns if c not in taken]
    known = [c for c in free if c.lower() in emotions]
    if len(known) < 2:
        raise missing_column(table, "of emotions", "emotion")
    cells = {c: [row.get(c, "") for row in table.rows] for c in free}
    numbers = [c for c in free if c not in known and _holds_numbers(cells[c])]
    unclear = [c for c in numbers if not ATTRIBUTES.fullmatch(plain_name(c))]
    if unclear:
        are_votes = _are_votes(table, known, unclear)
        if are_votes is None:
            votes = f"[{', '.join([*known, *unclear])}]"
            raise UserError(
                f"Which columns of {table.name} are votes for an emotion? "
                f"{', '.join(known)} are; {', '.join(unclear)} may be. Say so, "
                f"less those that are not: {option('emotion', votes)}."
            )
        unclear = unclear if are_votes else []
    votes = [c for c in free if c in known or c in unclear]
    return votes, [c for c in numbers if c not in unclear]


def _holds_numbers(cells: Sequence[str]) -> bool:
    """Whether half of the filled cells are numbers from 0 on, not all 0."""
    values = [_number(cell) for cell in cells if not is_no_name(cell)]
    return 2 * values.count(None) <= len(values) and any(values)


def _are_votes(
    table: Table, known: Sequence[str], unclear: Sequence[str]
) -> bool | None:
    """Whether the unclear columns are votes too, None where nothing says it."""
    rows = [
        [_number(row.get(c, "")) or 0.0 for c in (*known, *unclear)]
        for row in table.rows
    ]
    rows = [row for row in rows if any(row)]
    sums = [sum(row[: len(known)]) for row in rows]
    sums_with = [sum(row) for row in rows]
    counts = all(vote == int(vote) for row in rows for vote in row)
    if _all_are(100, sums) or (_all_are(1, sums) and not counts):
        return False
    if _all_are(100, sums_with) or _all_are(1, sums_with):
        return True
    same = _all_are(max(sums_with), sums_with)
    return True if same and not _all_are(max(sums), sums) else None


def _all_are(total: float, sums: Sequence[float]) -> bool:
    return all(abs(value - total) <= ROUNDING * total for value in sums)


def _number(text: str) -> float | None:
    """Value of a vote, None where it is no number from 0 on."""
    try:
        value = 0.0 if is_no_name(text) else float(text)
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
            "Correct it, or name the columns that are votes: "
            f"{option('emotion', '[angry, sad]')}."
        )
    most = max(votes.values())
    if not most > 0:
        return "no votes"
    winners = [c for c in columns if votes[c] == most]
    return winners[0] if len(winners) == 1 else "tie"
