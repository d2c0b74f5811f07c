"""Runs of a study as processes: all run, and all end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from forked import until

from lam_sb.errors import UserError
from lam_sb.files import write_checked
from lam_sb.run_folder import held_folder, settings_hash
from lam_sb.stopping import STATUS
from lam_sb.study.job import Job, command_line
from lam_sb.study.runner import _start, run_jobs

# Stands for train.py: does what --do says, leaves a result as train.py does.
TRAIN = """
import os, sys, time
from pathlib import Path
from lam_sb.files import write_checked
keys = dict(word[2:].split("=", 1) for word in sys.argv[2:] if "=" in word)
folder = Path(keys["folder"])
folder.mkdir(parents=True, exist_ok=True)
with open(folder.parent / "started", "a") as file:
    file.write(f"{folder.name} {os.getpid()}\\n")
if keys["do"] != "nothing":
    print("Loading.", flush=True)
if keys["do"] == "late":
    while not Path("go").exists():
        time.sleep(0.01)
    print("late")
if keys["do"] == "wait":
    time.sleep(60)
if keys["do"] == "second":  # while another holds the folder, and is done
    result = {"settings_hash": keys["hash"], "seconds": 1.0}
    write_checked(folder / "results.json", result)
    sys.exit("error: Another run is at work")
if keys["do"] == "fail":
    sys.exit("error: the disk is full")
(folder / "save").mkdir(exist_ok=True)
if keys["do"] == "work":
    result = {"settings_hash": keys["hash"], "seconds": 1.0}
    write_checked(folder / "results.json", result)
"""


@pytest.fixture
def make_job(tmp_path, monkeypatch):
    (tmp_path / "train.py").write_text(TRAIN)
    monkeypatch.chdir(tmp_path)

    def make(name: str, do: str = "work") -> Job:
        settings = {"name": name}
        folder = tmp_path / "runs" / name
        keys = {"experiment": name, "source": "a", "target": "b", "seed": 0}
        keys |= {"folder": str(folder), "do": do}
        keys["hash"] = settings_hash(settings)
        return Job(
            system="cc",
            encoder="enc",
            script=tmp_path / "train.py",
            file="a.yaml",
            keys=keys,
            paths={"output_folder": str(folder)},
            wants_analysis=False,
            is_analysed=False,
            settings=settings,
        )

    return make


def started(tmp_path: Path) -> list[list[str]]:
    path = tmp_path / "runs/started"
    if not path.is_file():
        return []
    return [line.split() for line in path.read_text().splitlines()]


@pytest.mark.parametrize("at_once", [1, 3])
def test_all_jobs_run_once(make_job, tmp_path, at_once):
    jobs = [make_job(str(n)) for n in range(4)]
    assert run_jobs(jobs, at_once, ["--debug"], tmp_path / "logs") == []
    assert sorted(name for name, *_ in started(tmp_path)) == list("0123")
    assert all(job.is_done() for job in jobs)
    assert len(list((tmp_path / "logs").iterdir())) == 4


@pytest.mark.parametrize("keep", [True, False])
def test_weights_of_what_is_done_may_go(make_job, tmp_path, keep):
    jobs = [make_job("a"), make_job("b", "nothing")]
    run_jobs(jobs, 1, [], tmp_path / "logs", keep)
    # A run that is not done resumes from its checkpoint.
    assert [job.save_folder.is_dir() for job in jobs] == [keep, True]


def test_a_failure_stops_no_other(make_job, tmp_path):
    jobs = [make_job("a", "fail"), make_job("b"), make_job("c", "nothing")]
    failures = run_jobs(jobs, 1, ["--device=cpu"], tmp_path / "logs")
    assert [job.is_done() for job in jobs] == [False, True, False]
    assert failures[0].reason == "error: the disk is full"
    assert failures[0].command == command_line(jobs[0], ["--device=cpu"])
    assert "disk is full" in failures[0].log.read_text()
    # It ended well, but without a result.
    assert failures[1].reason == "it said nothing"


def test_a_log_that_cannot_be_written_is_an_error(make_job, tmp_path):
    (tmp_path / "logs/b-a-b-0.log").mkdir(parents=True)
    jobs = [make_job("a", "wait"), make_job("b")]
    with pytest.raises(UserError, match="what is done is kept"):
        run_jobs(jobs, 2, [], tmp_path / "logs")


def test_what_another_process_has_done_is_not_run(make_job, tmp_path):
    job = make_job("a", "fail")
    job.folder.mkdir(parents=True)
    found = {"settings_hash": settings_hash(job.settings)}
    write_checked(job.results[0], found)
    assert run_jobs([job], 1, [], tmp_path / "logs") == []
    assert started(tmp_path) == []


def test_a_run_that_was_second_is_none_that_failed(make_job, tmp_path):
    jobs = [make_job("a", "second"), make_job("b", "fail")]
    (failure,) = run_jobs(jobs, 2, [], tmp_path / "logs")
    assert failure.reason == "error: the disk is full"
    assert len(started(tmp_path)) == 2


def test_a_log_is_whole_where_an_orphan_writes_to_it(make_job, tmp_path):
    log = tmp_path / "a.log"
    orphan = _start(make_job("a", "late"), [], log)
    until(lambda: "Loading." in log.read_text())
    own = _start(make_job("a", "nothing"), [], log)
    assert own.wait() == 0
    (tmp_path / "go").touch()
    assert orphan.wait() == 0
    assert log.read_text() == "late\n"


STUDY = """
from pathlib import Path
from lam_sb.console import console
from lam_sb.study.runner import run_jobs
from lam_sb.study.job import Job

def job(name, do):
    folder = str(Path("runs") / name)
    keys = {"experiment": name, "source": 1, "target": 2, "seed": 0}
    keys |= {"folder": folder, "do": do, "hash": "0"}
    paths = {"output_folder": folder}
    script = Path("train.py")
    return Job("cc", "e", script, "a.yaml", keys, paths, False, False, {})

jobs = [job("a", "wait"), job("b", "wait"), job("c", "wait")]
with console(verbose=False):
    run_jobs(jobs, 2, [], Path("logs"))
"""


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, STATUS), (signal.SIGINT, 130)]
)
def test_a_signal_ends_the_runs_at_work(make_job, tmp_path, number, status):
    (tmp_path / "study.py").write_text(STUDY)
    process = subprocess.Popen(
        [sys.executable, "study.py"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    deadline = time.monotonic() + 60
    while len(started(tmp_path)) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == status
    assert errors.endswith("Stopped; the same command goes on from here.\n")
    lines = started(tmp_path)
    names = sorted(name for name, *_ in lines)
    assert names == ["a", "b"]  # c was never started
    for _, pid in lines:
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)


def test_a_run_that_another_process_is_at_is_waited_for(make_job, tmp_path):
    jobs = [make_job("a"), make_job("b")]
    with ThreadPoolExecutor(1) as pool:
        with held_folder(jobs[0].folder):
            running = pool.submit(run_jobs, jobs, 2, [], tmp_path / "logs")
            while not jobs[1].is_done():
                time.sleep(0.05)
            assert not running.done()
            assert [name for name, *_ in started(tmp_path)] == ["b"]
        assert running.result(60) == []
    assert jobs[0].is_done()
