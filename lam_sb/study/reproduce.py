"""The command ``reproduce``: run what is not done yet, and report."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence

from speechbrain.utils.logger import get_logger
from speechbrain.utils.run_opts import RunOptions

from lam_sb.command_line import option_words, parse_arguments
from lam_sb.commands import analyse, encoded_rows
from lam_sb.errors import UserError
from lam_sb.processes import wants_group
from lam_sb.study.cluster import prepare_on_cluster, run_on_cluster
from lam_sb.study.data import with_data
from lam_sb.study.grid import Study, make_jobs, read_study
from lam_sb.study.job import Job, command_line
from lam_sb.study.plan import describe_plan
from lam_sb.study.report.findings import Findings, find
from lam_sb.study.runner import Failure, run_jobs

logger = get_logger(__name__)


def reproduce(argv: Sequence[str]) -> None:
    """Run a study's runs that are not done yet, and report on all of them.

    Raises
    ------
    UserError
        A study that does not load, or runs that gave no result.
    """
    from lam_sb.study.report.report import write_report  # matplotlib is slow

    path, run_opts, overrides = parse_arguments(argv)
    study = read_study(path, overrides)
    findings = run_study(study, run_opts)
    if findings is None:
        return
    page = write_report(study.folder, findings)
    print(page)
    if findings.failed:
        raise UserError(
            f"{len(findings.failed)} runs gave no result; {page} lists them. "
            "The same command goes on from here."
        )


def run_study(study: Study, run_opts: RunOptions) -> Findings | None:
    """Run a study's runs that are not done yet; give what all have found.

    Arguments
    ---------
    study : Study
        The study.
    run_opts : RunOptions
        SpeechBrain's options for all runs.

    Returns
    -------
    Findings | None
        None where the study only says what it would do.

    Raises
    ------
    UserError
        It was started by torchrun, or a file does not load.
    """
    if wants_group(os.environ):
        raise UserError(
            "A study starts its runs itself: call it with python, not with "
            "torchrun; --jobs says how many run at a time."
        )
    jobs = make_jobs(study, run_opts)
    if not study["report_only"]:
        jobs = with_data(jobs)
    if study["print_commands"]:
        _print_commands(jobs, option_words(run_opts))
        return None
    if study["dry_run"]:
        print(describe_plan(study, jobs))
        return None
    failures: list[Failure] = []
    if not study["report_only"]:
        print(describe_plan(study, jobs), flush=True)
        jobs, failures = _run(study, jobs, run_opts)
    return find(study, jobs, failures)


def _run(
    study: Study, jobs: Sequence[Job], run_opts: RunOptions
) -> tuple[list[Job], list[Failure]]:
    """Do what is to be done; give the runs anew, and those without result."""
    options, on_cluster = option_words(run_opts), study["cluster"] != "local"
    commands = _preparing_commands(jobs)
    if on_cluster:
        errors = prepare_on_cluster(commands, options, study)
    else:
        errors = _prepare(commands, options)
    if any(job.needs_analysis for job in jobs):
        jobs = with_data(make_jobs(study, run_opts))  # by layers selected
    ready, failures = _choose_ready(jobs, options, errors)
    if on_cluster:
        return jobs, failures + run_on_cluster(ready, options, study)
    logs = study.folder / "logs"
    return jobs, failures + run_jobs(
        ready, study["jobs"], options, logs, study["keep_weights"]
    )


def _preparing_commands(
    jobs: Sequence[Job],
) -> dict[tuple[str, str], Job]:
    """Commands that must come first, and on what; a run has their keys."""
    commands = {("extract", j.inputs): j for j in jobs if not j.is_done()}
    commands |= {
        ("analyse", job.paths["analysis_folder"]): job
        for job in jobs
        if job.needs_analysis
    }
    return commands


def _print_commands(jobs: Sequence[Job], options: Sequence[str]) -> None:
    """Print what is to be run, and apart from it what must come first."""
    for (command, _), job in _preparing_commands(jobs).items():
        arguments = job.from_anywhere().arguments
        words = ["python", "-m", "lam_sb", command, *arguments, *options]
        print(f"first: {shlex.join(words)}", file=sys.stderr)
    for job in jobs:
        if job.changed() and not job.differing():
            folders = job.folder, job.kept_in
            words = ["mv", *(os.path.abspath(folder) for folder in folders)]
            print(f"first: {shlex.join(words)}", file=sys.stderr)
        if not job.is_done():
            print(command_line(job.from_anywhere(), options))


def _prepare(
    commands: Mapping[tuple[str, str], Job], options: Sequence[str]
) -> dict[str, str]:
    """Encode and analyse what runs need.

    Gives what is wrong, by `Job.inputs` or by analysis folder.
    """
    errors: dict[str, str] = {}
    for (command, name), job in commands.items():
        try:
            if command == "extract":
                encoded_rows([*job.arguments, *options])
            else:
                analyse([*job.arguments, *options])
        except UserError as error:
            logger.error("%s", error)
            errors[name] = str(error)
    return errors


def _choose_ready(
    jobs: Sequence[Job], options: Sequence[str], errors: Mapping[str, str]
) -> tuple[list[Job], list[Failure]]:
    """Part what can be run from what cannot."""
    ready, failures = [], []
    for job in jobs:
        if job.is_done():
            continue
        differing = job.differing()
        reason = errors.get(job.inputs)
        if job.settings is None:
            folder = job.paths["analysis_folder"]
            reason = errors.get(folder, f"{folder} is of other options")
        if differing:
            reason = (
                f"{job.folder} was made with other settings "
                f"({'; '.join(differing)}); name another study or experiment"
            )
        if not reason and job.changed():
            reason = _set_aside(job)
        if reason:
            failures.append(Failure(command_line(job, options), reason))
        else:
            ready.append(job)
    return ready, failures


def _set_aside(job: Job) -> str | None:
    """Keep what a run left on other data; say why that is not possible."""
    try:
        job.set_aside()
    except UserError as error:
        return str(error)
    return None
