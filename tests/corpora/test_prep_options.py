"""Options of corpora, as the YAML gives them to train.py."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from toy_originals import esd_names, write_named

import train
from lam_sb.corpora.manifests import SPLITS
from lam_sb.errors import UserError


def hparams_of(folder: Path, **changes) -> dict:
    keys = dict.fromkeys(("folds", "fold"), 0) | {
        **{"skip_prep": False, "protocol": "speakers", "split_seed": 0},
        **{"min_duration": 0.1, "max_duration": None, "label_map": {}},
        **{"source": "esd_en", "target": "esd_zh"},
        **{"source_folder": folder, "target_folder": folder},
        **{"source_options": {"reader": "esd", "language": "en"}},
        **{"target_options": {"reader": "esd", "language": "zh"}},
        "manifest_folder": folder.parent / "manifests",
    }
    return keys | changes


def test_each_corpus_has_the_options_of_its_own_reader(tmp_path):
    folder = write_named(tmp_path / "esd", esd_names())
    hparams = hparams_of(folder, label_map={"Surprise": "happy"})
    hparams["source_options"]["label_map"] = {"Surprise": "angry"}
    train.prepare(hparams)
    for corpus, emo in (("esd_en", "angry"), ("esd_zh", "happy")):
        rows = {}
        for split in SPLITS:
            path = tmp_path / f"manifests/{corpus}/{split}.json"
            rows |= json.loads(path.read_text("utf-8"))
        assert {r["language"] for r in rows.values()} == {corpus[-2:]}
        surprised = [r["emo"] for i, r in rows.items() if i[-2:] >= "12"]
        assert set(surprised) == {emo}


def test_one_name_cannot_be_two_corpora(tmp_path):
    folder = write_named(tmp_path / "esd", esd_names())
    hparams = hparams_of(folder, source="esd", target="esd")
    with pytest.raises(UserError, match="both named esd"):
        train.prepare(hparams)


def test_options_must_be_a_mapping(tmp_path):
    hparams = hparams_of(tmp_path, target_options="language")
    with pytest.raises(UserError, match=re.escape("target_options of esd_zh")):
        train.prepare(hparams)
