"""The phonetic anchor by hand and against loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lam_sb.corpora.phones import VOWELS
from lam_sb.errors import UserError
from lam_sb.losses.phonetic import PhoneticAnchor


def _on_circle(*rows):
    """Six vowel segments a row, by their angles in degrees; None: missing.

    Lengths differ, as the loss must not look at them.
    """
    x, mask = torch.zeros(len(rows), 6, 2), torch.zeros(len(rows), 6) > 0
    for n, row in enumerate(rows):
        for vowel, angle in row.items():
            radians = torch.tensor(angle).deg2rad()
            unit = torch.stack([radians.cos(), radians.sin()])
            x[n, VOWELS.index(vowel)] = (n + 1) * unit
            mask[n, VOWELS.index(vowel)] = True
    return x, mask


def test_phonetic_anchor_by_emotion_worked_out_by_hand():
    # Squared distance of angles apart by v: 2 - 2 cos v.
    source, source_mask = _on_circle(
        {"a": 0.0}, {"a": 60.0}, {"a": 120.0, "i": 10.0}
    )
    target, target_mask = _on_circle({"a": 90.0}, {"a": 240.0, "i": 5.0})
    labels = torch.tensor([0, 1, 0])
    # a at 0 (neutral): positive at 90, 2; its negative (happy, at 60, 1) is
    # not farther, so it is the farthest there is: 2 - 1 + 0.2 = 1.2.
    # a at 60 (happy): positive at 90, 2 - sqrt 3; both negatives are 60 away,
    # 1: 2 - 1.7321 - 1 + 0.2 < 0, so 0.
    # a at 120 (neutral): positive at 90; negative at 60: 0 again.
    # i at 10: no other emotion has an i, so it is no anchor.
    loss = PhoneticAnchor(list(VOWELS))(
        source, target, source_mask, target_mask, labels
    )
    assert loss.item() == pytest.approx(1.2 / 3, abs=1e-6)
    only_i = PhoneticAnchor(["i"])(
        source, target, source_mask, target_mask, labels
    )
    assert only_i.item() == 0


def test_phonetic_anchor_by_vowel_worked_out_by_hand():
    source, source_mask = _on_circle(
        {"a": 0.0, "i": 90.0}, {"a": 180.0, "o": 45.0}
    )
    target, target_mask = _on_circle({"a": 60.0}, {"i": 60.0, "u": 0.0})
    labels = torch.tensor([0, 0])
    # Target a at 60: positive at 0, 1; i at 90 and o at 45 are nearer, so the
    # farthest of them, i: 2 - sqrt 3: 1 - 0.2679 + 0.2 = 0.9321.
    # Target i at 60: positive at 90, 2 - sqrt 3 = 0.2679; negatives a at 0 (1),
    # a at 180 (3), o at 45 (0.0681); the nearest farther one is a at 0:
    # 0.2679 - 1 + 0.2 < 0, so 0.
    # Target u: no source u, so it is no anchor.
    loss = PhoneticAnchor(list(VOWELS), negative="vowel")(
        source, target, source_mask, target_mask, labels
    )
    assert loss.item() == pytest.approx((3**0.5 - 0.8) / 2, abs=1e-6)


@pytest.mark.parametrize("negative", ["emotion", "vowel"])
def test_phonetic_anchor_agrees_with_loops_over_all_triplets(negative):
    generator = torch.Generator().manual_seed(0)
    source = torch.randn(9, 6, 5, generator=generator, dtype=torch.double)
    target = torch.randn(7, 6, 5, generator=generator, dtype=torch.double)
    masks = [
        torch.rand(n, 6, generator=generator) > 0.4 for n in (len(source), 7)
    ]
    labels = torch.randint(4, (9,), generator=generator)
    chosen = ["a", "ə", "u"]

    def listed(x, mask, emotions):
        return [
            (x[n, v] / x[n, v].norm(), v, emotions[n])
            for n in range(len(x))
            for v in map(VOWELS.index, chosen)
            if mask[n, v]
        ]

    sources = listed(source, masks[0], labels.tolist())
    targets = listed(target, masks[1], [None] * 7)
    anchors, positives = sources, targets
    if negative == "vowel":
        anchors, positives = targets, sources
    losses = []
    for x, vowel, emotion in anchors:
        near = [((x - y) ** 2).sum() for y, v, _ in positives if v == vowel]
        if negative == "emotion":
            others = [y for y, v, e in sources if v == vowel and e != emotion]
        else:
            others = [y for y, v, _ in sources if v != vowel]
        far = [((x - y) ** 2).sum() for y in others]
        if not near or not far:
            continue
        farther = [d for d in far if d > min(near)]
        away = min(farther) if farther else max(far)
        losses.append(max(float(min(near) - away + 0.2), 0.0))
    anchor = PhoneticAnchor(chosen, negative, margin=0.2)
    loss = anchor(source.float(), target.float(), *masks, labels)
    assert len(losses) > 5
    assert loss.item() == pytest.approx(np.mean(losses), abs=1e-5)


@pytest.mark.parametrize("negative", ["emotion", "vowel"])
def test_masked_vowels_contribute_nothing(negative):
    generator = torch.Generator().manual_seed(1)
    source = torch.randn(8, 6, 5, generator=generator)
    target = torch.randn(8, 6, 5, generator=generator)
    mask = torch.rand(8, 6, generator=generator) > 0.3
    labels = torch.arange(8) % 4
    anchor = PhoneticAnchor(list(VOWELS), negative)
    loss = anchor(source, target, mask, mask, labels)
    source[~mask] = torch.nan
    target[~mask] = 1e6
    source.requires_grad_()
    again = anchor(source, target, mask, mask, labels)
    assert again.item() == loss.item() > 0
    again.backward()
    assert source.grad[mask].isfinite().all()
    assert not source.grad[~mask].any()


@pytest.mark.parametrize("negative", ["emotion", "vowel"])
def test_rows_without_any_vowel_are_no_error(negative):
    x = torch.randn(4, 6, 3, requires_grad=True)
    none = torch.zeros(4, 6, dtype=torch.bool)
    loss = PhoneticAnchor(list(VOWELS), negative)(
        x, x, none, none, torch.arange(4)
    )
    loss.backward()
    assert loss.item() == 0
    assert not x.grad.any()


def test_unknown_vowels_and_readings_are_refused():
    with pytest.raises(UserError, match="vowels"):
        PhoneticAnchor(["y"])
    with pytest.raises(UserError, match="use one of emotion, vowel"):
        PhoneticAnchor(["a"], negative="phone")
    with pytest.raises(UserError, match="too few"):
        PhoneticAnchor(["a", "a"], negative="vowel")
