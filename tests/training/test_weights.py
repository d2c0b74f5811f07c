"""Weights of the epochs that may be tested."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from lam_sb.errors import UserError
from lam_sb.training.weights import EpochWeights, weights_hash


@pytest.fixture
def model() -> torch.nn.Module:
    made = torch.nn.Linear(2, 1)
    made.register_buffer("steps", torch.tensor([2**40 + 1]))
    return made


def set_to(model: torch.nn.Module, value: float) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(value)


@pytest.fixture
def weights(model, tmp_path) -> EpochWeights:
    """Of the epochs 1, 2, 3 and 12, all equal to their number."""
    made = EpochWeights(tmp_path, model)
    for epoch in (1, 2, 3, 12):
        set_to(model, epoch)
        made.save(epoch)
    return made


def names(weights: EpochWeights) -> list[str]:
    return sorted(path.name for path in weights.folder.iterdir())


def test_the_weights_of_an_epoch_come_back(weights, model):
    weights.keep_tested({2, 12}, {3})
    model.steps.fill_(0)
    weights.load(2, "cpu")
    assert {p.item() for p in model.bias} == {2.0}
    assert model.weight.tolist() == [[2.0, 2.0]]
    assert model.weight.dtype == torch.float32
    assert model.steps.item() == 2**40 + 1  # no float, as it was
    weights.load(12, torch.device("cpu"))
    assert model.weight.tolist() == [[12.0, 12.0]]
    weights.load(3, "cpu")
    assert model.bias.tolist() == [3.0]
    # -9 in 126 steps of 9 / 126, rounded to 8 binary digits.
    assert model.weight.tolist() == [[12 - 126 * 0.0712890625] * 2]


def test_what_is_kept_is_what_float16_holds(weights, model):
    set_to(model, 1 / 3)
    weights.save(12)
    weights.keep_tested({12})
    weights.load(12, "cpu")
    assert model.bias.tolist() == [0.333251953125]  # 1365 / 4096


def test_a_difference_has_steps_of_a_126th_of_its_rows_largest(tmp_path):
    model = torch.nn.Linear(2, 3)
    weights = EpochWeights(tmp_path, model)
    for epoch, rows in (
        (1, [[1.984375, 2.0178], [5.0, 5.0], [0.0, 1e-6]]),
        (2, [[1.0, 2.0], [5.0, 5.0], [0.0, 0.0]]),
    ):
        with torch.no_grad():
            model.weight.copy_(torch.tensor(rows))
        weights.save(epoch)
    weights.keep_tested({2}, {1, 2})
    weights.load(1, "cpu")
    # 126 steps of 1 / 128, and the 2.28 of 0.0178 are 2.
    assert model.weight[0].tolist() == [1.984375, 2.015625]
    assert model.weight[1].tolist() == [5.0, 5.0]
    assert model.weight[2, 1].item() == pytest.approx(1e-6, rel=0.01)
    types = {n: v.dtype for n, v in load_file(weights.tested).items()}
    assert types == {
        "00001/weight": torch.int8,
        "00001/weight/scale": torch.bfloat16,
        "00001/bias": torch.float16,
        "00002/weight": torch.float16,
        "00002/bias": torch.float16,
    }


def test_half_or_a_quarter_of_the_disk(tmp_path):
    model = torch.nn.Linear(512, 512, bias=False)
    weights = EpochWeights(tmp_path, model)
    for epoch in range(1, 12):
        torch.nn.init.normal_(model.weight)
        weights.save(epoch)
    weights.keep_tested({1, 11}, range(1, 12))
    whole = sum(p.stat().st_size for p in weights.folder.iterdir())
    assert weights.tested.stat().st_size < 0.3 * whole  # 13 of 44
    weights.keep_tested({11})
    assert weights.tested.stat().st_size < 0.5 * whole / 11 + 500


def test_the_same_weights_are_the_same_bytes(weights, model, tmp_path):
    assert weights_hash(tmp_path) is None
    weights.keep_tested({3, 12}, {2})
    first = weights.tested.read_bytes(), weights_hash(tmp_path)
    weights.keep_tested([12, 3], [2, 3, 12])
    again = weights.tested.read_bytes(), weights_hash(tmp_path)
    assert again == first
    assert len(first[1]) == 16
    weights.keep_tested({2, 12}, {3})
    assert weights_hash(tmp_path) != first[1]


@pytest.mark.parametrize("value", [7e4, float("inf"), float("nan")])
@pytest.mark.parametrize("epoch", [3, 12])
def test_what_float16_does_not_hold_is_said_not_kept(
    epoch, value, weights, model, tmp_path
):
    weights.keep_tested({12})
    before = weights_hash(tmp_path)
    set_to(model, 1.0)
    with torch.no_grad():
        model.weight[0, 1] = value
        model.bias[0] = value
    weights.save(epoch)
    message = rf"diverged in epoch {epoch}: weights of (bias|weight), kept in "
    with pytest.raises(UserError, match=message + r"float16 \(to 65504\)"):
        weights.keep_tested({12}, {3})
    assert weights_hash(tmp_path) == before


def test_weights_that_are_not_there_are_named(weights):
    with pytest.raises(UserError, match="the weights to test, is missing"):
        weights.load(2, "cpu")
    weights.keep_tested({12})
    with pytest.raises(UserError, match="lacks the epoch 2"):
        weights.load(2, "cpu")


def test_they_lie_beside_the_checkpoints_a_file_an_epoch(weights, tmp_path):
    numbers = ("00001", "00002", "00003", "00012")
    assert names(weights) == [f"{n}.safetensors" for n in numbers]
    assert weights.path(12) == tmp_path / "weights/00012.safetensors"
    assert weights.path(12).is_file()


def test_only_those_asked_for_are_kept(weights):
    weights.keep_only({2, 12, 40})
    assert names(weights) == ["00002.safetensors", "00012.safetensors"]
    weights.keep_only(())
    assert names(weights) == []


def test_weights_that_cannot_be_written_leave_the_old_ones(weights, model):
    set_to(model, 5)
    weights.path(3).unlink()
    weights.path(3).mkdir()
    with pytest.raises(UserError, match="cannot be written"):
        weights.save(3)
    assert len(names(weights)) == 4  # and no temporary file
    assert load_file(weights.path(2))["bias"].tolist() == [2.0]


def test_who_may_read_the_folder_may_read_the_weights(tmp_path):
    """safetensors would keep them to whoever wrote them."""
    (tmp_path / "plain").write_text("")
    weights = EpochWeights(tmp_path, torch.nn.Linear(2, 2))
    weights.save(1)
    weights.keep_tested([1])
    mode = (tmp_path / "plain").stat().st_mode
    assert weights.path(1).stat().st_mode == mode
    assert weights.tested.stat().st_mode == mode
