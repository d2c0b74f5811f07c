"""Weights of the epochs that may be tested."""

from __future__ import annotations

import pytest
import torch

from lam_sb.errors import UserError
from lam_sb.training.weights import EpochWeights


@pytest.fixture
def model() -> torch.nn.Module:
    return torch.nn.Linear(2, 1)


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
    weights.load(2, "cpu")
    assert {p.item() for p in model.bias} == {2.0}
    assert model.weight.tolist() == [[2.0, 2.0]]
    weights.load(12, torch.device("cpu"))
    assert model.weight.tolist() == [[12.0, 12.0]]


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
    weights.load(2, "cpu")
    assert model.bias.item() == 2.0
