"""Every system of Table 2, on the demo's corpora and a tiny encoder."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from conftest import HPARAMS, read_table
from runs import same_weights, weights_of

import train
from lam_sb.corpora.manifests import EMOTIONS
from lam_sb.errors import UserError

SYSTEMS = {  # layers that are mixed, of 12, and what aligns the domains
    "cc": ([12], "none"),
    "ensemble": ([12], "none"),
    "few_shot": ([12], "DomainAdversary"),
    "pc": ([12], "PhoneticAnchor"),
    "pc_avg": ([*range(1, 13)], "PhoneticAnchor"),
    "pc_atn": ([*range(1, 13)], "PhoneticAnchor"),
    "layer_atn": ([*range(1, 13)], "none"),
    "layer_drop": (None, "none"),
    **dict.fromkeys(
        ("lam_gl", "lam_al", "lam_bl", "lam_wl", "lam_rl1", "lam_rl2"),
        ([*range(1, 13)], "LayerCoral"),
    ),
    **dict.fromkeys(
        ("lam_rl3", "lam_gl_vowl", "lam_gl_cons"),
        ([*range(1, 13)], "LayerCoral"),
    ),
}
# The paper's Table 1, and its random draws.
ANCHORS = {
    "wavlm": {"lam_gl": [8, 9, 11], "lam_bl": [11], "lam_wl": [5, 6, 7]},
    "whisper": {"lam_gl": [1, 2, 3], "lam_bl": [2], "lam_wl": [7, 10, 11]},
}
ANCHORS["wavlm"] |= {"lam_gl_vowl": [8, 9, 11], "lam_gl_cons": [9, 10, 11]}
ANCHORS["whisper"] |= {"lam_gl_vowl": [1, 3, 5], "lam_gl_cons": [3, 5, 6]}
for own in ANCHORS.values():
    own |= {"lam_al": [*range(1, 13)], "lam_rl1": [2, 6, 9]}
    own |= {"lam_rl2": [1, 5, 12], "lam_rl3": [3, 7, 11]}
    own |= {"layer_atn": own["lam_gl"], "layer_drop": own["lam_gl"]}
FILES = [(s, e) for s in SYSTEMS for e in ANCHORS]
BACK = [(s, "wavlm") for s in ("cc", "ensemble", "few_shot", "pc", "lam_gl")]
DIRECTIONS = [
    *((*file, "msp_podcast", "biic_podcast") for file in FILES),
    *((*file, "biic_podcast", "msp_podcast") for file in BACK),
]


def test_each_system_has_a_file_for_each_encoder():
    files = {path.stem for path in HPARAMS.glob("*.yaml")} - {"demo"}
    named = {f"{system}_{encoder}" for system, encoder in FILES}
    assert named <= files


@pytest.mark.parametrize(("system", "encoder", "source", "target"), DIRECTIONS)
def test_a_system_trains_and_tests(
    system, encoder, source, target, train_system
):
    results, folder = train_system(
        system, encoder, source=source, target=target
    )
    layers, alignment = SYSTEMS[system]
    anchors = ANCHORS[encoder].get(system, [])
    if layers is None:
        layers = [n for n in range(1, 13) if n not in anchors]
    assert results["system"] == system
    assert (results["source"], results["target"]) == (source, target)
    assert results["layers"] == layers
    assert results["alignment"] == alignment
    assert results["anchor_layers"] == anchors
    assert results["gamma"] == (0 if alignment == "none" else 0.5)
    assert 0 <= results["uar"] <= 1
    table = read_table(folder / "predictions.csv")
    assert len(table) == results["n_test"] > 50
    for row in table:
        shares = [float(row[emotion]) for emotion in EMOTIONS]
        assert sum(shares) == pytest.approx(1, abs=1e-6)
        assert row["prediction"] == EMOTIONS[shares.index(max(shares))]
    if system != "ensemble":
        assert results["epochs"] == 2
        weights = results["layer_weights"]
        assert list(weights) == [str(n) for n in layers]
        fixed = system in ("pc_avg", "cc", "pc", "few_shot")
        assert (len(set(weights.values())) == 1) == fixed
    segment = {"lam_gl_vowl": "vowels", "lam_gl_cons": "consonants"}
    segment |= dict.fromkeys(("pc", "pc_avg", "pc_atn"), "vowel_classes")
    assert results["segment"] == segment.get(system, "utterance")
    for corpus in ("source", "target"):  # all of the demo is aligned
        rows = results[f"n_train_{corpus}"]
        assert results[f"n_segment_{corpus}"] == rows
    expected = 20 if system == "few_shot" else 0
    assert results["target_labels_used"] == expected


@pytest.mark.parametrize("negative", ["emotion", "vowel"])
def test_the_phonetic_anchor_changes_what_is_learned(negative, train_system):
    results, with_anchor = train_system("pc", negative=negative)
    off, without = train_system("pc", gamma=0, experiment="off")
    assert (results["alignment"], off["alignment"]) == (
        "PhoneticAnchor",
        "none",
    )
    _, control = train_system("cc")
    same, other = weights_of(control), weights_of(with_anchor)
    for name, values in weights_of(without).items():
        assert torch.allclose(values, same[name], atol=1e-6), name
    changed = [n for n in same if not torch.allclose(same[n], other[n], 1e-3)]
    assert "projector.weight" in changed


def test_lam_with_gamma_0_is_layer_atn(train_system):
    _, off = train_system("lam_gl", gamma=0)
    _, control = train_system("layer_atn")
    assert same_weights(off, control)


def test_the_ensemble_needs_no_full_batch(train_system, corpora, tmp_path):
    keys = {"source": "left", "target": "right", "data_folder": corpora}
    keys["manifest_folder"] = tmp_path / "manifests"
    results, _ = train_system("ensemble", **keys)
    assert 0 < results["n_train_source"] < 64
    with pytest.raises(UserError, match="fewer than one batch of 64"):
        train_system("cc", **keys)


@pytest.mark.parametrize(
    ("system", "key", "value"),
    [
        ("cc", "anchor_layers", "[1]"),
        ("cc", "gamma", 0.1),
        ("layer_atn", "scale", "per_dim"),
        ("layer_drop", "segment", "vowels"),
        ("ensemble", "lr", 0.1),
        ("ensemble", "batch_size", 8),
        ("few_shot", "batch_size", 8),
        ("few_shot", "class_weight", "none"),
        ("pc", "anchor_layers", "[1]"),
        ("pc", "reduce", "mean"),
        ("lam_gl", "target_shots", 5),
        ("lam_gl", "negative", "vowel"),
    ],
)
def test_a_key_without_use_is_refused(
    system, key, value, train_system, encoders, tmp_path
):
    message = f"the system {system} has no use for {key}"
    with pytest.raises(UserError, match=f"command line: {message}"):
        train_system(system, **{key: value})
    path = tmp_path / "own.yaml"
    base = HPARAMS / f"{system}_wavlm.yaml"
    path.write_text(f"base: {base}\n{key}: {value}\n")
    with pytest.raises(UserError, match=f"own.yaml: {message}"):
        train.main(
            [
                str(path),
                "--data_folder=/d",
                f"--encoder_source={encoders['wavlm']}",
            ]
        )


def test_segments_need_alignments(train_system, demo, tmp_path):
    data = tmp_path / "unaligned"
    shutil.copytree(demo, data)
    shutil.rmtree(data / "biic_podcast/ForceAligned")
    keys = {"data_folder": data, "manifest_folder": tmp_path / "manifests"}
    with pytest.raises(UserError, match=r"rows of target_train \(biic_pod"):
        train_system("pc", **keys)
    with pytest.raises(UserError, match="segment is 'utterance'"):
        train_system("pc", segment="utterance", **keys)


@pytest.mark.parametrize("system", ["lam_gl_cons", "pc"])
def test_rows_without_the_segment_are_masked_and_counted(
    system, train_system, demo, tmp_path
):
    data, manifests = tmp_path / "partly", tmp_path / "manifests"
    shutil.copytree(demo, data)
    for corpus in ("msp_podcast", "biic_podcast"):
        grids = sorted((data / corpus / "ForceAligned").glob("*.TextGrid"))
        for path in grids[::3]:
            path.unlink()
    results, folder = train_system(
        system, data_folder=data, manifest_folder=manifests
    )
    for part, corpus in (("source", "msp"), ("target", "biic")):
        path = manifests / f"{corpus}_podcast/train.json"
        rows = [r for r in json.loads(path.read_text()).values() if r["emo"]]
        aligned = sum(bool(row["phones"]) for row in rows)
        assert 0 < aligned < len(rows) == results[f"n_train_{part}"]
        assert results[f"n_segment_{part}"] == aligned
    assert all(v.isfinite().all() for v in weights_of(folder).values())
    _, whole = train_system(system, experiment="whole")
    assert not same_weights(folder, whole)


def test_a_part_of_other_files_is_no_system(tmp_path):
    with pytest.raises(UserError, match="only a part of other files"):
        train.main([str(HPARAMS / "small/settings.yaml")])


def test_coral_acts_on_vowels_where_there_are_any(train_system):
    results, folder = train_system(
        "lam_gl", segment="vowels", experiment="vowels"
    )
    assert results["segment"] == "vowels"
    _, whole = train_system("lam_gl")
    assert not same_weights(folder, whole)
    assert torch.isfinite(
        torch.tensor(
            [
                float(r["coral"])
                for r in read_table(folder / "layer_weights.csv")
            ]
        )
    ).all()
