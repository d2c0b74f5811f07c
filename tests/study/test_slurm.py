"""Commands as jobs of a cluster: by submitit's local executor, or made up."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import submitit
from conftest import ROOT
from submitit.local.local import LocalJob

from lam_sb.errors import UserError
from lam_sb.study import slurm
from lam_sb.study.command import Command
from lam_sb.study.slurm import run_commands

STUDY = {
    **{"cluster": "local", "study": "mine", "jobs": 3, "partition": None},
    **{"gpus": 0, "cpus": 1, "minutes": 240, "requeue": True, "sbatch": {}},
}
# Notes each start; the first time, ends as MODE says.
SCRIPT = """
import os, signal, subprocess, sys, time
mode, parent = sys.argv[1], os.getppid()
with open(f"{mode}.starts", "a") as file:
    file.write("started ")
if len(open(f"{mode}.starts").read().split()) > 1:
    print("went on"), sys.exit()
print("first")
if mode == "time":  # the job's time is nearly over
    signal.signal(signal.SIGUSR1, lambda *_: (print("saved"), sys.exit(75)))
    os.kill(parent, signal.SIGUSR2)
    time.sleep(60)
if mode == "term":  # SIGTERM came first, then the signal to queue it again
    subprocess.Popen(["sh", "-c", f"sleep 0.5; kill -USR2 {parent}"])
    sys.exit(75)
if mode == "fail":
    sys.exit("error: no room")
if mode == "slow":
    time.sleep(3)
"""


@pytest.fixture(autouse=True)
def local(tmp_path, monkeypatch):
    """A folder of the script, and a queue that is not looked at."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    Path("script.py").write_text(SCRIPT)
    monkeypatch.setattr(slurm, "POLL", 0.05)
    monkeypatch.setattr(slurm, "LOOK", 600.0)
    monkeypatch.setattr(slurm, "_queued", set)


def make_command(mode: str, requeue: bool = True) -> Command:
    return Command(["script.py", mode], f"logs/{mode}.log", requeue)


def starts(mode: str) -> int:
    path = Path(f"{mode}.starts")
    return len(path.read_text().split()) if path.is_file() else 0


def test_jobs_run_fail_and_go_on(tmp_path, capfd):
    commands = [make_command(m) for m in ("work", "fail", "time", "term")]
    found = dict(run_commands(commands, STUDY, tmp_path / "jobs"))
    problems = dict.fromkeys(c.log for c in commands)
    assert found == problems | {"logs/fail.log": "error: no room"}
    assert [starts(m) for m in ("work", "fail", "time", "term")] == [1, 1, 2, 2]
    assert Path("logs/time.log").read_text() == "first\nsaved\nwent on\n"
    said = capfd.readouterr()
    assert said.out.startswith("4 jobs submitted to SLURM: ")
    assert "stay in" not in said.err


def test_without_requeue_a_job_saves_and_ends(tmp_path):
    command = make_command("time", requeue=False)
    found = dict(run_commands([command], STUDY, tmp_path / "jobs"))
    assert found == {"logs/time.log": "saved"}
    assert starts("time") == 1


def test_jobs_outlive_the_command_and_are_found_again(
    tmp_path, monkeypatch, capfd
):
    monkeypatch.setattr(submitit, "SlurmJob", LocalJob)
    first = run_commands([make_command("slow")], STUDY, tmp_path / "jobs")
    patience = slurm._wait

    def stopped(jobs):
        while not starts("slow"):
            time.sleep(0.05)
        raise KeyboardInterrupt

    monkeypatch.setattr(slurm, "_wait", stopped)
    with pytest.raises(KeyboardInterrupt):
        next(first)
    said = capfd.readouterr()
    number = said.out.split()[-1]
    assert f"scancel {number} ends them" in said.err
    monkeypatch.setattr(slurm, "_wait", patience)
    monkeypatch.setattr(slurm, "_queued", lambda: {number, "1"})
    again = [make_command("slow"), make_command("work")]
    found = dict(run_commands(again, STUDY, tmp_path / "jobs"))
    assert found == {"logs/slow.log": None, "logs/work.log": None}
    assert starts("slow") == 1
    said = capfd.readouterr().out
    assert said.startswith("1 jobs are in SLURM's queue already.\n1 jobs subm")


def test_a_job_that_the_cluster_ended_is_known_by_the_queue(
    tmp_path, monkeypatch
):
    error = tmp_path / "7_1.err"
    error.write_text("slurmstepd: error: Detected 1 oom_kill event\n")
    paths = SimpleNamespace(result_pickle=tmp_path / "none", stderr=error)
    job = SimpleNamespace(job_id="7_1", paths=paths)
    looks = []

    def queued():
        looks.append(len(looks))
        if len(looks) == 3:  # SLURM is too busy to answer
            raise UserError("squeue does not answer")
        return {"7_1"} if len(looks) == 2 else set()

    monkeypatch.setattr(slurm, "LOOK", 0.0)
    monkeypatch.setattr(slurm, "_queued", queued)
    found = dict(slurm._wait({"a.log": job}))
    assert "ended job 7_1: slurmstepd: error: Detected" in found["a.log"]
    assert len(looks) == 5  # the last two in a row


@pytest.fixture
def commands_of_slurm(tmp_path, monkeypatch):
    """Give sbatch and its kind another text."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def make(**texts: str) -> None:
        for name, text in texts.items():
            path = folder / name
            path.write_text(f"#!/bin/sh\n{text}\n")
            path.chmod(0o755)

    return make


def test_keys_of_the_study_are_options_of_sbatch(
    tmp_path, commands_of_slurm, monkeypatch
):
    commands_of_slurm(
        srun="", sbatch=f'cat "$1" > {tmp_path}/sent; echo Submitted job 42'
    )
    monkeypatch.setattr(slurm, "_wait", lambda jobs: iter([*jobs.items()]))
    keys = {"cluster": "slurm", "partition": "long", "gpus": 2, "cpus": 6}
    keys |= {"minutes": 90, "sbatch": {"account": "me", "mem": "32G"}}
    commands = [make_command(m) for m in ("work", "fail")]
    jobs = dict(run_commands(commands, STUDY | keys, tmp_path / "jobs"))
    assert [job.job_id for job in jobs.values()] == ["42_0", "42_1"]
    lines = Path("sent").read_text().splitlines()
    sent = {line[8:] for line in lines if line.startswith("#SBATCH ")}
    assert {
        *("--array=0-1%2", "--partition=long", "--gpus-per-node=2"),
        *("--cpus-per-task=6", "--time=90", "--account=me", "--mem=32G"),
        *("--requeue", "--signal=USR2@120", "--job-name=mine"),
    } <= sent


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"srun": "", "sbatch": "echo no such account >&2; exit 1"}, "account"),
        ({}, 'detect "srun".*--cluster local'),
    ],
)
def test_jobs_that_cannot_be_submitted_are_one_sentence(
    texts, message, commands_of_slurm, tmp_path, monkeypatch
):
    commands_of_slurm(**texts)
    if not texts:
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    study = STUDY | {"cluster": "slurm"}
    with pytest.raises(UserError, match=f"cannot be submitted .*{message}"):
        list(run_commands([make_command("work")], study, tmp_path / "jobs"))


def test_where_there_is_no_slurm_it_is_said(monkeypatch, tmp_path):
    monkeypatch.undo()
    monkeypatch.setenv("PATH", os.fspath(tmp_path))
    with pytest.raises(UserError, match=r"squeue does not answer.*--cluster l"):
        list(run_commands([], STUDY, tmp_path / "jobs"))
