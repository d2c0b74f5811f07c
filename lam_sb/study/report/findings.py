"""What a study has found: its runs in tables, and what stands beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from lam_sb.analysis.anchor_layers import read_selection
from lam_sb.corpora.manifests import read_manifest
from lam_sb.corpora.names import by_corpus, names_of
from lam_sb.corpora.prep_report import read_report
from lam_sb.errors import UserError
from lam_sb.evaluation.comparisons import (
    Column,
    ScoreTable,
    columns_of,
    make_tables,
)
from lam_sb.evaluation.result_files import read_results
from lam_sb.evaluation.results import Run, read_run
from lam_sb.files import DamagedError
from lam_sb.run_folder import is_part
from lam_sb.study.grid import Study
from lam_sb.study.job import SET_ASIDE, Job
from lam_sb.study.report.layer_tables import Analysis
from lam_sb.study.runner import Failure


@dataclass(frozen=True)
class Findings:
    """What a study has found."""

    name: str  # of the study
    title: str  # of the page
    tables: list[ScoreTable] = field(default_factory=list)  # one a protocol
    problems: list[str] = field(default_factory=list)  # what is left out, why
    analyses: list[Analysis] = field(default_factory=list)  # one a column
    # By corpus and utterance; empty or missing where unknown.
    genders: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    # What prep_report.json holds, by corpus.
    preparation: Mapping[str, Mapping] = field(default_factory=dict)
    paper: bool = False  # whether the paper's numbers stand beside ours
    failed: list[Failure] = field(default_factory=list)  # without a result


def find(
    study: Study, jobs: Sequence[Job], failures: Sequence[Failure]
) -> Findings:
    """Gather what a study has found so far.

    Runs that are done are shown, and those in the folders that it includes.
    """
    runs, problems = _read_runs(study, jobs, len(failures))
    encoders = {job.paths["encoder_source"]: job.encoder for job in jobs}
    tables, left_out = make_tables(runs, encoders)
    return Findings(
        name=study["study"],
        title=study["title"],
        tables=tables,
        problems=problems + left_out,
        analyses=_analyses(jobs),
        genders=_genders(jobs),
        preparation=_preparation(jobs),
        paper=study["paper_numbers"],
        failed=list(failures),
    )


def _read_runs(
    study: Study, jobs: Sequence[Job], failed: int
) -> tuple[list[Run], list[str]]:
    done = [job for job in jobs if job.is_done()]
    paths = [path for job in done for path in job.results]
    missing = len(jobs) - len(done) - failed
    problems = [
        f"{missing} of the study's {len(jobs)} runs are not done yet."
    ] * bool(missing)
    for path in (p for job in jobs if job not in done for p in job.results):
        if path.exists():  # of other settings, or damaged
            with suppress(FileNotFoundError):
                problems += _damage(path)
    for folder in study["include"]:
        found = sorted(Path(folder).rglob("results.json"))
        # Those of old data, which a study set aside, stand beside new ones.
        paths += [
            path
            for path in found
            if not any(SET_ASIDE.search(p.name) for p in [*path.parents][:2])
            and not is_part(path)
        ]
    runs = []
    for path in dict.fromkeys(paths):
        try:
            runs.append(read_run(path))
        except UserError as error:
            problems.append(str(error))
    return runs, problems


def _damage(path: Path) -> list[str]:
    try:
        read_results(path)
    except DamagedError as error:
        return [f"{error}; give the run's command again."]
    return []


def _analyses(jobs: Sequence[Job]) -> list[Analysis]:
    """Read the analyses, of folds the first, one a column."""
    analyses: dict[Column, Analysis] = {}
    for job in jobs:
        folder = Path(job.paths["analysis_folder"])
        if not (job.wants_analysis and job.is_analysed):
            continue
        source, targets = job.keys["source"], names_of(job.keys["target"])
        for column in columns_of(job.encoder, source, targets).values():
            if column not in analyses:
                selection = read_selection(folder)
                analyses[column] = Analysis(column, folder, selection)
    return list(analyses.values())


def _genders(jobs: Sequence[Job]) -> dict[str, dict[str, str]]:
    """Gender by corpus and utterance, as far as manifests are there."""
    genders: dict[str, dict[str, str]] = {}
    manifests: dict[str, str] = {}  # corpus by path
    for job in jobs:
        by_name = by_corpus(
            "target_test", job.paths["target_test"], job.keys["target"]
        )
        manifests |= {path: corpus for corpus, path in by_name.items()}
    for path, corpus in manifests.items():
        with suppress(UserError):  # not there, or no manifest
            rows = read_manifest(path, "")
            known = genders.setdefault(corpus, {})
            known |= {i: row["gender"] for i, row in rows.items()}
    return genders


def _preparation(jobs: Sequence[Job]) -> dict[str, dict]:
    """Read what preparing each corpus kept, as far as it is there."""
    reports: dict[str, dict] = {}
    for job in jobs:
        for role, key in ("source", "source_train"), ("target", "target_test"):
            paths = by_corpus(key, job.paths[key], job.keys[role])
            for corpus, manifest in paths.items():
                report = read_report(Path(manifest).parent)
                if corpus not in reports and report:
                    reports[corpus] = report
    return reports
