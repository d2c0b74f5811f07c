from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from made_up import make_run

from lam_sb.analysis.similarity import write_similarity
from lam_sb.corpora.manifests import FIELDS, write_manifest
from lam_sb.evaluation.comparisons import Column
from lam_sb.files import write_checked, write_json
from lam_sb.run_folder import settings_hash
from lam_sb.study.grid import Study
from lam_sb.study.job import Job
from lam_sb.study.report.findings import find
from lam_sb.study.runner import Failure

SETTINGS = {"system": "lam_gl", "data": {"store": "s"}}


@pytest.fixture
def make_job(tmp_path):
    """Make a job whose run is done, with what lies around it."""

    def make(seed: int, done: bool = True) -> Job:
        folder = tmp_path / f"runs/lam_gl/left-right/{seed}"
        if done:
            path = make_run(
                tmp_path / "runs",
                "lam_gl",
                "left",
                "right",
                seed,
                encoder="org/model",
                settings_hash=settings_hash(SETTINGS),
                experiment="lam_gl",
            )
            assert path.parent == folder
        paths = {
            "output_folder": str(folder),
            "encoder_source": "org/model",
            "analysis_folder": str(tmp_path / "analysis"),
            "source_train": str(tmp_path / "left/train.json"),
            "target_test": str(tmp_path / "right/test.json"),
        }
        keys = {"source": "left", "target": "right", "seed": seed}
        return Job(
            system="lam_gl",
            encoder="tiny",
            script=tmp_path / "train.py",
            file="a.yaml",
            keys=keys,
            paths=paths,
            wants_analysis=True,
            is_analysed=(tmp_path / "analysis").is_dir(),
            settings=SETTINGS,
        )

    return make


def make_study(**values) -> Study:
    values = {"include": [], "paper_numbers": False} | values
    return Study(Path("a.yaml"), {"study": "s", "title": "T", **values})


def test_runs_that_are_done_are_in_tables_by_the_encoders_name(make_job):
    jobs = [make_job(0), make_job(1), make_job(2, done=False)]
    findings = find(make_study(), jobs, [])
    (table,) = findings.tables
    assert table.columns == [Column("tiny", "left", "right")]
    cell = table.scores["lam_gl", table.columns[0]]
    assert [run.results["seed"] for run in cell.runs] == [0, 1]
    assert findings.problems == ["1 of the study's 3 runs are not done yet."]


def test_what_failed_is_not_missing_besides(make_job):
    failure = Failure("python train.py", "the disk is full")
    findings = find(make_study(), [make_job(0, done=False)], [failure])
    assert findings.failed == [failure]
    assert findings.problems == findings.tables == []


def test_included_folders_are_searched_and_what_is_damaged_is_named(
    make_job, tmp_path
):
    job = make_job(0)
    more = tmp_path / "more"
    make_run(more, "mine", "left", "right", 0, encoder="org/model")
    damaged = make_run(more, "cc", "left", "right", 0, encoder="org/model")
    damaged.write_text("{")
    findings = find(make_study(include=[more]), [job], [])
    assert findings.tables[0].systems == ["lam_gl", "mine"]
    assert len(findings.problems) == 1
    assert str(damaged) in findings.problems[0]


def test_what_lies_around_the_runs_is_read_as_far_as_it_is_there(
    make_job, tmp_path
):
    (tmp_path / "analysis").mkdir()
    (tmp_path / "right").mkdir()
    jobs = [make_job(0), make_job(1)]
    row = dict.fromkeys(FIELDS, "") | {"duration": 1.0, "phones": []}
    row["emo"] = None
    rows = [("a", row | {"gender": "female"}), ("b", row)]
    write_manifest(tmp_path / "right/test.json", rows)
    write_json(tmp_path / "right/prep_report.json", {"steps": []})
    write_checked(tmp_path / "analysis/selection.json", {"group": [1]})
    write_similarity(tmp_path / "analysis/similarity.csv", [])
    # Of folds, the first analysis is shown.
    jobs[1].paths["analysis_folder"] = str(tmp_path / "not there")
    findings = find(make_study(paper_numbers=True), jobs, [])
    assert findings.genders == {"right": {"a": "female", "b": ""}}
    assert findings.preparation == {"right": {"steps": []}}
    (analysis,) = findings.analyses
    assert analysis.column == Column("tiny", "left", "right")
    assert analysis.selection == {"group": [1]}
    assert (findings.name, findings.title) == ("s", "T")
    assert findings.paper


def test_runs_that_a_run_is_made_of_are_not_included(tmp_path):
    whole = make_run(tmp_path, "lam_plus", "left+third", "right", 0)
    for name in ("first", "seed_3", "without_left", "without_left/seed_3"):
        part = make_run(tmp_path / "parts", "lam_plus", "left", "right", 0)
        shutil.copytree(part.parent, whole.parent / name)
        shutil.rmtree(tmp_path / "parts")
    findings = find(make_study(include=[str(tmp_path)]), [], [])
    (table,) = findings.tables
    ((score),) = table.scores.values()
    assert [run.path for run in score.runs] == [whole]
    assert findings.problems == []
