import numpy as np
import pytest
import torch

from lam_sb.corpora.phones import VOWELS
from lam_sb.errors import UserError
from lam_sb.losses.adversary import DomainAdversary
from lam_sb.losses.coral import LayerCoral, covariance
from lam_sb.losses.cross_entropy import balanced_weights, weighted_cross_entropy
from lam_sb.losses.phonetic import PhoneticAnchor
from lam_sb.losses.prototypes import class_means, prototype_logits
from lam_sb.models.projector import LayerProjector


def _numpy_coral(source, target, scale):
    total = 0.0
    for layer in range(source.shape[1]):
        s, t = source[:, layer].numpy(), target[:, layer].numpy()
        difference = np.cov(s.astype(np.float64), rowvar=False) - np.cov(
            t.astype(np.float64), rowvar=False
        )
        norm, d = np.sqrt((difference**2).sum()), s.shape[1]
        total += {
            "frobenius": norm,
            "per_dim": norm / d,
            "deep_coral": norm**2 / (4 * d**2),
        }[scale]
    return total


@pytest.mark.parametrize("scale", ["frobenius", "per_dim", "deep_coral"])
def test_coral_agrees_with_numpy_covariances_in_float64(scale):
    generator = torch.Generator().manual_seed(0)
    source = torch.randn(64, 3, 32, generator=generator) * 3 + 5
    target = torch.randn(48, 3, 32, generator=generator)
    expected = _numpy_coral(source, target, scale)
    assert LayerCoral(scale)(source, target).item() == pytest.approx(
        expected, rel=1e-4
    )
    mean = LayerCoral(scale, reduce="mean")(source, target).item()
    assert mean == pytest.approx(expected / 3, rel=1e-4)


def test_coral_of_a_case_worked_out_by_hand():
    # Source: x = -1, 0, 1 and y = 2x: variances 1 and 4, covariance 2.
    # Target: x = -1, 0, 1 and y = 0: variance 1, everything else 0.
    # Difference [[0, 2], [2, 4]]: Frobenius norm sqrt(4 + 4 + 16).
    x = torch.tensor([-1.0, 0.0, 1.0])
    source = torch.stack([x, 2 * x], dim=-1)[:, None]
    target = torch.stack([x, 0 * x], dim=-1)[:, None]
    root = 24**0.5
    assert LayerCoral()(source, target).item() == pytest.approx(root)
    per_dim = LayerCoral("per_dim")(source, target).item()
    assert per_dim == pytest.approx(root / 2)
    squared = LayerCoral("deep_coral")(source, target).item()
    assert squared == pytest.approx(24 / 16)


def test_coral_ignores_the_means_of_the_domains():
    z = torch.randn(16, 2, 8)
    assert LayerCoral()(z, z + 7).item() == pytest.approx(0, abs=1e-4)


def test_gradient_reaches_the_projector_and_is_finite_when_domains_are_equal():
    project = LayerProjector([1, 2], input_dim=6, projection_dim=4)
    x = torch.randn(8, 1, 2, 6)
    z_source, z_target = project(x)[:, 0], project(2 * x)[:, 0]
    LayerCoral()(z_source, z_target).backward()
    assert project.weight.grad.abs().sum() > 0
    project.zero_grad()
    LayerCoral()(project(x)[:, 0], project(x)[:, 0]).backward()
    assert torch.equal(
        project.weight.grad, torch.zeros_like(project.weight.grad)
    )


@pytest.mark.parametrize("rows", [0, 1])
def test_coral_of_fewer_than_two_rows_is_0(rows):
    source = torch.randn(8, 3, 4, requires_grad=True)
    target = torch.randn(rows, 3, 4, requires_grad=True)
    for pair in ((source, target), (target, source)):
        loss = LayerCoral()(*pair)
        loss.backward()
        assert loss.item() == 0
    assert not source.grad.any()


def test_coral_stays_in_float32_under_autocast():
    source, target = torch.randn(64, 1, 32), torch.randn(64, 1, 32)
    exact = LayerCoral()(source, target)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(LayerCoral()(source, target), exact)


def test_covariance_divides_by_n_minus_one():
    z = torch.tensor([0.0, 1.0, 2.0, 3.0])[:, None, None]
    assert covariance(z).item() == pytest.approx(5 / 3)


def test_unknown_scale_and_reduction_are_refused():
    with pytest.raises(UserError, match="frobenius, per_dim, deep_coral"):
        LayerCoral("frobnius")
    with pytest.raises(UserError, match="sum, mean"):
        LayerCoral(reduce="max")


def test_cross_entropy_divides_by_rows_and_skips_hidden_labels():
    # Even logits give log 4 a row; weights 1 and 3, one row hidden.
    logits = torch.zeros(3, 4)
    labels = torch.tensor([0, 1, -1])
    weight = torch.tensor([1.0, 3.0, 1.0, 1.0])
    loss = weighted_cross_entropy(logits, labels, weight)
    assert loss.item() == pytest.approx((1 + 3) * np.log(4) / 2)


def test_balanced_weights_give_each_class_the_same_total():
    labels = torch.tensor([0] * 6 + [1] * 3 + [2] * 2 + [3])
    weights = balanced_weights(labels, 4)
    totals = weights * torch.bincount(labels)
    assert torch.allclose(totals, torch.full((4,), 3.0))


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


def test_the_adversary_learns_the_domains_and_sends_back_the_opposite():
    torch.manual_seed(0)
    adversary = DomainAdversary(dim=4)
    source = torch.randn(8, 4, requires_grad=True)
    target = torch.randn(6, 4, requires_grad=True)
    loss = adversary(source, target)
    logits = [adversary.classifier(x)[:, 0] for x in (source, target)]
    entropy = torch.nn.functional.binary_cross_entropy_with_logits
    expected = [
        entropy(logit, torch.full_like(logit, label))
        for logit, label in zip(logits, (1.0, 0.0), strict=True)
    ]
    plain = sum(expected) / 2  # each domain counts the same
    assert loss.item() == pytest.approx(plain.item())
    weights = list(adversary.parameters())
    for got, same in zip(
        torch.autograd.grad(loss, weights, retain_graph=True),
        torch.autograd.grad(plain, weights, retain_graph=True),
        strict=True,
    ):
        assert torch.allclose(got, same)
    for got, opposite in zip(
        torch.autograd.grad(loss, [source, target]),
        torch.autograd.grad(plain, [source, target]),
        strict=True,
    ):
        assert torch.allclose(got, -opposite)
        assert got.any()


def test_the_nearest_class_mean_wins():
    x = torch.tensor([[0.0, 0.0], [0.0, 2.0], [4.0, 0.0], [9.0, 9.0]])
    means = class_means(x, torch.tensor([0, 0, 1, -1]), 3)
    assert means[:2].tolist() == [[0.0, 1.0], [4.0, 0.0]]
    assert means[2].isnan().all()
    logits = prototype_logits(torch.tensor([[1.0, 1.0]]), means[:2])
    assert logits.tolist() == [[-1.0, -10.0]]  # squared, Euclidean
