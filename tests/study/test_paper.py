from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from lam_sb.config import flatten
from lam_sb.corpora.manifests import EMOTIONS
from lam_sb.evaluation.catalogue import ABLATIONS, BASELINES
from lam_sb.evaluation.comparisons import Column
from lam_sb.study.report.paper import (
    TABLES,
    paper_emotion_uar,
    paper_layers,
    paper_uar,
)

HPARAMS = Path(__file__).parents[2] / "hparams"
THERE = Column("whisper", "msp_podcast", "biic_podcast")
BACK = Column("whisper", "biic_podcast", "msp_podcast")
OTHER = Column("whisper", "msp_podcast", "esd")


def test_numbers_stand_where_the_paper_has_them():
    assert paper_uar("pc_atn", THERE) == 58.92
    assert paper_uar("pc_atn", BACK) == 56.10
    assert paper_uar("pc_atn", THERE._replace(encoder="wavlm")) == 58.83
    assert paper_uar("pc_atn", BACK._replace(encoder="wavlm")) == 55.64
    assert paper_emotion_uar("lam_gl_vowl", THERE, "happy") == 75.02
    assert paper_layers("lam_gl_cons", BACK) == [3, 5, 6]
    assert paper_layers("lam_rl2", THERE) == [1, 5, 12]


def test_the_paper_has_no_other_numbers():
    assert paper_uar("few_shot_0", THERE) is None
    assert paper_uar("layer_atn", THERE) is None
    assert paper_uar("cc", OTHER) is None
    assert paper_uar("cc", THERE._replace(encoder="whisper-base")) is None
    assert paper_emotion_uar("lam_gl", BACK, "sad") is None
    assert paper_emotion_uar("cc", THERE, "sad") is None
    assert paper_layers("lam_gl", OTHER) is None
    assert paper_layers("cc", THERE) is None


def test_table_2_is_complete_and_lam_gl_is_its_best():
    systems = BASELINES.keys() - {"few_shot_0", "best_layer"} | {
        "lam_gl",
        *ABLATIONS,
    }
    assert len(TABLES["uar"]) == 4
    for uars in TABLES["uar"].values():
        assert uars.keys() == systems
        assert max(uars, key=uars.get) == "lam_gl"


@pytest.mark.parametrize("encoder", ["wavlm", "whisper"])
def test_one_vs_rest_agrees_with_table_2(encoder):
    # For balanced classes the mean of the four is (2 U + 1) / 3.
    column = THERE._replace(encoder=encoder)
    scores = [paper_emotion_uar("lam_gl", column, e) for e in EMOTIONS]
    expected = (2 * paper_uar("lam_gl", column) + 100) / 3
    assert sum(scores) / 4 == pytest.approx(expected, abs=0.6)


@pytest.mark.parametrize("encoder", ["wavlm", "whisper"])
@pytest.mark.parametrize("system", [*TABLES["layers"][THERE.label]])
def test_the_recipes_anchor_what_the_paper_says(system, encoder):
    text = flatten(HPARAMS / f"{system}_{encoder}.yaml")
    value = re.search(r"^anchor_layers: (.*)$", text, re.MULTILINE)[1]
    layers = yaml.safe_load(value)
    found = [*range(1, 13)] if layers == "all" else layers
    column = THERE._replace(encoder=encoder)
    assert found == paper_layers(system, column)
