"""Every system of Table 2, on the demo's corpora and a tiny encoder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from conftest import make_encoder, read_table, write_table
from safetensors.torch import load_file

import train
from lam_sb import __main__ as commands
from lam_sb.config import flatten
from lam_sb.corpora.manifests import EMOTIONS
from lam_sb.errors import UserError

HPARAMS = Path(__file__).parents[2] / "hparams"
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


@pytest.fixture(scope="module")
def encoders(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("twelve")
    return {
        family: make_encoder(folder / f"tiny-{family}", family, layers=12)
        for family in ANCHORS
    }


@pytest.fixture
def places(demo, encoders, tmp_path, tmp_path_factory):
    """Keys of an encoder and of where all lies; features are shared."""
    shared = tmp_path_factory.getbasetemp() / "systems"

    def make(encoder: str) -> dict:
        return {
            "data_folder": demo,
            "encoder_source": encoders[encoder],
            "whisper_context": "valid",
            "feature_folder": shared / "features",
            "manifest_folder": shared / "manifests",
            "output_root": tmp_path / "results",
        }

    return make


@pytest.fixture
def run(places, tmp_path):
    """Train two epochs; give the results and their folder."""

    def train_and_test(system: str, encoder: str = "wavlm", **keys):
        source = keys.pop("source", "msp_podcast")
        target = keys.pop("target", "biic_podcast")
        pairs = places(encoder)
        if system != "ensemble":
            pairs |= {"number_of_epochs": 2, "num_heads": 2, "ffn_dim": 16}
            pairs |= {"projection_dim": 16}
        pairs |= {"source": source, "target": target} | keys
        train.main(
            [
                str(HPARAMS / f"{system}_{encoder}.yaml"),
                "--noprogressbar",
                *(f"--{key}={value}" for key, value in pairs.items()),
            ]
        )
        name = keys.get("experiment", f"{system}_{encoder}")
        seed = keys.get("seed", 0)
        folder = tmp_path / f"results/{name}/{source}-{target}/{seed}"
        return json.loads((folder / "results.json").read_text()), folder

    return train_and_test


def test_each_system_has_a_file_for_each_encoder():
    found = {path.stem for path in HPARAMS.glob("*.yaml")} - {"demo"}
    named = {f"{system}_{encoder}" for system, encoder in FILES}
    assert named <= found


@pytest.mark.parametrize(("system", "encoder", "source", "target"), DIRECTIONS)
def test_a_system_trains_and_tests(system, encoder, source, target, run):
    results, folder = run(system, encoder, source=source, target=target)
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
def test_the_phonetic_anchor_changes_what_is_learned(negative, run):
    results, with_anchor = run("pc", negative=negative)
    off, without = run("pc", gamma=0, experiment="off")
    assert (results["alignment"], off["alignment"]) == (
        "PhoneticAnchor",
        "none",
    )
    _, control = run("cc")
    same, other = weights_of(control), weights_of(with_anchor)
    for name, values in weights_of(without).items():
        assert torch.allclose(values, same[name], atol=1e-6), name
    changed = [n for n in same if not torch.allclose(same[n], other[n], 1e-3)]
    assert "projector.weight" in changed


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(max((folder / "save/weights").glob("*.safetensors")))


def same_weights(one: Path, two: Path) -> bool:
    others = weights_of(two)
    return all(torch.equal(v, others[k]) for k, v in weights_of(one).items())


def test_lam_with_gamma_0_is_layer_atn(run):
    _, off = run("lam_gl", gamma=0)
    _, control = run("layer_atn")
    assert same_weights(off, control)


def relabelled(demo: Path, tmp_path: Path) -> Path:
    """Copy the corpora, the Mandarin labels turned round."""
    data = tmp_path / "relabelled"
    shutil.copytree(demo, data)
    path = data / "biic_podcast/Labels/labels_consensus.csv"
    table, turned = read_table(path), dict(zip("NHAS", "HASN", strict=True))
    for row in table:
        row["EmoClass"] = turned.get(row["EmoClass"], row["EmoClass"])
    write_table(path, table)
    return data


@pytest.mark.parametrize("system", ["few_shot", "pc", "ensemble"])
def test_target_labels_change_nothing(system, run, demo, tmp_path):
    keys = {"target_shots": 0} if system == "few_shot" else {}
    true, folder = run(system, **keys)
    keys |= {"data_folder": relabelled(demo, tmp_path), "experiment": "other"}
    keys["manifest_folder"] = tmp_path / "manifests"
    other, changed = run(system, **keys)
    assert true["shots"] == other["shots"] == 0
    assert true["target_labels_used"] == 0
    tables = [read_table(f / "predictions.csv") for f in (folder, changed)]
    assert tables[0] != tables[1]
    for row in [*tables[0], *tables[1]]:
        del row["label"]
    assert tables[0] == tables[1]  # only the truth was changed
    if system != "ensemble":
        assert same_weights(folder, changed)


@pytest.mark.parametrize("protocol", ["speakers", "transductive"])
def test_five_shots_are_twenty_labels_that_nobody_is_tested_on(
    protocol, run, tmp_path
):
    keys = {"protocol": protocol, "manifest_folder": tmp_path / "manifests"}
    used, tested = [], []
    for seed in (0, 1):
        results, folder = run("few_shot", seed=seed, **keys)
        table = read_table(folder / "predictions.csv")
        assert results["shots"] == 5
        assert results["target_labels_used"] == len(results["shot_ids"]) == 20
        used.append(results["shot_ids"])
        tested.append({row["id"] for row in table})
        assert tested[-1].isdisjoint(results["shot_ids"])
        manifest = json.loads(
            (
                tmp_path
                / "manifests/biic_podcast"
                / ("train.json" if protocol == "speakers" else "test.json")
            ).read_text()
        )
        assert [manifest[i]["emo"] for i in results["shot_ids"]] == [
            e for e in EMOTIONS for _ in range(5)
        ]
        if protocol == "transductive":
            left = round(0.2 * results["n_train_target"])
            assert results["n_test"] == len(manifest) - left
    assert used[0] != used[1]  # another draw
    assert tested[0] == tested[1]
    _, folder = run("cc", **keys)
    everyone = {r["id"] for r in read_table(folder / "predictions.csv")}
    assert everyone == tested[0]
    _, none = run("few_shot", target_shots=0, experiment="none", **keys)
    _, five = run("few_shot", experiment="five", **keys)
    assert same_weights(none, five)  # shots only move the prototypes
    tables = [read_table(f / "predictions.csv") for f in (none, five)]
    assert tables[0] != tables[1]


def test_the_ensemble_needs_no_full_batch(run, corpora, tmp_path):
    keys = {"source": "left", "target": "right", "data_folder": corpora}
    keys["manifest_folder"] = tmp_path / "manifests"
    results, _ = run("ensemble", **keys)
    assert 0 < results["n_train_source"] < 64
    with pytest.raises(UserError, match="fewer than one batch of 64"):
        run("cc", **keys)


def test_bounds_use_target_labels_and_say_so(run, tmp_path):
    within, _ = run("layer_atn", bound="within", experiment="within")
    assert within["source"] == within["target"] == "biic_podcast"
    assert within["target_labels_used"] > within["n_train_source"]
    assert within["bound"] == "within"
    oracle, told = run("layer_atn", bound="oracle", experiment="oracle")
    plain, untold = run("layer_atn")
    assert oracle["target_labels_used"] == oracle["n_train_target"]
    assert plain["target_labels_used"] == 0
    assert not same_weights(told, untold)
    assert oracle["n_test"] == within["n_test"] == plain["n_test"]
    voted, _ = run("ensemble", bound="oracle", experiment="voted")
    assert voted["target_labels_used"] == oracle["n_train_target"]
    for bound in ("within", "oracle"):
        with pytest.raises(UserError, match="tested here; use protocol"):
            run(
                "layer_atn",
                bound=bound,
                protocol="transductive",
                experiment=f"{bound}_refused",
                manifest_folder=tmp_path / "manifests",
            )


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
    system, key, value, run, encoders, tmp_path
):
    message = f"the system {system} has no use for {key}"
    with pytest.raises(UserError, match=f"command line: {message}"):
        run(system, **{key: value})
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


def test_the_files_set_no_key_that_their_systems_have_no_use_for(encoders):
    overrides = {"data_folder": "/d", "encoder_source": str(encoders["wavlm"])}
    paths = {*HPARAMS.rglob("*.yaml")} - {*HPARAMS.glob("study/*.yaml")}
    for path in paths:
        if path.name not in ("settings.yaml", "demo.yaml"):
            hparams, _ = train.load(str(path), overrides)
            train.settle(hparams, {}, str(path))


def test_segments_need_alignments(run, demo, tmp_path):
    data = tmp_path / "unaligned"
    shutil.copytree(demo, data)
    shutil.rmtree(data / "biic_podcast/ForceAligned")
    keys = {"data_folder": data, "manifest_folder": tmp_path / "manifests"}
    with pytest.raises(UserError, match=r"rows of target_train \(biic_pod"):
        run("pc", **keys)
    with pytest.raises(UserError, match="segment is 'utterance'"):
        run("pc", segment="utterance", **keys)


@pytest.mark.parametrize("system", ["lam_gl_cons", "pc"])
def test_rows_without_the_segment_are_masked_and_counted(
    system, run, demo, tmp_path
):
    data, manifests = tmp_path / "partly", tmp_path / "manifests"
    shutil.copytree(demo, data)
    for corpus in ("msp_podcast", "biic_podcast"):
        grids = sorted((data / corpus / "ForceAligned").glob("*.TextGrid"))
        for path in grids[::3]:
            path.unlink()
    results, folder = run(system, data_folder=data, manifest_folder=manifests)
    for part, corpus in (("source", "msp"), ("target", "biic")):
        path = manifests / f"{corpus}_podcast/train.json"
        rows = [r for r in json.loads(path.read_text()).values() if r["emo"]]
        aligned = sum(bool(row["phones"]) for row in rows)
        assert 0 < aligned < len(rows) == results[f"n_train_{part}"]
        assert results[f"n_segment_{part}"] == aligned
    assert all(v.isfinite().all() for v in weights_of(folder).values())
    _, whole = run(system, experiment="whole")
    assert not same_weights(folder, whole)


@pytest.fixture
def analyse(places, encoders, tmp_path):
    def run(encoder: str = "wavlm", **keys) -> Path:
        path = str(HPARAMS / f"lam_gl_{encoder}.yaml")
        given = [f"--{k}={v}" for k, v in (places(encoder) | keys).items()]
        commands.main(["analyse", path, *given])
        return (
            tmp_path
            / "results/analysis"
            / encoders[encoder].name
            / "msp_podcast-biic_podcast"
        )

    return run


def test_layers_are_selected_by_an_analysis_and_anchored(run, analyse, capsys):
    with pytest.raises(UserError, match="make it first"):
        run("lam_gl", anchor_layers="group")
    folder = analyse()
    out = capsys.readouterr().out
    selection = json.loads((folder / "selection.json").read_text())
    assert f"group: {selection['group']} (in " in out
    assert selection["use_target_labels"] is True
    for rule, count in (("group", 3), ("best", 1), ("worst", 3)):
        results, _ = run("lam_gl", anchor_layers=rule, experiment=rule)
        assert results["anchor_rule"] == rule
        assert results["anchor_layers"] == selection[rule]
        assert len(selection[rule]) == count
        assert results["target_labels_used"] == results["n_train_target"]
    left, _ = run("layer_drop", anchor_layers="group", experiment="left")
    assert left["layers"] == [
        n for n in range(1, 13) if n not in selection["group"]
    ]
    drawn, _ = run("lam_gl", anchor_layers="random:3", experiment="random")
    assert drawn["anchor_rule"] == "random:3"
    assert drawn["target_labels_used"] == 0
    with pytest.raises(UserError, match="use_target_labels: True there, False"):
        run("lam_gl", anchor_layers="group", use_target_labels=False)


def test_the_analysis_leaves_curves_of_vowels_and_a_figure(analyse):
    analyse("whisper")
    folder = analyse()
    table = read_table(folder / "similarity.csv")
    assert {row["segment"] for row in table} == {
        *("utterance", "vowels", "consonants", "a", "ɛ", "ə", "i", "o", "u")
    }
    assert {row["emotion"] for row in table} == {*EMOTIONS, "all"}
    assert {int(row["layer"]) for row in table} == set(range(1, 13))
    assert {row["measure"].partition(":")[0] for row in table} == {
        *("centroid", "pairwise", "centred")
    }
    for row in table:
        assert -1 <= float(row["value"]) <= 1
        if row["low"]:
            assert -1 <= float(row["low"]) <= float(row["high"]) <= 1
    assert (folder / "figure1.png").stat().st_size > 10_000
    assert (folder / "figure1.pdf").read_bytes().startswith(b"%PDF")


def test_an_analysis_without_target_labels_sees_none(
    analyse, run, demo, tmp_path
):
    keys = {"use_target_labels": False, "target_rows": "all"}
    folder = analyse(**keys)
    true = (folder / "similarity.csv").read_text()
    for row in read_table(folder / "similarity.csv"):
        of_both = not row["measure"].endswith(":within_source")
        assert row["emotion"] == "all" or not of_both
    results, _ = run("lam_gl", anchor_layers="group", **keys)
    assert results["target_labels_used"] == 0
    data = relabelled(demo, tmp_path)
    analyse(data_folder=data, manifest_folder=tmp_path / "manifests", **keys)
    assert (folder / "similarity.csv").read_text() == true


def test_a_part_of_other_files_is_no_system(tmp_path):
    with pytest.raises(UserError, match="only a part of other files"):
        train.main([str(HPARAMS / "small/settings.yaml")])


def test_the_small_files_share_one_setting():
    for path in (HPARAMS / "small").glob("*.yaml"):
        if path.name != "settings.yaml":
            text = flatten(path)
            assert "normalise: domain" in text
            assert "max_steps: 200" in text


def test_coral_acts_on_vowels_where_there_are_any(run):
    results, folder = run("lam_gl", segment="vowels", experiment="vowels")
    assert results["segment"] == "vowels"
    _, whole = run("lam_gl")
    assert not same_weights(folder, whole)
    assert torch.isfinite(
        torch.tensor(
            [
                float(r["coral"])
                for r in read_table(folder / "layer_weights.csv")
            ]
        )
    ).all()
