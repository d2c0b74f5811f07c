"""Commands beside train.py: ``python -m lam_sb extract ...``.

They run in the recipe's folder, where train.py is.
"""

from __future__ import annotations

import importlib
import json
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

from lam_sb.anchors import SELECTED
from lam_sb.data import DomainRows
from lam_sb.errors import UserError
from lam_sb.files import write_json
from lam_sb.hparams import load, parse_arguments, plain_errors
from lam_sb.similarity import (
    COVARIANCE_MEASURES,
    MEAN_MEASURES,
    corpus_sums,
    read_similarity,
    select_layers,
    similarity_rows,
    write_similarity,
)


def extract(argv: Sequence[str]) -> None:
    """Encode both corpora of a YAML file into the feature store.

    Started by torchrun, the processes share the work.
    """
    train = _train_script()
    path, run_opts, overrides = parse_arguments(argv)
    hparams, _ = load(path, overrides)
    train.settle(hparams, overrides, path)
    train.prepare(hparams)
    manifests = train.read_manifests(hparams)
    store = train.encode(hparams, manifests, train.choose_device(run_opts))
    print(f"Features of {hparams['source']}, {hparams['target']}: {store.path}")


def analyse(argv: Sequence[str]) -> None:
    """Compare both corpora of a YAML file layer by layer, and select layers.

    Leaves similarity.csv, selection.json and Figure 1 in the analysis folder.
    """
    train = _train_script()
    path, run_opts, overrides = parse_arguments(argv)
    # A rule would need what is made here.
    hparams, _ = load(path, overrides | {"anchor_layers": []})
    train.settle(hparams, overrides, path)
    train.prepare(hparams)
    every = train.read_manifests(hparams)
    manifests = {key: every[key] for key in ("source_train", "target_train")}
    store = train.encode(hparams, manifests, train.choose_device(run_opts))
    measure, labelled = hparams["similarity"], hparams["use_target_labels"]
    covariance = measure in COVARIANCE_MEASURES
    hidden = () if labelled else ("target_train",)
    sums = [
        corpus_sums(
            DomainRows(rows, store.rows(rows), key not in hidden), covariance
        )
        for key, rows in manifests.items()
    ]
    selection = select_layers(*sums, measure, labelled)
    measures = [*MEAN_MEASURES[: 3 if labelled else 2]]
    if covariance:
        measures += COVARIANCE_MEASURES
    folder = Path(hparams["analysis_folder"])
    folder.mkdir(parents=True, exist_ok=True)
    write_similarity(
        folder / "similarity.csv", similarity_rows(*sums, measures)
    )
    write_json(
        folder / "selection.json",
        selection
        | {"basis": hparams["selection_basis"], "store": store.path.name},
    )
    _draw(folder, measure)
    for rule in SELECTED:
        stability = selection["stability"]
        share = f" (in {stability[rule]:.0%} of resamples)" if stability else ""
        print(f"{rule}: {selection[rule]}{share}")
    print(folder)


def _draw(folder: Path, measure: str) -> None:
    """Draw all encoders that were analysed on these corpora."""
    from lam_sb.figures import draw_similarity  # matplotlib is slow to import

    analysed = sorted(folder.parent.parent.glob(f"*/{folder.name}"))
    tables, selected = {}, {}
    for other in analysed:
        selection = json.loads((other / "selection.json").read_text())
        if selection["measure"] == measure:
            encoder = other.parent.name
            tables[encoder] = read_similarity(other / "similarity.csv")
            selected[encoder] = selection["group"]
    for ending in ("png", "pdf"):
        path = folder / f"figure1.{ending}"
        draw_similarity(tables, selected, measure, folder.name, path)


COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    "extract": extract,
    "analyse": analyse,
}


def _train_script() -> ModuleType:
    try:
        return importlib.import_module("train")
    except ModuleNotFoundError as error:
        if error.name != "train":
            raise
        raise UserError(
            "There is no train.py here; run this in the recipe's folder."
        ) from None


def main(argv: Sequence[str]) -> None:
    """Run the command that is named first."""
    name = argv[0] if argv else "none"
    if name not in COMMANDS:
        raise UserError(
            f"The command is {name}; use python -m lam_sb "
            f"{' | '.join(COMMANDS)} <YAML> [--key value ...]"
        )
    logging.basicConfig(level=logging.INFO, format="%(name)s - %(message)s")
    COMMANDS[name](argv[1:])


if __name__ == "__main__":
    with plain_errors():
        main(sys.argv[1:])
