"""The analysis of corpora: similarity by layer, selection and Figure 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from speechbrain.utils.logger import get_logger

from lam_sb.analysis.anchor_layers import TABLE, read_selection
from lam_sb.analysis.measures import COVARIANCE_MEASURES, MEAN_MEASURES
from lam_sb.analysis.selection import select_layers
from lam_sb.analysis.similarity import (
    read_similarity,
    similarity_rows,
    write_similarity,
)
from lam_sb.analysis.sums import corpus_sums, join_sums
from lam_sb.errors import UserError
from lam_sb.files import file_checksum, write_checked
from lam_sb.training.rows import DomainRows

logger = get_logger(__name__)
PHONE_SELECTIONS = ("vowels", "consonants")


def analyse_corpora(
    source: Sequence[DomainRows],
    target: Sequence[DomainRows],
    measure: str,
    use_target_labels: bool,
    folder: str | Path,
    selection_settings: Mapping[str, object],
    data: Mapping[str, object],
) -> dict:
    """Compare source and target layer by layer, and select layers.

    Several corpora of a role count as one, each row alike.

    Leaves similarity.csv, selection.json (settings and data in it) and Figure
    1 of all encoders that were analysed on these corpora by this measure.
    Where ``vowels`` or ``consonants`` can be ranked, the selection holds one
    on them under that name.

    Arguments
    ---------
    source, target : Sequence[DomainRows]
        Training rows of each corpus; the target's labels are hidden unless
        they may be used.
    measure, use_target_labels
        As for `select_layers`, which gives what is returned.
    folder, selection_settings, data
        Where to leave all this, and what selection.json holds besides; the
        data are those of `lam_sb.analysis.anchor_layers.analysed_data`.
    """
    covariance = measure in COVARIANCE_MEASURES
    sums = [
        join_sums([corpus_sums(rows, covariance) for rows in role])
        for role in (source, target)
    ]
    selection = select_layers(*sums, measure, use_target_labels)
    for segment in PHONE_SELECTIONS:
        with suppress(UserError):  # it cannot be ranked on these corpora
            selection[segment] = select_layers(
                *sums, measure, use_target_labels, segment
            )
    measures = MEAN_MEASURES if use_target_labels else MEAN_MEASURES[:2]
    if covariance:
        measures += COVARIANCE_MEASURES
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rows = similarity_rows(*sums, measures)
    write_similarity(folder / TABLE, rows)
    ending = {"settings": dict(selection_settings), "data": dict(data)}
    ending["files"] = {TABLE: file_checksum(folder / TABLE)}
    write_checked(folder / "selection.json", selection | ending)
    _draw(folder, measure)
    return selection


def _draw(folder: Path, measure: str) -> None:
    """Draw all encoders that were analysed on these corpora."""
    from lam_sb.analysis.figure1 import draw_similarity  # matplotlib is slow

    tables, selected = {}, {}
    for other in sorted(folder.parent.parent.glob(f"*/{folder.name}")):
        try:
            selection = read_selection(other)
        except UserError as error:
            logger.warning(f"{error} Figure 1 leaves it out.")
            continue
        if selection["measure"] == measure:
            encoder = other.parent.name
            tables[encoder] = read_similarity(other / TABLE)
            selected[encoder] = selection
    paths = [folder / f"figure1.{ending}" for ending in ("png", "pdf")]
    draw_similarity(tables, selected, measure, folder.name, paths)
