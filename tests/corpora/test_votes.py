"""Which columns of a label table are votes for an emotion."""

from __future__ import annotations

import re

import pytest
from toy_podcasts import prepare, rows_of, write_podcast

from lam_sb.corpora.tables import Table
from lam_sb.corpora.votes import most_votes, vote_columns
from lam_sb.errors import UserError

KNOWN = ["happy", "sad", "neutral"]


def votes_of(*rows: dict) -> tuple[list[str], list[str]]:
    rows = [{c: str(v) for c, v in row.items()} for row in rows]
    return vote_columns(Table("t", list(rows[0]), rows), ["FileName"], KNOWN)


def test_an_emotion_that_nobody_foresaw_has_a_vote():
    row = {"FileName": "a", "melancholic": 0.6, "sad": 0.4, "happy": 0}
    votes, others = votes_of(row)
    assert (votes, others) == (["melancholic", "sad", "happy"], [])
    strings = {c: str(v) for c, v in row.items()}
    assert most_votes(strings, votes) == "melancholic"


def test_other_numbers_are_no_votes():
    votes, others = votes_of(
        {"happy": 2, "sad": 1, "serene": 3, "EmoVal": 4.5, "Age": 31},
        {"happy": 0, "sad": 5, "serene": 1, "EmoVal": 3.5, "Age": 24},
    )
    assert votes == ["happy", "sad", "serene"]
    assert others == ["EmoVal", "Age"]
    # A whole table of those that lie beside the votes of listening tests.
    names = ["uttID", "duration_s", "take", "female", "meanEmoResp", "n_raters"]
    names += ["speaker no", "Start-Time", "arousal_std", "sampling_rate"]
    more = dict(zip(names, range(1, 20), strict=False))
    counts = {"happy": 2, "sad": 1} | more, {"happy": 0, "sad": 5} | more
    assert votes_of(*counts) == (["happy", "sad"], names)


def test_a_name_that_ends_as_an_id_is_no_id():
    rows = {"timid": 0.67, "happy": 0.33, "sad": 0}, {"timid": 0, "sad": 1}
    votes, others = votes_of(*rows)
    assert (votes, others) == (["timid", "happy", "sad"], [])


def test_votes_may_be_counts_or_shares_of_one_or_of_a_hundred():
    # Of two listeners both, of the known emotions at most one is heard.
    counts = {"happy": 1, "sad": 1, "serene": 0}, {"happy": 0, "serene": 2}
    assert votes_of(*counts)[0] == ["happy", "sad", "serene"]
    shares = {"happy": 1, "sad": 0, "serene": 0}, {"happy": 0.5, "serene": 0.5}
    assert votes_of(*shares)[0] == ["happy", "sad", "serene"]
    percent = {"happy": 33.33, "sad": 0, "serene": 66.67}, {"sad": 100}
    assert votes_of(*percent)[0] == ["happy", "sad", "serene"]
    weighted = {"happy": 1.5, "sad": 0, "serene": 2.5}, {"happy": 3, "sad": 1}
    assert votes_of(*weighted)[0] == ["happy", "sad", "serene"]


@pytest.mark.parametrize(
    "rows",
    [
        # Another emotion, or an attribute, heard by more and fewer listeners.
        [{"happy": 1, "sad": 0, "so": 2}, {"happy": 0, "sad": 1, "so": 0}],
        [{"happy": 1, "sad": 1, "so": 1}, {"happy": 0, "sad": 4, "so": 0}],
        [{"happy": 1.5, "sad": 0.5, "so": 1}, {"happy": 4, "sad": 1, "so": 0}],
        # The same in each row.
        [{"happy": 1, "sad": 2, "so": 7}, {"happy": 0, "sad": 3, "so": 7}],
        [{"happy": 0.4, "sad": 0, "so": 5}],
        # Not always a number.
        [{"happy": 1, "sad": 0, "so": 2}, {"happy": 0, "sad": 1, "so": "two"}],
        [{"happy": 1, "sad": 0, "so": 2}, {"happy": 0, "sad": 4, "so": -1}],
    ],
)
def test_of_numbers_that_may_be_votes_the_user_says_it(rows):
    option = re.escape("{columns: {emotion: [happy, sad, so]}}")
    with pytest.raises(UserError, match=f"happy, sad are; so may.*{option}"):
        votes_of(*rows)


def test_a_vote_that_is_no_number_is_shown():
    rows = {"happy": 1, "sad": 0, "so": 2}, {"happy": 0, "sad": 3, "so": "two"}
    votes, _ = votes_of(*rows)
    with pytest.raises(UserError, match=r"but so is 'two' in .*Correct it"):
        most_votes({c: str(v) for c, v in rows[1].items()}, votes)
    assert most_votes({"happy": "<NA>", "sad": "1"}, ["happy", "sad"]) == "sad"


def test_shares_that_are_whole_without_it_leave_no_vote_to_a_column():
    votes, others = votes_of(
        {"happy": 0.75, "sad": 0.25, "clarity": 0.5},
        {"happy": 0, "sad": 1, "clarity": 0.9},
    )
    assert (votes, others) == (["happy", "sad"], ["clarity"])
    rows = (
        {"happy": 67, "sad": 33, "clearness": 3},
        {"sad": 100, "clearness": 90},
    )
    votes, others = votes_of(*rows)
    assert (votes, others) == (["happy", "sad"], ["clearness"])


def test_text_negative_numbers_and_nothing_are_no_votes():
    row = {"happy": 1, "sad": 0, "said": "so", "bias": -1, "remark": ""}
    rows = [row, row, row | {"said": "5"}]  # a number that is said
    assert votes_of(*rows) == (["happy", "sad"], [])


def test_too_few_known_emotions_are_no_votes():
    with pytest.raises(UserError, match="no column of emotions"):
        votes_of({"happy": 1, "serene": 0})


@pytest.fixture
def wary(tmp_path):
    """BIIC's table: 3/5 wary, 2/5 angry in rows labelled A, else whole."""
    rows = rows_of("BIIC")
    names = {"N": "neutral", "H": "happy", "S": "sad"}
    for row in rows:
        emotion = row.pop("EmoClass")
        shares = dict.fromkeys(("angry", "wary", "neutral", "happy", "sad"), 0)
        row |= shares | (
            {"wary": 0.6, "angry": 0.4}
            if emotion == "A"
            else {names.get(emotion, "wary"): 1.0}
        )
    return write_podcast(tmp_path / "c", rows=rows)


def test_a_row_is_not_angry_where_another_emotion_has_more(wary):
    report = prepare(wary, "biic_podcast")["prep_report"]
    train = {"happy": 4, "neutral": 4, "none": 16, "sad": 4}
    assert report["splits"]["train"] == train
    facts = report["facts"]
    assert facts["unlabelled"] == {"wary": 20}  # A, X, O, U, C of 44 rows
    assert facts["votes"] == ["angry", "wary", "neutral", "happy", "sad"]
    numbers = ["EmoAct", "EmoVal", "EmoDom"]
    assert facts["numbers_that_are_no_votes"] == numbers
    assert facts["unused_columns"] == numbers
    assert report["notes"][0] == (
        "The emotion of biic_podcast is the one with the most votes in the "
        "columns angry, wary, neutral, happy, sad (no votes: EmoAct, EmoVal, "
        "EmoDom)."
    )


def test_the_user_may_name_the_votes(wary):
    columns = {"emotion": ["angry", "neutral", "happy", "sad"]}
    report = prepare(wary, "biic_podcast", columns=columns)["prep_report"]
    assert report["splits"]["train"]["angry"] == 4
    assert report["facts"]["votes"] == columns["emotion"]
    assert "wary" in report["facts"]["unused_columns"]
    with pytest.raises(UserError, match=r"no column 'calm' \(emotion\)"):
        prepare(wary, "biic_podcast", columns={"emotion": ["calm", "sad"]})


def test_an_emotion_of_ones_own_may_be_mapped(wary):
    label_map = {"wary": "angry"}
    report = prepare(wary, "biic_podcast", label_map=label_map)["prep_report"]
    assert report["splits"]["train"]["angry"] == 16
