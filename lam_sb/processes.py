"""Several processes of one command, as torchrun starts them; their threads."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace

import torch
import torch.distributed as dist
from speechbrain.utils.distributed import ddp_init_group
from speechbrain.utils.run_opts import RunOptions

from lam_sb.errors import UserError

COUNTING = ("WORLD_SIZE", "RANK", "LOCAL_RANK")
MEETING = ("MASTER_ADDR", "MASTER_PORT")


def start_processes(run_opts: RunOptions) -> RunOptions:
    """Choose the threads; join the other processes, if torchrun started some.

    By gloo where there is no GPU, or with ``--device cpu``, unless another
    backend is asked for. One process alone needs no group, so it forgets what
    counts it: SpeechBrain would go by these variables.

    Arguments
    ---------
    run_opts : RunOptions
        SpeechBrain's options.

    Returns
    -------
    RunOptions
        The same, with the backend that was chosen.

    Raises
    ------
    UserError
        The environment counts processes that no torchrun started, or they
        cannot be joined.
    """
    limit_threads()
    if dist.is_initialized():
        return run_opts
    if not wants_group(os.environ):
        for name in COUNTING:
            os.environ.pop(name, None)
        return run_opts
    on_cpu = run_opts.device == "cpu" or not torch.cuda.is_available()
    if on_cpu and "distributed_backend" not in run_opts.overridden_args:
        # A Brain takes no option but those that were given.
        given = run_opts.overridden_args | {"distributed_backend"}
        run_opts = replace(
            run_opts, distributed_backend="gloo", overridden_args=given
        )
    try:
        ddp_init_group(run_opts)
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"The {os.environ['WORLD_SIZE']} processes cannot be joined by "
            f"--distributed_backend {run_opts.distributed_backend} ({reason}); "
            "each needs a GPU of its own, or all --device cpu."
        ) from error
    return run_opts


def limit_threads(most: int | None = None) -> None:
    """Use the cores that this process was given, or OMP_NUM_THREADS if set.

    Arguments
    ---------
    most : int, optional
        No more than these.
    """
    if os.environ.get("OMP_NUM_THREADS"):
        return
    cores = len(os.sched_getaffinity(0))
    asked = os.environ.get("SLURM_CPUS_PER_TASK", "")
    if asked.isdigit():  # not every cluster binds its jobs to their cores
        cores = min(cores, int(asked))
    torch.set_num_threads(min(cores, most or cores))


def wants_group(environment: Mapping[str, str]) -> bool:
    """Tell whether this is one of several processes that torchrun started.

    Arguments
    ---------
    environment : Mapping[str, str]
        Environment variables.

    Returns
    -------
    bool
        False for a process alone, such as a SLURM job of one task.

    Raises
    ------
    UserError
        Some variables count several processes, but not all are there that
        torchrun sets.

    Example
    -------
    >>> wants_group({}), wants_group({"WORLD_SIZE": "1", "RANK": "0"})
    (False, False)
    """
    given = {n: environment[n] for n in COUNTING if environment.get(n)}
    listed = ", ".join(f"{name}={value}" for name, value in given.items())
    remedy = (
        "start several processes with torchrun, or one alone after: unset "
        f"{' '.join(COUNTING)}"
    )
    try:
        numbers = {name: int(value) for name, value in given.items()}
    except ValueError:
        raise UserError(f"{listed} in the environment: {remedy}") from None
    world = numbers.get("WORLD_SIZE", 1)
    if world == 1 and not any(numbers.get(n) for n in ("RANK", "LOCAL_RANK")):
        return False
    missing = [n for n in (*COUNTING, *MEETING) if not environment.get(n)]
    if missing:
        raise UserError(
            f"The environment counts processes ({listed}), but lacks "
            f"{', '.join(missing)}: {remedy}"
        )
    if not 0 <= numbers["RANK"] < world:
        raise UserError(f"{listed} in the environment: {remedy}")
    return True


def process_rank() -> tuple[int, int]:
    """Rank of this process and their number, in the group that was started."""
    if not dist.is_available() or not dist.is_initialized():
        return 0, 1
    return dist.get_rank(), dist.get_world_size()


def gather_lists(values: list) -> list:
    """Join the lists of all processes; all wait for each other."""
    if process_rank()[1] == 1:
        return values
    parts: list = [None] * dist.get_world_size()
    dist.all_gather_object(parts, values)
    return [value for part in parts for value in part]
