"""Whether this is one of several processes, by the environment."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch.distributed as dist
from conftest import ROOT
from speechbrain.utils.run_opts import RunOptions

from lam_sb import __main__ as commands
from lam_sb.errors import UserError
from lam_sb.processes import (
    COUNTING,
    gather_lists,
    limit_threads,
    process_rank,
    start_processes,
    wants_group,
)

SLURM = "SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NTASKS=1 SLURM_JOB_ID=7"
TORCHRUN = (
    "RANK=1 LOCAL_RANK=1 WORLD_SIZE=3 MASTER_ADDR=localhost MASTER_PORT=29500"
)


def variables(text: str) -> dict[str, str]:
    return dict(word.split("=") for word in text.split())


@pytest.mark.parametrize(
    ("text", "several"),
    [
        ("", False),
        (SLURM, False),
        (f"{SLURM} WORLD_SIZE=1", False),
        (f"{SLURM} WORLD_SIZE=1 RANK=0 LOCAL_RANK=0", False),
        ("SLURM_NTASKS=8 SLURM_PROCID=3", False),  # jobs of their own
        ("WORLD_SIZE= RANK=", False),
        (TORCHRUN.replace("=1", "=0").replace("=3", "=1"), False),
        (TORCHRUN, True),
    ],
)
def test_a_group_is_started_where_torchrun_started_several(text, several):
    assert wants_group(variables(text)) is several


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("WORLD_SIZE=8", r"\(WORLD_SIZE=8\), but lacks RANK, LOCAL_RANK, MAS"),
        (f"{SLURM} WORLD_SIZE=2 RANK=0", "lacks LOCAL_RANK, MASTER_ADDR, MAST"),
        ("RANK=2", r"\(RANK=2\), but lacks WORLD_SIZE, LOCAL_RANK, MASTER"),
        (
            "LOCAL_RANK=1",
            "lacks WORLD_SIZE, RANK, MASTER_ADDR, MASTER_PORT: st",
        ),
        ("WORLD_SIZE=2 RANK=1 LOCAL_RANK=1", "lacks MASTER_ADDR, MASTER_PORT:"),
        (
            TORCHRUN.replace("=3", "=1"),
            "^WORLD_SIZE=1, RANK=1, LOCAL_RANK=1 in",
        ),
        ("WORLD_SIZE=many", "^WORLD_SIZE=many in the environment: start sev"),
    ],
)
def test_what_else_counts_processes_is_refused(text, message):
    with pytest.raises(UserError, match=message) as error:
        wants_group(variables(text))
    assert str(error.value).endswith("unset WORLD_SIZE RANK LOCAL_RANK")


@pytest.fixture
def environment(monkeypatch):
    for name in COUNTING:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch.setenv


def test_one_process_alone_is_counted_by_nothing(environment):
    for name, value in variables("WORLD_SIZE=1 RANK=0 LOCAL_RANK=0").items():
        environment(name, value)
    start_processes(RunOptions())
    assert not dist.is_initialized()
    assert not {*COUNTING} & os.environ.keys()  # SpeechBrain reads them too
    assert process_rank() == (0, 1)
    assert gather_lists([3, 4]) == [3, 4]


def test_only_a_group_that_was_started_counts(environment, tmp_path):
    environment("WORLD_SIZE", "4")
    assert process_rank() == (0, 1)
    with pytest.raises(UserError, match="WORLD_SIZE=4"):
        start_processes(RunOptions())
    meeting = f"file://{tmp_path}/meeting"
    dist.init_process_group("gloo", meeting, world_size=1, rank=0)
    try:
        environment("RANK", "3")
        assert process_rank() == (0, 1)
        start_processes(RunOptions())  # it is there already
    finally:
        dist.destroy_process_group()


def test_processes_that_cannot_meet_are_one_sentence(environment, monkeypatch):
    def fail(run_opts):
        assert run_opts.distributed_backend == "nccl"
        raise ValueError("Killing process \nNot enough GPUs available!")

    monkeypatch.setattr("lam_sb.processes.ddp_init_group", fail)
    for name, value in variables(TORCHRUN).items():
        environment(name, value)
    options = RunOptions.from_dictionary({"distributed_backend": "nccl"})
    message = (
        r"^The 3 processes .* \(Killing process Not enough GPUs avail.*cpu"
    )
    with pytest.raises(UserError, match=message):
        start_processes(options)


def test_processes_on_cpus_meet_by_gloo(environment, monkeypatch):
    met = []
    monkeypatch.setattr("lam_sb.processes.ddp_init_group", met.append)
    for name, value in variables(TORCHRUN).items():
        environment(name, value)
    options = start_processes(RunOptions.from_dictionary({"device": "cpu"}))
    assert met == [options]
    assert (options.distributed_backend, options.device) == ("gloo", "cpu")
    # A Brain takes what was given alone.
    assert options.overridden_args == {"distributed_backend", "device"}


@pytest.mark.parametrize(
    ("given", "most", "threads"),
    [
        ({}, None, 6),
        ({}, 1, 1),
        ({"SLURM_CPUS_PER_TASK": "4"}, None, 4),
        ({"SLURM_CPUS_PER_TASK": "64"}, None, 6),
        ({"SLURM_CPUS_PER_TASK": "4"}, 3, 3),
        ({"OMP_NUM_THREADS": "5"}, 1, None),  # torch has read it
    ],
)
def test_threads_are_the_cores_that_were_given(
    given, most, threads, monkeypatch
):
    for name in ("OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    chosen = []
    monkeypatch.setattr("torch.set_num_threads", chosen.append)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(6)))
    limit_threads(most)
    assert chosen == ([] if threads is None else [threads])


def test_waiting_threads_sleep_unless_it_is_said_otherwise():
    code = "import os, lam_sb, sys; assert 'torch' not in sys.modules; "
    code += "print(os.environ['OMP_WAIT_POLICY'])"
    rest = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    for given in ({}, {"OMP_WAIT_POLICY": "ACTIVE"}):
        said = subprocess.check_output(
            [sys.executable, "-c", code], env=rest | given, cwd=ROOT, text=True
        )
        assert said.strip() == given.get("OMP_WAIT_POLICY", "PASSIVE")


def test_a_study_starts_its_runs_itself(environment):
    for name, value in variables(TORCHRUN).items():
        environment(name, value)
    with pytest.raises(UserError, match="call it with python, not with torchr"):
        commands.main(["reproduce", "hparams/study/open.yaml"])
