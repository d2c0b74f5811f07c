"""The settings of a run, and what they may be."""

from __future__ import annotations

from collections.abc import Mapping

from speechbrain.utils.run_opts import RunOptions

from lam_sb.analysis.anchor_layers import check_selection
from lam_sb.config import key_blocks, load
from lam_sb.data import check_not_tested, describe_data
from lam_sb.evaluation.results import (
    check_same_length,
    finished_result,
    results_paths,
)
from lam_sb.inputs import Rows
from lam_sb.options import check_has_anchors, check_options
from lam_sb.run_folder import settings_hash
from lam_sb.training.checkpoints import has_checkpoint
from lam_sb.training.history import read_finished
from lam_sb.yaml_text import plain_values

# SpeechBrain's options that decide a result, as the YAML's keys do.
DECIDING_OPTIONS = {
    *("precision", "eval_precision", "grad_accumulation_factor"),
    *("optimizer_step_limit", "skip_nonfinite_grads"),
}
# Keys whose values `check_options` and anchors' rules resolve.
RESOLVED = ("anchored_layers", "hold_out_shots")
# Keys that may differ when a run goes on: how far to train, where things lie,
# and what only a check reads.
MAY_DIFFER = (
    "number_of_epochs",
    "patience",
    "data_folder",
    "source_folder",
    "target_folder",
    "manifest_folder",
    "feature_folder",
    "analysis_folder",
    "output_root",
    "output_folder",
    "save_folder",
    "train_log",
    "source_train",
    "source_valid",
    "target_train",
    "target_valid",
    "target_test",
    "valid",
    "skip_prep",
    "dry_run",
    "eval_batch_size",
    "extract_batch_seconds",
    "features_on",
    "extract_workers",
    "anchors_chosen_on",
)


def load_run(
    path: str, run_opts: RunOptions, overrides: Mapping[str, object]
) -> tuple[dict, dict[str, object]]:
    """Load the YAML file of a run.

    Arguments
    ---------
    path : str
        The file.
    run_opts : RunOptions
        SpeechBrain's options.
    overrides : Mapping[str, object]
        Values by key.

    Returns
    -------
    hparams : dict
        Values and objects by key, checked.
    settings : dict[str, object]
        What decides the result, in words, by key.

    Raises
    ------
    UserError
        Whatever `load` and `check_options` find.
    """
    hparams = load(path, overrides)
    stays = run_opts.debug and run_opts.debug_persistently
    if run_opts.debug:
        own = {"seeds_averaged": 1}
        if not stays:  # nothing of it lies among results
            own["output_folder"] = f"{hparams['output_folder']}_debug"
        if hparams["normalise"] == "residual":  # takes a run before it
            own["normalise"] = "speaker"
        hparams = load(path, {**overrides, **own, "calibrate": "none"})
    settings = _settings(key_blocks(path, overrides))
    given = DECIDING_OPTIONS & run_opts.overridden_args
    settings |= {option: run_opts[option] for option in given}
    if stays:  # in a folder that a result may lie in
        settings["debug"] = True
    unused = check_options(hparams, overrides, path)
    if "anchor_layers" not in unused:
        check_has_anchors(hparams)
    settings |= {key: hparams[key] for key in RESOLVED}
    settings = {k: v for k, v in settings.items() if k not in unused}
    return hparams, settings


def _settings(blocks: Mapping[str, str]) -> dict[str, object]:
    """Plain values, and the text of what has a tag, by key."""
    kept = {k: block for k, block in blocks.items() if k not in MAY_DIFFER}
    plain, tagged = plain_values(kept, "the YAML")
    return plain | tagged


def add_data(
    hparams: Mapping,
    settings: dict[str, object],
    manifests: Rows,
    store_name: str,
) -> None:
    """Add to the settings of a run, as ``data``, what it is made of.

    Raises
    ------
    UserError
        Source rows that are tested, anchors selected on other data, or a
        finished run that was trained for longer or shorter.
    """
    if hparams["bound"] != "within":
        check_not_tested(manifests)
    check_selection(hparams, manifests, store_name)
    settings["data"] = describe_data(hparams, manifests, store_name)
    if not has_checkpoint(hparams["save_folder"]):  # nothing to go on from
        kept = read_finished(hparams["save_folder"])
        folder, targets = hparams["output_folder"], hparams["targets"]
        for path in results_paths(folder, targets).values():
            there = finished_result(path, settings_hash(settings))
            check_same_length(there or kept, hparams)
