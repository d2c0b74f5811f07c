"""A study knows results of other data, keeps them, and trains anew."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from conftest import read_table, write_table
from filelock import FileLock
from toy_study import jobs_of, study_over_open

from lam_sb.analysis.anchor_layers import analysed_data
from lam_sb.errors import UserError
from lam_sb.files import write_checked
from lam_sb.inputs import read_rows
from lam_sb.run_folder import claim_folder, settings_hash
from lam_sb.study import reproduce
from lam_sb.study.data import with_data
from lam_sb.study.job import Job
from lam_sb.study.plan import describe_plan

SYSTEMS = {"cc": {}, "few_shot": {"target_shots": 1}}


def finish(job: Job) -> None:
    """Leave what train.py leaves of a run on today's data."""
    job.folder.mkdir(parents=True, exist_ok=True)
    claim_folder(job.folder, job.settings, "")
    found = {"settings_hash": settings_hash(job.settings), "seconds": 1.0}
    write_checked(job.results[0], found)


@pytest.fixture
def study(tmp_path, corpora, wavlm, monkeypatch):
    """A study of two systems, both done, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    data = shutil.copytree(corpora, tmp_path / "data")
    keys = {"systems": SYSTEMS, "seeds": 1, "directions": [["left", "right"]]}
    keys |= {"normalise": "domain"}
    made = study_over_open(tmp_path, data, wavlm, **keys)
    jobs = jobs_of(made)
    for job in jobs:  # so that it is looked at
        job.folder.mkdir(parents=True)
        (job.folder / "settings.yaml").write_text("{}")
    for job in with_data(jobs):
        finish(job)
    return made


def done(study) -> dict[str, bool]:
    return {job.system: job.is_done() for job in with_data(jobs_of(study))}


def relabel(tmp_path, corpus: str, number: int, **columns) -> None:
    path = tmp_path / f"data/{corpus}/labels.csv"
    rows = read_table(path)
    rows[number] |= columns
    write_table(path, rows)


def test_where_nothing_has_changed_all_is_done(study, tmp_path):
    assert done(study) == {"cc": True, "few_shot": True}
    moved = shutil.move(tmp_path / "data", tmp_path / "elsewhere")
    study.values["keys"]["data_folder"] = str(moved)
    assert done(study) == {"cc": True, "few_shot": True}


def test_one_label_makes_other_runs_of_all_that_read_it(study, tmp_path):
    relabel(tmp_path, "left", 3, emotion="sad")
    jobs = with_data(jobs_of(study))
    assert not any(job.is_done() for job in jobs)
    assert {tuple(job.changed()) for job in jobs} == {
        ("the labels of source_train",)
    }
    assert not any(job.differing() for job in jobs)
    plan = describe_plan(study, jobs)
    assert "2 runs: 0 done, 2 to do." in plan
    assert "2 of them have results on other data (the labels of sou" in plan


def test_a_column_that_no_run_reads_changes_nothing(study, tmp_path):
    path = tmp_path / "data/right/labels.csv"
    write_table(path, [row | {"gender": "f"} for row in read_table(path)])
    assert done(study) == {"cc": True, "few_shot": True}


def test_what_was_made_of_old_data_is_kept_beside_the_new(study, tmp_path):
    relabel(tmp_path, "right", 0, speaker="s05")
    cc = with_data(jobs_of(study))[0]
    before = cc.results[0].read_bytes()
    ready, failures = reproduce._choose_ready([cc], [], {})
    assert (ready, failures) == ([cc], [])
    assert not cc.results[0].exists()
    kept = cc.folder.with_name("0_old1")
    assert (kept / "results.json").read_bytes() == before
    finish(cc)
    relabel(tmp_path, "right", 0, speaker="s04")
    cc = with_data(jobs_of(study))[0]
    assert cc.kept_in.name == "0_old2"


def test_a_run_at_work_on_old_data_is_left_alone(study, tmp_path):
    relabel(tmp_path, "left", 0, emotion="sad")
    cc = with_data(jobs_of(study))[0]
    with FileLock(cc.folder / ".lock"):
        ready, (failure,) = reproduce._choose_ready([cc], [], {})
    assert ready == []
    assert "Another run is at work" in failure.reason
    assert cc.results[0].is_file()


def test_data_out_of_reach_are_said_and_results_taken_as_they_are(
    study, tmp_path, caplog
):
    shutil.rmtree(tmp_path / "data/left")
    shutil.rmtree(tmp_path / "results/manifests")
    assert done(study) == {"cc": True, "few_shot": True}
    assert "Results of it are taken as they are." in caplog.text


def test_systems_that_prepare_otherwise_rest_on_their_own_rows(study):
    of_three = {"file": "cc", "label_map": {"happy": None}}
    short = {"file": "cc", "max_duration": 0.45}
    others = {"of_three": of_three, "short": short}
    study.values["systems"] = {
        "cc": {},
        **others,
        "few_shot": SYSTEMS["few_shot"],
    }
    jobs = {job.system: job for job in jobs_of(study)}
    for name in others:  # as if both had left something
        folder = jobs[name].folder
        folder.mkdir(parents=True)
        (folder / "settings.yaml").write_text("{}")
    together = with_data([*jobs.values()])
    data = {job.system: job.settings["data"] for job in together}
    for name, job in jobs.items():
        (alone,) = with_data([job])
        assert data[name] == alone.settings["data"]
    rows = {name: part["source_train"]["rows"] for name, part in data.items()}
    assert rows["of_three"] == rows["cc"] * 3 // 4
    assert 0 < rows["short"] < rows["cc"]
    assert rows["few_shot"] == rows["cc"]
    for job in together[1:3]:
        finish(job)
    assert all(done(study).values())


def test_anchors_selected_on_other_rows_wait_for_the_analysis(study, tmp_path):
    systems = {"lam_gl": {"anchor_layers": "group"}}
    study.values["systems"] = systems
    (waiting,) = jobs_of(study)
    folder = tmp_path / waiting.paths["analysis_folder"]
    folder.mkdir(parents=True)
    settings = {"similarity": "centroid", "use_target_labels": False}
    settings |= {"target_rows": "all", "protocol": "transductive"}
    settings |= {"split_seed": 0, "folds": 0, "fold": 0}
    selection = {"group": [1, 2, 4], "settings": settings}
    path = folder / "selection.json"
    write_checked(path, selection)
    (job,) = jobs_of(study)
    store = job.values["store"]().path.name
    data = analysed_data(read_rows(job.values), store, False)
    write_checked(path, selection | {"data": data})
    (ready,) = with_data([job])
    assert ready.settings["anchored_layers"] == [1, 2, 4]
    for changed in (
        data | {"store": "another"},
        data | {"target_train": {"rows": 1, "ids": "x"}},
    ):
        write_checked(path, selection | {"data": changed})
        (waiting,) = with_data([job])
        assert waiting.settings is None
        assert waiting.needs_analysis


def test_a_folder_is_set_aside_by_hand_where_commands_are_printed(
    study, tmp_path, capsys
):
    relabel(tmp_path, "left", 3, emotion="sad")
    jobs = with_data(jobs_of(study))
    reproduce._print_commands(jobs, [])
    said = capsys.readouterr()
    folder = tmp_path / jobs[0].folder
    assert f"first: mv {folder} {folder}_old1\n" in said.err
    assert len(said.out.splitlines()) == 2
    with pytest.raises(UserError, match="made on other data"):
        claim_folder(folder, jobs[0].settings, "")


def test_a_label_of_a_row_held_out_matters_to_the_system_with_shots(
    study, tmp_path
):
    jobs = {job.system: job for job in with_data(jobs_of(study))}
    tested = read_rows(jobs["cc"].values)["target_test"]
    table = read_table(tmp_path / "data/right/labels.csv")
    stems = [Path(row["path"]).stem for row in table]
    number = next(n for n, stem in enumerate(stems) if stem not in tested)
    emotion = table[number]["emotion"]
    other = "sad" if emotion != "sad" else "happy"
    relabel(tmp_path, "right", number, emotion=other)
    assert done(study) == {"cc": True, "few_shot": False}
