"""What the runs of a study rest on today, so that old results are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from speechbrain.utils.logger import get_logger

from lam_sb.analysis.anchor_layers import (
    ANALYSIS_RULES,
    analysed_data,
    changed_selection,
)
from lam_sb.data import describe_data
from lam_sb.errors import UserError
from lam_sb.features.encoders import FrozenEncoder
from lam_sb.inputs import PARTS, prepare_manifests, read_rows, with_manifests
from lam_sb.study.job import Job

logger = get_logger(__name__)
# What of a run's values says how its manifests are written.
PREP_KEYS = ("prepare", "skip_prep", "manifest_folder")
# And which of their rows it reads.
ROW_KEYS = (
    *(*PREP_KEYS, *PARTS),
    *("valid", "source_folder", "target_folder", "select_on", "target_rows"),
    *("bound", "fit", "target_shots", "hold_out_shots", "split_seed"),
    "segment",
)
# What of a run's values `with_data` has to know.
DATA_KEYS = (
    *(*ROW_KEYS, "seed", "store"),
    *("anchor_layers", "selection_settings"),
)


def with_data(jobs: Sequence[Job]) -> list[Job]:
    """Add to the settings of runs the data that they rest on today.

    Only where something is there that may rest on others. Its corpora are
    prepared again, as each run prepares them, which is quick where nothing
    has changed. What is out of reach is said, and stays unknown. A run whose
    anchors were selected on other data loses its settings: it waits for the
    analysis.

    Arguments
    ---------
    jobs : Sequence[Job]
        As from `lam_sb.study.grid.make_jobs`.

    Returns
    -------
    list[Job]
        The same in the same order.
    """
    look = _Look()
    there = {job.inputs for job in jobs if job.has_left_something()}
    return [_with_data(j, look) if j.inputs in there else j for j in jobs]


def _with_data(job: Job, look: _Look) -> Job:
    if job.settings is None:
        return job
    rows = look.once(job, ROW_KEYS, look.describe)
    store = look.once(job, ("store",), lambda job: job.values["store"]().path)
    if rows is None or store is None:
        return job
    data, analysed = rows
    labelled = job.values["selection_settings"]["use_target_labels"]
    analysed = analysed[labelled] | {"store": store.name}
    folder, bound = job.paths["analysis_folder"], job.values["bound"]
    if job.is_analysed and changed_selection(folder, bound, analysed):
        job = replace(job, is_analysed=False)
        if str(job.values["anchor_layers"]) in ANALYSIS_RULES:
            return replace(job, settings=None)
    data = data | {"store": store.name}
    return replace(job, settings=job.settings | {"data": data})


def is_encoded(job: Job) -> bool:
    """Whether its store holds all rows of its manifests, if these are there.

    Arguments
    ---------
    job : Job
        As from `lam_sb.study.grid.make_jobs`.

    Returns
    -------
    bool
        False also where that cannot be seen, as before an analysis.
    """
    if not job.values:
        return False
    try:
        rows, store = read_rows(job.values), job.values["store"]()
        for part in rows.values():
            for own in part.values():
                store.rows(own)
    except UserError:
        return False
    return True


class _Look:
    """Looks at what many runs share once; None where it is out of reach."""

    def __init__(self):
        self.seen: dict[str, object] = {}

    def describe(self, job: Job) -> tuple[dict, dict[bool, dict]]:
        """Say what a run and, with labels and without, its analysis rest on.

        Its manifests may be those of a run that was prepared otherwise.
        """
        prepare = partial(prepare_manifests, job.file)
        rows = with_manifests(job.values, prepare, read_rows)
        analysed = {x: analysed_data(rows, "", x) for x in (True, False)}
        return describe_data(job.values, rows, ""), analysed

    def once(
        self, job: Job, keys: Sequence[str], look: Callable[[Job], object]
    ) -> object:
        name = _name(job, keys)
        if name not in self.seen:
            self.seen[name] = None
            try:
                self.seen[name] = look(job)
            except UserError as error:
                logger.warning_once(
                    f"{error} Results of it are taken as they are."
                )
        return self.seen[name]


def _name(job: Job, keys: Sequence[str]) -> str:
    return repr([_plain(job.values[key]) for key in keys])


def _plain(value: object) -> object:
    """Give what an object was made of, so that equal ones are known."""
    if isinstance(value, partial):
        return {key: _plain(part) for key, part in value.keywords.items()}
    if isinstance(value, FrozenEncoder):
        return value.source, value.settings
    return dict(value) if isinstance(value, Mapping) else value
