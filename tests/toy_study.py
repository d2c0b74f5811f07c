"""Studies of the corpora that all tests share."""

from __future__ import annotations

from pathlib import Path

from conftest import HPARAMS

from lam_sb.command_line import parse_arguments
from lam_sb.study.grid import Study, make_jobs, read_study
from lam_sb.study.job import Job

RUN_OPTS = parse_arguments(["any.yaml"])[1]


def study_over_open(
    folder: Path, data_folder: Path, encoder: Path, /, **overrides
) -> Study:
    """Read a study over open.yaml on the corpora ``left`` and ``right``."""
    path = folder / "mine.yaml"
    path.write_text(f"base: {HPARAMS / 'study/open.yaml'}\nstudy: mine\n")
    given = {
        "data_folder": str(data_folder),
        "corpora": ["left", "right"],
        "encoders": {"tiny": str(encoder)},
        "hparams": str(HPARAMS / "small/{file}.yaml"),
    }
    return read_study(str(path), given | overrides)


def jobs_of(study: Study) -> list[Job]:
    return make_jobs(study, RUN_OPTS)
