"""What jobs of a cluster did for a study, and what is asked of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from toy_study import RUN_OPTS, jobs_of, study_over_open

from lam_sb.files import write_checked
from lam_sb.inputs import choose_device, encode, read_rows
from lam_sb.run_folder import settings_hash
from lam_sb.study import cluster
from lam_sb.study.cluster import prepare_on_cluster, run_on_cluster
from lam_sb.study.data import is_encoded, with_data

SYSTEMS = {"cc": {}, "layer_atn": {}}


@pytest.fixture
def study(tmp_path, corpora, wavlm, monkeypatch):
    monkeypatch.chdir(tmp_path)
    keys = {"systems": SYSTEMS, "seeds": 2, "directions": [["left", "right"]]}
    keys |= {"anchor_layers": [1], "cluster": "slurm"}
    return study_over_open(tmp_path, corpora, wavlm, **keys)


@pytest.fixture
def submitted(monkeypatch):
    """Commands that would be jobs; they end as the dictionary says."""
    batches, problems = [], {}

    def run_commands(commands, study, folder):
        batches.append(commands)
        for command in commands:
            yield command.log, problems.get(Path(command.log).name)

    monkeypatch.setattr(cluster, "run_commands", run_commands)
    return batches, problems


def finish(job) -> None:
    job.save_folder.mkdir(parents=True)
    found = {"settings_hash": settings_hash(job.settings), "seconds": 1.0}
    write_checked(job.results[0], found)


@pytest.mark.parametrize("keep", [True, False])
def test_runs_without_a_result_are_failures(study, submitted, keep):
    study.values["keep_weights"] = keep
    jobs, (batches, problems) = jobs_of(study), submitted
    for job in jobs[:2]:
        finish(job)
    jobs[3].save_folder.mkdir(parents=True)
    log = f"{jobs[2].name}.log"
    problems[log] = "SLURM ended job 7_2: out of memory"
    failures = run_on_cluster(jobs, ["--device=cpu"], study)
    assert [f.log.name for f in failures] == [log, f"{jobs[3].name}.log"]
    assert failures[0].reason == problems[log]
    assert failures[1].reason == "it said nothing"
    assert "train.py" in failures[0].command
    kept = [job.save_folder.is_dir() for job in jobs]
    assert kept == [keep, keep, False, True]
    words = batches[0][1].words
    assert words[0].endswith("train.py")
    assert words[-1] == "--device=cpu"
    assert words[1:-1] == jobs[1].arguments


def test_what_comes_first_is_jobs_one_kind_after_the_other(study, submitted):
    batches, problems = submitted
    one, same, *_ = jobs_of(study)
    other = replace(same, paths=same.paths | {"encoder_source": "another"})
    names = {"one": one, "same": same, "other": other}
    commands = {
        (command, name): job
        for command in ("analyse", "extract")
        for name, job in names.items()
    }
    problems[f"extract-{one.name}.log"] = "error: no room"
    errors = prepare_on_cluster(commands, [], study)
    logs = [Path(c.log).name for commands in batches for c in commands]
    ends = [f"{job.name}.log" for job in (one, other, same)]
    assert logs[:3] == [f"extract-{end}" for end in ends]
    assert [len(commands) for commands in batches] == [2, 1, 3]
    assert all(c.words[2] == "analyse" for c in batches[2])
    assert errors.keys() == {"one"}
    assert errors["one"].startswith("error: no room (")


def test_what_is_encoded_needs_no_job(study, submitted):
    job = jobs_of(study)[0]
    assert not is_encoded(job)  # there are no manifests yet
    job.folder.mkdir(parents=True)
    (job.folder / "settings.yaml").write_text("{}")
    with_data([job])  # prepares the corpora
    assert not is_encoded(job)
    rows, store = read_rows(job.values), job.values["store"]()
    encode(store, rows, choose_device(RUN_OPTS))
    assert is_encoded(job)
    assert prepare_on_cluster({("extract", "inputs"): job}, [], study) == {}
    assert submitted[0] == []
