"""What a study found: its runs in tables, and what stands beside them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from lam_sb.analysis.similarity import read_similarity
from lam_sb.errors import UserError
from lam_sb.evaluation.comparisons import Column, tabulate
from lam_sb.evaluation.results import Run, read_run
from lam_sb.study.grid import Job, Study
from lam_sb.study.report.report import Findings
from lam_sb.study.report.tables import Analysis
from lam_sb.study.runner import Failure


def find(
    study: Study, jobs: Sequence[Job], failures: Sequence[Failure]
) -> Findings:
    """Gather what a study has found so far.

    Arguments
    ---------
    study : Study
        The study.
    jobs : Sequence[Job]
        All its runs; those that are done are shown.
    failures : Sequence[Failure]
        Runs that gave no result.

    Returns
    -------
    Findings
        Of these runs, and of those in the folders that the study includes.
    """
    paths = [job.results for job in jobs if job.is_done()]
    missing = len(jobs) - len(paths) - len(failures)
    wanting = f"{missing} of the study's {len(jobs)} runs are not done yet."
    for folder in study["include"]:
        paths += sorted(Path(folder).rglob("results.json"))
    runs: list[Run] = []
    unread = [wanting] if missing else []
    for path in dict.fromkeys(paths):
        try:
            runs.append(read_run(path))
        except UserError as error:
            unread.append(str(error))
    encoders = {job.places["encoder_source"]: job.encoder for job in jobs}
    tables, problems = tabulate(runs, encoders)
    return Findings(
        name=study["study"],
        title=study["title"],
        tables=tables,
        problems=unread + problems,
        analyses=_analyses(jobs),
        genders=_genders(jobs),
        preparation=_preparation(jobs),
        paper=study["paper_numbers"],
        failed=list(failures),
    )


def _analyses(jobs: Sequence[Job]) -> list[Analysis]:
    """Read the analyses, of folds the first, one a column."""
    found: dict[Column, Analysis] = {}
    for job in jobs:
        folder = Path(job.places["analysis_folder"])
        column = Column(job.encoder, job.keys["source"], job.keys["target"])
        if job.anchored and job.places["analysed"] and column not in found:
            text = (folder / "selection.json").read_text(encoding="utf-8")
            found[column] = Analysis(
                column,
                folder,
                json.loads(text),
                read_similarity(folder / "similarity.csv"),
            )
    return list(found.values())


def _genders(jobs: Sequence[Job]) -> dict[str, dict[str, str]]:
    """Gender by corpus and utterance, as far as manifests are there."""
    genders: dict[str, dict[str, str]] = {}
    for path, corpus in {
        job.places["target_test"]: job.keys["target"] for job in jobs
    }.items():
        if Path(path).is_file():
            rows = json.loads(Path(path).read_text(encoding="utf-8"))
            known = genders.setdefault(corpus, {})
            known |= {i: row.get("gender", "") for i, row in rows.items()}
    return genders


def _preparation(jobs: Sequence[Job]) -> dict[str, dict]:
    """Read what preparing each corpus kept, as far as it is there."""
    found: dict[str, dict] = {}
    for job in jobs:
        for role, key in ("source", "source_train"), ("target", "target_test"):
            path = Path(job.places[key]).with_name("prep_report.json")
            corpus = job.keys[role]
            if corpus not in found and path.is_file():
                found[corpus] = json.loads(path.read_text(encoding="utf-8"))
    return found
