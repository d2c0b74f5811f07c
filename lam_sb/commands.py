"""The commands ``extract`` and ``analyse``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from speechbrain.utils.distributed import if_main_process

from lam_sb.analysis.analyse import analyse_corpora
from lam_sb.analysis.anchor_layers import ANALYSIS_RULES, analysed_data
from lam_sb.command_line import parse_arguments
from lam_sb.config import load
from lam_sb.features.store import FeatureStore
from lam_sb.inputs import (
    Rows,
    choose_device,
    encode,
    prepare_manifests,
    read_rows,
    with_manifests,
)
from lam_sb.options import check_options
from lam_sb.processes import start_processes
from lam_sb.training.rows import DomainRows


def extract(argv: Sequence[str]) -> None:
    """Encode all corpora of a YAML file into the feature store.

    Started by torchrun, the processes share the work.
    """
    hparams, _, _, store = encoded_rows(argv)
    corpora = ", ".join((*hparams["sources"], *hparams["targets"]))
    print(f"Features of {corpora}: {store.path}")


def encoded_rows(
    argv: Sequence[str], unused: Sequence[str] = ()
) -> tuple[dict, Rows, Rows, FeatureStore]:
    """Prepare and encode all corpora of a YAML file.

    Arguments
    ---------
    argv : Sequence[str]
        The file, its keys, and SpeechBrain's options.
    unused : Sequence[str]
        Parts that need not be encoded, as `read_rows` names them.

    Returns
    -------
    hparams : dict
        Values of the file.
    manifests : Rows
        All rows by part and corpus.
    rows : Rows
        Those that could be encoded.
    store : FeatureStore
        Their features.
    """
    path, run_opts, overrides = parse_arguments(argv)
    run_opts = start_processes(run_opts)
    # Features do not depend on anchors, whose rule may need an analysis first.
    hparams = load(path, overrides | {"anchor_layers": []})
    hparams["anchors_chosen_on"] = None  # nothing is aligned here
    check_options(hparams, overrides, path)
    manifests = with_manifests(
        hparams, partial(prepare_manifests, path), read_rows
    )
    rows = {part: r for part, r in manifests.items() if part not in unused}
    store = hparams["store"]()
    rows, _ = encode(store, rows, choose_device(run_opts))
    return hparams, manifests, rows, store


def analyse(argv: Sequence[str]) -> None:
    """Compare the corpora of a YAML file layer by layer, and select layers.

    Leaves similarity.csv, selection.json and Figure 1 in the analysis folder.
    """
    unused = ("source_valid", "valid", "target_test")
    hparams, manifests, rows, store = encoded_rows(argv, unused)
    labelled = hparams["use_target_labels"]
    source, target = (
        [DomainRows(p, store.rows(p), seen) for p in rows[part].values()]
        for part, seen in (("source_train", True), ("target_train", labelled))
    )
    if not if_main_process():
        return
    folder = Path(hparams["analysis_folder"])
    selection = analyse_corpora(
        source,
        target,
        hparams["similarity"],
        labelled,
        folder,
        hparams["selection_settings"],
        analysed_data(manifests, store.path.name, labelled),
    )
    for rule in ANALYSIS_RULES:
        stability = selection["stability"]
        share = f" (in {stability[rule]:.0%} of resamples)" if stability else ""
        print(f"{rule}: {selection[rule]}{share}")
    print(folder)
