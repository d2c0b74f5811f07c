"""Labelled target rows of the few-shot baseline."""

from __future__ import annotations

import pytest

from lam_sb.errors import UserError
from lam_sb.training.shots import draw_shots, shot_candidates


def test_shot_candidates_leave_the_test_set_only_where_they_must():
    rows = [f"u{n}" for n in range(50)]
    assert shot_candidates(rows[:20], rows[20:], 0) == sorted(rows[:20])
    shared = shot_candidates(rows, rows, 0)
    assert len(shared) == 10
    assert shared == shot_candidates(rows[::-1], rows, 0)
    assert shared != shot_candidates(rows, rows, 1)
    assert set(shot_candidates(rows[:30], rows[20:], 0)) < set(rows[20:30])


def test_shots_are_drawn_for_each_emotion_and_seed():
    emotions = ("neutral", "happy", "angry", "sad")
    rows = {f"u{n}": (*emotions, None)[n % 5] for n in range(100)}
    draws = [draw_shots(rows, 5, split_seed=0, seed=d) for d in range(12)]
    for drawn in draws:
        assert [rows[i] for i in drawn] == [
            e for e in emotions for _ in range(5)
        ]
        assert len(set(drawn)) == 20
    assert len(set(map(tuple, draws))) == 12
    assert draws[1] == draw_shots(rows, 5, split_seed=0, seed=1)
    assert draws[1] != draw_shots(rows, 5, split_seed=1, seed=1)
    with pytest.raises(UserError, match="target_shots: 21 of neutral"):
        draw_shots(rows, 21, split_seed=0, seed=0)
