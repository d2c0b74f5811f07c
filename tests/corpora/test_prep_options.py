"""Options of each corpus's own reader, given to the two corpora of a run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from conftest import ROOT
from toy_corpora import by_speaker, write_corpus_of
from toy_originals import esd_names, write_named

from lam_sb.corpora.manifests import SPLITS
from lam_sb.corpora.options import PrepOptions
from lam_sb.corpora.pair import prepare_pair
from lam_sb.errors import UserError


def prepare(folder: Path, **changes) -> None:
    keys = {
        **{"source": "esd_en", "target": "esd_zh", "label_map": {}},
        **{"source_folder": folder, "target_folder": folder},
        **{"source_options": {"reader": "esd", "language": "en"}},
        **{"target_options": {"reader": "esd", "language": "zh"}},
        "manifest_folder": folder.parent / "manifests",
        "options": PrepOptions(),
        "readers_folder": ROOT / "data_prep",
    }
    prepare_pair(**keys | changes)


def test_each_corpus_has_the_options_of_its_own_reader(tmp_path):
    folder = write_named(tmp_path / "esd", esd_names())
    own = {
        "reader": "esd",
        "language": "en",
        "label_map": {"Surprise": "angry"},
    }
    prepare(folder, label_map={"Surprise": "happy"}, source_options=own)
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
    with pytest.raises(UserError, match="both named esd"):
        prepare(folder, source="esd", target="esd")


def test_options_must_be_a_mapping(tmp_path):
    with pytest.raises(UserError, match=re.escape("target_options of esd_zh")):
        prepare(tmp_path, target_options="language")


@pytest.mark.parametrize("speakers", [1, 2])
def test_a_source_needs_speakers_to_validate_on(speakers, tmp_path):
    for name, number in (("many", 6), ("few", speakers)):
        write_corpus_of(tmp_path / name, by_speaker(number))

    def run(source: str, target: str) -> None:
        keys = {"source": source, "target": target}
        keys |= {f"{role}_folder": tmp_path / keys[role] for role in keys}
        keys |= {"source_options": {}, "target_options": {}}
        keys["options"] = PrepOptions(protocol="transductive")
        prepare(tmp_path / "any", **keys)

    run("many", "few")
    if speakers == 2:
        run("few", "many")
    else:
        with pytest.raises(UserError, match="All rows of few are of one"):
            run("few", "many")
