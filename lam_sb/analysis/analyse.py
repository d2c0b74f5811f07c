"""The analysis of two corpora: similarity by layer, selection and Figure 1."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from lam_sb.analysis.measures import COVARIANCE_MEASURES, MEAN_MEASURES
from lam_sb.analysis.selection import select_layers
from lam_sb.analysis.similarity import (
    read_similarity,
    similarity_rows,
    write_similarity,
)
from lam_sb.analysis.sums import corpus_sums
from lam_sb.files import write_json
from lam_sb.training.rows import DomainRows


def analyse_corpora(
    source: DomainRows,
    target: DomainRows,
    measure: str,
    use_target_labels: bool,
    folder: str | Path,
    selection_settings: Mapping[str, object],
    store_name: str,
) -> dict:
    """Compare two corpora layer by layer, and select layers.

    Leaves similarity.csv, selection.json and Figure 1 of all encoders that
    were analysed on these corpora by this measure.

    Arguments
    ---------
    source, target : DomainRows
        Training rows; the target's labels are hidden unless they may be used.
    measure : str
        What the layers are ranked by.
    use_target_labels : bool
        Whether to look at emotions one by one.
    folder : str | Path
        Analysis folder.
    selection_settings : Mapping[str, object]
        What the selection depends on, for selection.json.
    store_name : str
        Feature store, for selection.json.

    Returns
    -------
    dict
        The selection, as from `select_layers`.
    """
    covariance = measure in COVARIANCE_MEASURES
    sums = [corpus_sums(rows, covariance) for rows in (source, target)]
    selection = select_layers(*sums, measure, use_target_labels)
    measures = MEAN_MEASURES if use_target_labels else MEAN_MEASURES[:2]
    if covariance:
        measures += COVARIANCE_MEASURES
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rows = similarity_rows(*sums, measures)
    write_similarity(folder / "similarity.csv", rows)
    ending = {"settings": dict(selection_settings), "store": store_name}
    write_json(folder / "selection.json", selection | ending)
    _draw(folder, measure)
    return selection


def _draw(folder: Path, measure: str) -> None:
    """Draw all encoders that were analysed on these corpora."""
    from lam_sb.analysis.figure1 import draw_similarity  # matplotlib is slow

    tables, selected = {}, {}
    for other in sorted(folder.parent.parent.glob(f"*/{folder.name}")):
        selection = json.loads((other / "selection.json").read_text())
        if selection["measure"] == measure:
            encoder = other.parent.name
            tables[encoder] = read_similarity(other / "similarity.csv")
            selected[encoder] = selection["group"]
    for ending in ("png", "pdf"):
        path = folder / f"figure1.{ending}"
        draw_similarity(tables, selected, measure, folder.name, path)
