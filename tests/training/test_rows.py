"""Rows of a corpus, and the labels that may be seen."""

from __future__ import annotations

import pytest
import torch
from domain_rows import FeaturesInMemory, rows

from lam_sb.errors import UserError
from lam_sb.training.rows import DomainRows, with_emotion


def test_chunks_without_frames_are_masked():
    frames = torch.tensor([[3, 0], [2, 2]])
    manifest = {f"u{i}": {"emo": "sad", "speaker": "a"} for i in range(2)}
    made = DomainRows(
        manifest, FeaturesInMemory(torch.ones(2, 2, 1, 4), frames), 1
    )
    _, mask = made.read([0, 1], [1], ["chunks", "utterance"])
    assert mask.tolist() == [[True, False, True], [True, True, True]]


def test_hidden_and_unknown_labels_are_minus_one():
    manifest = {
        "a": {"emo": "sad", "speaker": "s"},
        "b": {"emo": None, "speaker": "t"},
        "c": {"emo": "neutral", "speaker": "s"},
    }
    seen, hidden = (DomainRows(manifest, None, x) for x in (True, False))
    assert seen.labels.tolist() == [3, -1, 0]
    assert hidden.labels.tolist() == [-1, -1, -1]
    assert seen.speakers == ["s", "t", "s"]
    assert list(with_emotion(manifest)) == ["a", "c"]


def test_rows_are_standardised_with_the_speaker_of_each():
    made = rows(3, speakers=["x", "y", "z"])
    raw, _ = made.read([2, 0], [1], ["chunks"])
    seen = []

    def standardise(x, speakers):
        seen.extend(speakers)
        x.add_(1)

    made.standardisers["chunks"] = standardise
    x, _ = made.read([2, 0], [1], ["chunks"])
    assert seen == ["z", "x"]
    assert torch.equal(x, raw + 1)


def test_no_rows_are_refused():
    with pytest.raises(UserError, match="No rows are left"):
        DomainRows({}, FeaturesInMemory(torch.zeros(0, 2, 1, 4)), True)
