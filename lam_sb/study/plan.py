"""What of a study is done, what is to be done, and what that takes."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from statistics import mean

from lam_sb.evaluation.result_files import read_results
from lam_sb.study.grid import Study
from lam_sb.study.job import Job

START_SECONDS = 6.0  # that a run takes before it starts to count


def describe_plan(study: Study, jobs: Sequence[Job]) -> str:
    """Say what is done and what is to be done, and how long that takes.

    Arguments
    ---------
    study : Study
        The study.
    jobs : Sequence[Job]
        All its runs.

    Returns
    -------
    str
        Some lines.
    """
    done, to_do = [], []
    for job in jobs:
        (done if job.is_done() else to_do).append(job)
    by_system = Counter(job.system for job in to_do)
    totals = Counter(job.system for job in jobs)
    lines = [f"{study['title']}: {study.folder}", "", "system: done, to do"]
    lines += [
        f"  {system}: {total - by_system[system]}, {by_system[system]}"
        for system, total in totals.items()
    ]
    lines.append(f"{len(jobs)} runs: {len(done)} done, {len(to_do)} to do.")
    old = {job: job.changed() for job in to_do if not job.differing()}
    changed = list(dict.fromkeys(itertools.chain(*old.values())))
    if changed:
        lines.append(
            f"{sum(map(bool, old.values()))} of them have results on other "
            f"data ({'; '.join(changed)}), whose folders are kept with _old1 "
            "behind their names."
        )
    seconds = expected_seconds(to_do, done, study["jobs"])
    if to_do and seconds is not None:
        lines.append(
            f"They take about {timedelta(seconds=round(seconds))} with "
            f"{study['jobs']} at a time, going by those that are done."
        )
    elif to_do:
        lines.append("How long they take is known once the first is done.")
    size = expected_bytes(to_do, done)
    if study["keep_weights"] and size:
        lines.append(
            f"They leave about {size / 1e9:.1f} GB of weights; "
            "--keep_weights=False removes those of each run that is done."
        )
    return "\n".join(lines)


def expected_bytes(to_do: Sequence[Job], done: Sequence[Job]) -> float:
    """Estimate from a run of each system what the others leave in ``save``.

    Arguments
    ---------
    to_do, done : Sequence[Job]
        Runs.

    Returns
    -------
    float
        Bytes; 0 where nothing is known.
    """
    folders = {job.system: job.save_folder for job in done}
    sizes = {
        system: sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
        for system, folder in folders.items()
    }
    if not sizes:
        return 0.0
    typical = mean(sizes.values())
    return sum(sizes.get(job.system, typical) for job in to_do)


def expected_seconds(
    to_do: Sequence[Job], done: Sequence[Job], at_once: int
) -> float | None:
    """Estimate from the runs that are done how long the others take.

    Arguments
    ---------
    to_do, done : Sequence[Job]
        Runs.
    at_once : int
        How many run at the same time.

    Returns
    -------
    float | None
        Seconds; None where nothing is done yet.
    """
    seconds: dict[str, list[float]] = {}
    for job in done:
        results = read_results(job.results[0])
        spent = results["seconds"] + START_SECONDS
        seconds.setdefault(job.system, []).append(spent)
    if not seconds:
        return None
    typical = mean(itertools.chain.from_iterable(seconds.values()))
    total = sum(mean(seconds.get(job.system, [typical])) for job in to_do)
    return total / at_once
