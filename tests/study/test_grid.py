"""The runs of a study, from its file."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import pytest
import yaml
from conftest import HPARAMS
from toy_study import jobs_of, study_over_open

from lam_sb.command_line import parse_arguments
from lam_sb.config import load
from lam_sb.errors import UserError
from lam_sb.files import write_checked
from lam_sb.run import load_run
from lam_sb.run_folder import settings_hash
from lam_sb.study.grid import Study, read_study


@pytest.fixture
def read(tmp_path, corpora, wavlm, monkeypatch):
    """Read a study in an empty working folder."""
    monkeypatch.chdir(tmp_path)

    def make(**overrides) -> Study:
        return study_over_open(tmp_path, corpora, wavlm, **overrides)

    return make


def test_the_grid_is_systems_by_directions_by_seeds(read):
    study = read(seeds=[3, 5], systems={"cc": {}, "ensemble": None})
    found = [
        (j.system, j.keys["source"], j.keys["target"], j.keys["seed"])
        for j in jobs_of(study)
    ]
    assert found == [  # the first seed of all comes first
        (system, *pair, seed)
        for seed in (3, 5)
        for pair in (("left", "right"), ("right", "left"))
        for system in ("cc", "ensemble")
    ]
    paths = {str(j.results[0]) for j in jobs_of(study)}
    assert len(paths) == 8
    assert "results/mine/tiny/cc/left-right/3/results.json" in paths


def test_a_direction_may_have_lists_of_corpora(read):
    corpora = {"left": {"folder": "/l"}, "right": None, "third": None}
    study = read(
        systems={"cc": {}},
        seeds=1,
        corpora=corpora,
        directions=[["right", ["left"]], [["left", "third"], "right"]],
    )
    one, two = jobs_of(study)
    assert (one.keys["source"], one.keys["target"]) == ("right", "left")
    assert one.keys["target_folder"] == "/l"
    assert (two.keys["source"], two.keys["target"]) == ("left+third", "right")
    assert two.keys["source_folder"] == {"left": "/l"}
    assert two.name.endswith("left+third-right-0")
    _, _, overrides = parse_arguments(two.arguments)
    assert overrides["source"] == "left+third"


def test_each_corpus_may_be_left_out_as_the_target_of_all_others(read):
    keys = {"systems": {"cc": {}}, "seeds": 1, "leave_one_out": True}
    keys["corpora"] = ["left", "right", "third"]
    alone = {("right+third", "left"), ("left+third", "right")}
    alone |= {("left+right", "third")}
    assert set(read(**keys, directions=[]).directions) == alone
    assert set(read(**keys).directions) == alone | {
        *permutations(keys["corpora"], 2)
    }
    two = read(**keys | {"corpora": ["left", "right"]})
    assert two.directions == [("left", "right"), ("right", "left")]


def test_a_run_of_two_targets_is_done_with_both_results(read):
    corpora = ["left", "right", "third"]
    directions = [["left", ["right", "third"]]]
    (job,) = jobs_of(
        read(
            **{"systems": {"cc": {}}, "seeds": 1, "corpora": corpora},
            directions=directions,
        )
    )
    assert [path.parent.name for path in job.results] == ["right", "third"]
    found = {"settings_hash": settings_hash(job.settings)}
    for path in job.results:
        assert not job.is_done()
        path.parent.mkdir(parents=True)
        write_checked(path, found)
    assert job.is_done()


def test_settings_are_those_that_the_run_will_have(read):
    study = read(
        seeds=3,
        systems={"cc": {}, "lam_x": {"file": "lam_gl", "anchor_layers": [1]}},
    )
    for job in jobs_of(study):
        file, run_opts, overrides = parse_arguments(job.arguments)
        hparams, settings = load_run(file, run_opts, overrides)
        assert settings_hash(settings) == settings_hash(job.settings)
        assert hparams["output_folder"] == job.paths["output_folder"]
        assert hparams["system"] == job.system
        assert hparams["seed"] == job.keys["seed"]


def test_a_result_counts_only_with_equal_settings(read):
    job = jobs_of(read(systems={"cc": {}}, seeds=1))[0]
    assert not job.is_done()
    job.folder.mkdir(parents=True)
    found = {"settings_hash": settings_hash(job.settings)}
    write_checked(job.results[0], found)
    assert job.is_done()
    other = jobs_of(read(systems={"cc": {}}, seeds=1, lr=0.5))[0]
    assert other.results == job.results
    assert not other.is_done()
    (job.folder / "settings.yaml").write_text(yaml.safe_dump(job.settings))
    assert other.differing() == ["lr: 0.001 there, 0.5 now"]
    assert job.differing() == []


def test_shared_keys_go_to_runs_that_have_a_use_for_them(read):
    study = read(systems={"ensemble": {}, "cc": {}}, lr=0.5, normalise="none")
    ensemble, cc = jobs_of(study)[:2]
    assert "lr" not in ensemble.keys
    assert cc.keys["lr"] == 0.5
    assert ensemble.keys["normalise"] == cc.keys["normalise"] == "none"


def test_a_systems_own_keys_go_before_those_of_all(read):
    study = read(systems={"cc": {"lr": 0.1}, "layer_atn": {}}, lr=0.5)
    cc, layer_atn = jobs_of(study)[:2]
    assert (cc.keys["lr"], layer_atn.keys["lr"]) == (0.1, 0.5)


def test_a_key_of_a_system_without_use_is_refused(read):
    with pytest.raises(UserError, match="ensemble has no use for lr"):
        jobs_of(read(systems={"ensemble": {"lr": 0.5}}))


def test_folds_are_runs_of_their_own(read):
    study = read(systems={"cc": {"protocol": "speakers", "folds": 3}}, seeds=1)
    jobs = [j for j in jobs_of(study) if j.keys["source"] == "left"]
    assert [j.keys["fold"] for j in jobs] == [0, 1, 2]
    experiments = [j.keys["experiment"] for j in jobs]
    assert experiments == [f"mine/tiny/cc_f{n}" for n in range(3)]


def test_within_is_run_once_for_a_target(read, corpora):
    within = {"within": {"file": "layer_atn", "bound": "within"}}
    within["within"] |= {"protocol": "speakers", "anchor_layers": []}
    study = read(
        systems=within,
        corpora={
            "left": None,
            "right": None,
            "third": {"folder": str(corpora / "left")},
        },
        seeds=1,
    )
    found = [(j.keys["source"], j.keys["target"]) for j in jobs_of(study)]
    assert found == [(c, c) for c in ("right", "third", "left")]


def test_a_corpus_may_have_a_folder_and_options(read, corpora):
    options = {"label_map": {"calm": "neutral"}}
    folder = str(corpora / "left")
    corpora_ = {"one": {"folder": folder, "options": options}, "right": None}
    study = read(corpora=corpora_, systems={"cc": {}}, seeds=1)
    forth, back = jobs_of(study)
    assert forth.keys["source_folder"] == back.keys["target_folder"] == folder
    assert forth.keys["source_options"] == options
    assert "target_folder" not in forth.keys


def test_runs_wait_for_the_analysis_that_selects_layers(read):
    study = read(systems={"lam_gl": {"anchor_layers": "group"}, "cc": {}})
    lam, cc = jobs_of(study)[:2]
    assert lam.wants_analysis
    assert not lam.is_analysed
    assert lam.needs_analysis
    assert lam.settings is None
    assert not lam.is_done()
    assert cc.settings is not None
    assert not cc.wants_analysis
    assert not cc.needs_analysis
    hparams = load(lam.file, {**lam.keys, "anchor_layers": []})
    folder = Path(lam.paths["analysis_folder"])
    folder.mkdir(parents=True)
    selection = {"group": [1, 2], "settings": hparams["selection_settings"]}
    write_checked(folder / "selection.json", selection)
    again = jobs_of(study)[0]
    assert again.settings["anchored_layers"] == [1, 2]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"seed": 3}, "seed is set for each run by the study; use seeds"),
        ({"source": "left"}, "source is set .* use corpora"),
        ({"output_folder": "x"}, "use output_root"),
        ({"corpora": ["left"]}, "name two corpora or more"),
        ({"corpora": "left"}, "corpora is 'left'; it takes two or more"),
        ({"seeds": 0}, "it takes their number, from 1 to 10000, or"),
        ({"systems": {}}, "systems is {}; it takes some"),
        ({"jobs": -1}, "jobs is -1; it takes a whole number, 1 or more"),
        ({"jobs": "all"}, "jobs is 'all'; it takes a whole number"),
        ({"cluster": "sge"}, "cluster is 'sge'; it takes local or slurm"),
        ({"gpus": -1}, "gpus is -1; it takes a whole number, 0 or more"),
        ({"minutes": "1:00"}, "minutes is '1:00'; it takes a whole number"),
        ({"requeue": "no"}, "requeue is 'no'; it takes True or False"),
        ({"sbatch": "-A me"}, "sbatch is '-A me'; it takes options of sbatch"),
        (
            {"keep_weights": "no"},
            "is 'no'; it takes True or False",
        ),
        ({"dry_run": "yes"}, "dry_run is 'yes'; it takes True or False"),
        ({"systems": []}, r"systems is \[\]; it takes some"),
        ({"directions": [["left", "wrong"]]}, "'wrong'] is no pair"),
        ({"directions": [["left"]]}, "it takes null, or pairs"),
        ({"directions": [["left", "left"]]}, "from a corpus to itself"),
        ({"directions": []}, "name two corpora or more"),
        ({"include": ["nothing"]}, "nothing holds no results.json"),
        ({"experiment": "{x}"}, "it takes a text, which may name"),
        ({"hparams": None}, "hparams is null; it takes a text"),
    ],
)
def test_a_study_without_sense_is_refused(read, overrides, message):
    with pytest.raises(UserError, match=message):
        read(**overrides)


def test_a_wrong_key_of_the_runs_is_refused(read):
    with pytest.raises(UserError, match=r"no key 'gama'.*'gamma'"):
        jobs_of(read(gama=1))


def test_a_list_selects_among_the_systems_of_the_file(read):
    study = read(systems=["lam_wl", "within", "cc"])
    assert study["systems"] == {  # as open.yaml has them, in its order
        "cc": {},
        "lam_wl": {"file": "lam_gl", "anchor_layers": "worst"},
        "within": {
            **{"file": "layer_atn", "bound": "within", "anchor_layers": []},
            **{"protocol": "speakers", "folds": 5},
        },
    }
    assert read(systems={"lam_wl": {}})["systems"] == {"lam_wl": {}}
    with pytest.raises(
        UserError, match="is 'lam_xl'; use one of cc, best_layer, ensem"
    ):
        read(systems=["cc", "lam_xl"])


def test_a_file_of_a_run_is_no_study():
    with pytest.raises(UserError, match="is no study"):
        read_study(str(HPARAMS / "lam_gl_wavlm.yaml"), {})


@pytest.mark.parametrize(
    ("name", "systems", "runs"),
    [  # one direction of each; a bound in each fold
        ("table2", 19, 10 * 2 * 19),
        ("table3", 3, 10 * 2 * 3),
        ("open", 21, 10 * (19 + 2 * 5)),
        ("demo", 22, 2 * 22),
    ],
)
def test_the_studies_have_all_their_files(
    name, systems, runs, encoders, tmp_path, monkeypatch
):
    monkeypatch.chdir(HPARAMS.parent)
    two = {family: str(encoders[family]) for family in ("wavlm", "whisper")}
    study = read_study(
        f"hparams/study/{name}.yaml",
        {
            "data_folder": "nowhere",
            "corpora": ["msp_podcast", "biic_podcast"],
            "directions": [["msp_podcast", "biic_podcast"]],
            "encoders": two if "table" in name else {"one": two["wavlm"]},
            "output_root": str(tmp_path),
        },
    )
    jobs = jobs_of(study)
    assert len({job.system for job in jobs}) == systems
    assert len(jobs) == len({job.folder for job in jobs}) == runs
    assert study["paper_numbers"] == ("table" in name)
    if "table" in name:
        assert jobs[0].file == f"hparams/{jobs[0].system}_wavlm.yaml"


@pytest.mark.parametrize(
    ("systems", "held_out"),
    [
        ({"cc": {}}, {"cc": False}),
        (
            {"cc": {}, "few_shot_0": {"file": "few_shot", "target_shots": 0}},
            {"cc": False, "few_shot_0": False},
        ),
        ({"cc": {}, "few_shot": {}}, {"cc": True, "few_shot": True}),
        (
            {
                "few_shot_0": {"file": "few_shot", "target_shots": 0},
                "few_shot": {"target_shots": 2},
            },
            {"few_shot_0": True, "few_shot": True},
        ),
    ],
)
def test_all_systems_test_the_rows_that_no_shot_may_come_from(
    systems, held_out, read
):
    jobs = jobs_of(read(systems=systems, seeds=1))
    found = {j.system: j.settings["hold_out_shots"] for j in jobs}
    assert found == held_out
    for job in jobs:  # said to a run that would not do so by itself
        by_itself = job.system == "few_shot"
        said = "hold_out_shots" in job.keys
        assert said == (held_out[job.system] != by_itself)


def test_shots_that_nobody_is_tested_on_hold_nothing_out(read):
    study = read(systems={"few_shot": {}, "cc": {}}, protocol="speakers")
    assert all("hold_out_shots" not in j.settings for j in jobs_of(study))


def test_calibrate_is_dropped_where_no_source_can_be_left_out(
    encoders, tmp_path, monkeypatch
):
    monkeypatch.chdir(HPARAMS.parent)
    given = {
        **{"data_folder": "nowhere", "output_root": str(tmp_path), "seeds": 1},
        "corpora": ["a", "b", "c"],
        "directions": [["a", "b"], [["a", "c"], "b"]],
        "calibrate": "temperature",
        **{"encoders": {"one": str(encoders["wavlm"])}, "seeds_averaged": 2},
        "systems": {
            "ensemble": {},
            "layer_atn": {"anchor_layers": []},
            "oracle": {
                **{"file": "layer_atn", "bound": "oracle"},
                **{"anchor_layers": [], "protocol": "speakers"},
            },
        },
    }
    jobs = jobs_of(read_study("hparams/study/open.yaml", given))
    for job in jobs:
        several = "+" in job.keys["source"] and job.system != "oracle"
        assert ("calibrate" in job.keys) == several
        assert ("seeds_averaged" in job.keys) == (job.system != "ensemble")
    assert len(jobs) == 6


def test_names_in_a_study_stay_as_they_are_typed(tmp_path):
    path = tmp_path / "mine.yaml"
    text = f"base: {HPARAMS / 'study/open.yaml'}\nstudy: 0011\n"
    text += "corpora: [0011, left]\ndirections: [[0011, left]]\n"
    text += "systems: [cc]\nencoders: {1e3: tiny}\n"
    text += "keys: {data_folder: 0012, gamma: 0.1, label_map: {01: neutral}}\n"
    path.write_text(text)
    study = read_study(str(path), {})
    assert study["study"] == "0011"
    assert study.directions == [("0011", "left")]
    assert study["systems"] == {"cc": None}
    assert study["encoders"] == {"1e3": "tiny"}
    assert study["keys"] == {
        **{"data_folder": "0012", "gamma": 0.1},
        "label_map": {"01": "neutral"},
    }
