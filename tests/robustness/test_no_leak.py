"""What nobody may see decides nothing: to the last bit, from end to end."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import HPARAMS, RATE, SMALL, make_corpus, read_table, write_table
from forked import run
from runs import folder_of, outcome, results_of

QUICK = ("cc", "ensemble", "lam_gl")  # in every call; the others under -m slow
SYSTEMS = [
    pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow)
    for name in sorted(path.stem for path in (HPARAMS / "small").glob("*.yaml"))
    if name not in ("settings", "pc", "pc_avg", "pc_atn", "few_shot")
]


def words(root: Path, data: Path, wavlm: Path, system: str, **keys) -> list:
    folders = {
        **{"data_folder": data, "encoder_source": wavlm},
        **{"feature_folder": root.parent / "features"},
        **{"output_root": root, "max_steps": 6, "average_last_steps": 3},
    }
    pairs = SMALL | folders | keys
    if system == "ensemble":
        for key in ("batch_size", "number_of_epochs", "average_last_steps"):
            del pairs[key]
        for key in ("num_heads", "projection_dim", "ffn_dim", "max_steps"):
            del pairs[key]
    if system in ("cc", "ensemble", "best_layer", "lam_plus"):
        del pairs["anchor_layers"]
    given = [f"--{key}={value}" for key, value in pairs.items()]
    return [str(HPARAMS / f"small/{system}.yaml"), "--noprogressbar", *given]


def relabel(data: Path, corpus: str, how: str) -> None:
    """Deal the labels of a corpus anew, or take them all away."""
    path = data / corpus / "labels.csv"
    table = read_table(path)
    labels = [row["emotion"] for row in table]
    dealt = np.random.default_rng(0).permutation(labels).tolist()
    for row, label in zip(table, dealt, strict=True):
        row["emotion"] = label if how == "permuted" else ""
    write_table(path, table)


def learned(folder: Path) -> tuple:
    """Weights and posteriors."""
    rows = outcome(folder)[1]
    return results_of(folder).get("weights_hash"), [
        {k: v for k, v in row.items() if k != "label"} for row in rows
    ]


@pytest.mark.parametrize("how", ["permuted", "deleted"])
@pytest.mark.parametrize("system", SYSTEMS)
def test_labels_of_the_target(how, system, corpora, wavlm, tmp_path):
    data = shutil.copytree(corpora, tmp_path / "data")
    given = words(tmp_path / "one", data, wavlm, system)
    ended = run(given)
    assert ended.code == 0, ended.said
    relabel(data, "right", how)
    other = words(tmp_path / "two", data, wavlm, system)
    ended = run(other)
    assert ended.code == 0, ended.said
    assert learned(folder_of(given)) == learned(folder_of(other))


@pytest.mark.slow
@pytest.mark.parametrize("how", ["permuted", "deleted"])
def test_labels_of_two_targets(how, corpora, wavlm, tmp_path):
    data = shutil.copytree(corpora, tmp_path / "data")
    for n, name in enumerate(("third", "fourth"), start=3):
        make_corpus(data / name, seed=n)
    keys = {"source": "[left,third]", "target": "[right,fourth]"}
    folders = []
    for root in ("one", "two"):
        given = words(tmp_path / root, data, wavlm, "lam_gl", **keys)
        assert run(given).code == 0
        folders.append(folder_of(given))
        for name in ("right", "fourth"):
            relabel(data, name, how)
    for name in ("right", "fourth"):
        one, two = (learned(folder / name) for folder in folders)
        assert one == two


def test_the_audio_of_a_test_row_of_other_speakers(corpora, wavlm, tmp_path):
    """Under ``speakers`` no other row's posteriors hear of it."""
    data = shutil.copytree(corpora, tmp_path / "data")
    keys = {"protocol": "speakers", "normalise": "domain"}
    given = words(tmp_path / "one", data, wavlm, "lam_gl", **keys)
    assert run(given).code == 0
    before = learned(folder_of(given))
    changed = before[1][0]["id"]
    (path,) = (data / "right/audio").glob(f"{Path(changed).stem}*")
    noise = 0.2 * np.random.default_rng(0).standard_normal(6000)
    soundfile.write(path, noise, RATE)
    other = words(tmp_path / "two", data, wavlm, "lam_gl", **keys)
    assert run(other).code == 0
    after = learned(folder_of(other))
    assert after[0] == before[0]
    differing = [
        one["id"]
        for one, two in zip(before[1], after[1], strict=True)
        if one != two
    ]
    assert differing == [changed]


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_same_seed_gives_the_same_bits(system, corpora, wavlm, tmp_path):
    folders = []
    for name in ("one", "two"):
        given = words(tmp_path / name, corpora, wavlm, system)
        ended = run(given)
        assert ended.code == 0, ended.said
        folders.append(folder_of(given))
    assert learned(folders[0]) == learned(folders[1])
    assert outcome(folders[0])[0]["uar"] == outcome(folders[1])[0]["uar"]
