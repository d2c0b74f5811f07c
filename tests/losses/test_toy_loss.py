"""A loss of a user's own: one file, and the YAML that names it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from runs import weights_of
from speechbrain.utils.run_opts import RunOptions

import train
from lam_sb.errors import UserError
from lam_sb.run import load_run
from lam_sb.training.alignment import (
    AlignmentInputs,
    alignment_parameters,
    call_alignment,
)
from lam_sb.training.rows import Batch, Outputs

HPARAMS = Path(__file__).parents[2] / "hparams"
LOSS = '''
"""Distance of the domains' means."""

import torch


class MeanDistance(torch.nn.Module):
    keys = ("segment", "anchor_layers")

    def __init__(self, power):
        super().__init__()
        self.power = power
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, source, target):
        distance = (source.mean(0) - target.mean(0)).norm(dim=-1)
        return (self.scale * distance.pow(self.power)).sum()


def spread(source_embeddings, target_embeddings, labels, factor=1.0):
    assert len(labels) == len(source_embeddings)
    assert bool((labels >= 0).all())
    return factor * target_embeddings.square().mean()
'''
SYSTEM = """\
base: {base}
experiment: toy
system: toy
alignment: {alignment}
{modules}
"""
MODULES = """\
modules:
    projector: !ref <projector>
    pooling: !ref <pooling>
    head: !ref <head>
    alignment: !ref <alignment>
"""


@pytest.fixture
def run(tmp_path, corpora, wavlm):
    """Train with a YAML in a folder of the user's own; give results.json."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/my_losses.py").write_text(LOSS)

    def make(alignment: str, *keys: str, modules: str = "") -> dict:
        yaml = tmp_path / "mine/toy.yaml"
        base = HPARAMS / "small/lam_gl.yaml"
        yaml.write_text(
            SYSTEM.format(base=base, alignment=alignment, modules=modules)
        )
        values = {
            "data_folder": corpora,
            "encoder_source": wavlm,
            "feature_folder": tmp_path / "features",
            "output_root": tmp_path / "results",
            "source": "left",
            "target": "right",
            "batch_size": 8,
            "max_steps": 6,
            "projection_dim": 8,
            "num_heads": 2,
        }
        options = [f"--{key}={value}" for key, value in values.items()]
        train.main([str(yaml), *options, *keys])
        path = tmp_path / "results/toy/left-right/0/results.json"
        return json.loads(path.read_text())

    return make


def test_a_loss_of_ones_own_trains_without_another_edit(run, tmp_path):
    results = run(
        "!new:my_losses.MeanDistance\n    power: 2",
        "--anchor_layers=[2]",
        modules=MODULES,
    )
    assert results["alignment"] == "MeanDistance"
    assert results["anchor_layers"] == [2]
    settings = tmp_path / "results/toy/left-right/0/settings.yaml"
    assert "power: 2" in settings.read_text()
    learned = weights_of(settings.parent)
    assert learned["alignment.scale"] != 1


def test_weights_that_nobody_trains_are_refused(run):
    with pytest.raises(UserError, match="add to the YAML's modules"):
        run("!new:my_losses.MeanDistance\n    power: 2", "--anchor_layers=[2]")


def test_a_function_will_do_and_says_by_its_parameters_what_it_takes(run):
    alignment = "!name:my_losses.spread\n    factor: 0.5"
    results = run(alignment, "--anchor_layers=[1]")
    assert results["alignment"] == "spread"


def test_a_key_that_the_loss_does_not_list_is_refused(run):
    with pytest.raises(UserError, match="has no use for scale"):
        run("!new:my_losses.MeanDistance\n    power: 2", "--scale=frobenius")


def make_inputs(**changes) -> AlignmentInputs:
    """Of 3 source and 2 target rows, one segment, two layers of width 2."""
    labels = torch.tensor([0, 1, 2, -1, -1])
    embeddings = torch.arange(10.0).reshape(5, 2)
    segments = torch.arange(20.0).reshape(5, 1, 2, 2)
    mask = torch.ones(5, 1, dtype=torch.bool)
    given = {
        "outputs": Outputs(embeddings, embeddings, segments, mask),
        "batch": Batch(torch.zeros(0), torch.zeros(0), labels, 3),
        "pooling": lambda z: z.sum(2),
        "anchored": [1],
        "num_support": 0,
    }
    return AlignmentInputs(**(given | changes))


def test_all_inputs_are_what_they_are_called():
    inputs = make_inputs()
    assert inputs.source.tolist() == [[[2, 3]], [[6, 7]], [[10, 11]]]
    assert inputs.target.tolist() == [[[14, 15]], [[18, 19]]]
    assert inputs.source_segments.tolist() == [[[2, 4]], [[10, 12]], [[18, 20]]]
    assert inputs.target_segments.tolist() == [[[26, 28]], [[34, 36]]]
    assert inputs.source_mask.shape == (3, 1)
    assert inputs.target_mask.shape == (2, 1)
    assert inputs.source_embeddings.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert inputs.target_embeddings.tolist() == [[6, 7], [8, 9]]
    assert inputs.labels.tolist() == [0, 1, 2]


def test_support_rows_are_not_aligned():
    inputs = make_inputs(num_support=2)
    assert inputs.source.tolist() == [[[10, 11]]]
    assert inputs.labels.tolist() == [2]
    assert len(inputs.target) == 2


def test_a_parameter_that_nobody_can_give_is_one_sentence():
    with pytest.raises(UserError, match=r"asks for 'weights'.*source_mask"):
        alignment_parameters(lambda source, weights: 0)


def test_other_parameters_may_have_defaults_or_any_name():
    def loss(target, *more, weight=2.0, labels=None, **others):
        assert not more
        assert not others
        return weight * target.sum()

    assert alignment_parameters(loss) == ["target", "labels"]
    assert call_alignment(loss, make_inputs()) == 2 * (14 + 15 + 18 + 19)


@pytest.mark.parametrize("value", [None, torch.ones(2), 1.0])
def test_a_loss_that_is_no_scalar_is_one_sentence(value):
    with pytest.raises(UserError, match="no scalar tensor"):
        call_alignment(lambda source: value, make_inputs())


def test_no_layer_to_align_is_an_error_not_a_loss_of_nothing():
    with pytest.raises(UserError, match="none of the mixed layers is anchored"):
        call_alignment(lambda source: source.sum(), make_inputs(anchored=[]))


def test_the_systems_losses_are_loaded_with_their_keys(tmp_path, wavlm):
    keys = {"data_folder": str(tmp_path), "encoder_source": str(wavlm)}
    keys["anchor_layers"] = [1]
    path = str(HPARAMS / "small/lam_gl.yaml")
    hparams, _ = load_run(path, RunOptions(), keys)
    assert set(hparams["alignment"].keys) == {
        *("segment", "anchor_layers", "scale", "reduce")
    }
