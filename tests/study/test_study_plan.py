"""What is to be done, and how long it takes."""

from __future__ import annotations

from conftest import HPARAMS
from toy_study import jobs_of, study_over_open

from lam_sb import __main__ as commands
from lam_sb.files import write_checked
from lam_sb.run_folder import settings_hash
from lam_sb.study.plan import describe_plan, expected_seconds


def test_time_is_estimated_by_system(tmp_path, corpora, wavlm, monkeypatch):
    monkeypatch.chdir(tmp_path)
    keys = {"systems": {"cc": {}, "ensemble": {}}, "seeds": 2, "jobs": 2}
    study = study_over_open(tmp_path, corpora, wavlm, **keys)
    jobs = jobs_of(study)
    assert expected_seconds(jobs, [], 1) is None
    for job, seconds in zip(jobs[:2], (94.0, 4.0), strict=True):
        job.folder.mkdir(parents=True)
        found = {"seconds": seconds, "system": job.system}
        found["settings_hash"] = settings_hash(job.settings)
        write_checked(job.results[0], found)
    # 3 runs of 100 s and 3 of 10 s, two at a time
    assert expected_seconds(jobs[2:], jobs[:2], 2) == 165
    plan = describe_plan(study, jobs)
    assert "cc: 1, 3" in plan
    assert "8 runs: 2 done, 6 to do." in plan
    assert "about 0:02:45 with 2 at a time" in plan
    assert "GB" not in plan
    for job, size in zip(jobs[:2], (10**9, 10**8), strict=True):
        (job.save_folder / "weights").mkdir(parents=True)
        with open(job.save_folder / "weights/1", "wb") as file:
            file.truncate(size)  # takes no room on the disk
    # 3 runs of 1 GB and 3 of 0.1 GB
    assert "leave about 3.3 GB" in describe_plan(study, jobs)
    study.values["keep_weights"] = False
    assert "GB" not in describe_plan(study, jobs)


def test_a_dry_run_says_what_is_to_be_done_and_does_nothing(
    tmp_path, wavlm, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    study = ["reproduce", str(HPARAMS / "study/open.yaml"), "--seeds=3"]
    keys = ["--data_folder=nowhere", "--corpora=[a, b]", "--systems=[cc]"]
    encoder = f"--encoders={{tiny: {wavlm}}}"
    commands.main([*study, *keys, encoder, "--dry_run=True"])
    said = capsys.readouterr().out
    assert "  cc: 0, 6\n6 runs: 0 done, 6 to do.\n" in said
    assert [*tmp_path.iterdir()] == []
