#!/usr/bin/env python3
"""Train and test one system of cross-lingual speech emotion recognition.

    python train.py hparams/lam_gl_wavlm.yaml --data_folder /corpora

The source corpus is labelled speech of one language, the target unlabelled
speech of another. Each layer of a frozen encoder is stored once, mixed by
learned weights and classified; CORAL aligns the anchored layers.

Authors
 * The lam_sb authors 2026
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from statistics import mean

import speechbrain as sb
import torch
from speechbrain.dataio.dataloader import SaveableDataLoader
from speechbrain.utils import seed_everything
from speechbrain.utils.distributed import (
    ddp_barrier,
    ddp_init_group,
    if_main_process,
    infer_device,
    run_on_main,
)
from speechbrain.utils.logger import get_logger
from speechbrain.utils.run_opts import RunOptions
from torch.utils.data import DataLoader

from lam_sb.brain import LamBrain
from lam_sb.data import (
    DomainRows,
    DualDomainSampler,
    FeatureDataset,
    fit_standardisers,
    in_order_loader,
    keep_batch,
)
from lam_sb.errors import UserError, check_choice
from lam_sb.features import FeatureStore
from lam_sb.hparams import (
    experiment_folder,
    load,
    parse_arguments,
    plain_errors,
    resolved,
    settings_hash,
)
from lam_sb.manifests import PrepOptions, prepare_corpus, read_manifest
from lam_sb.readers import check_mapping
from lam_sb.results import (
    mean_by_layer,
    score,
    write_predictions,
    write_results,
)

logger = get_logger(__name__)
# SpeechBrain's options that decide a result, as the YAML's keys do.
DECIDING = {
    *("precision", "eval_precision", "grad_accumulation_factor"),
    *("optimizer_step_limit", "skip_nonfinite_grads"),
}


CHOICES = {
    "target_rows": ("four", "all"),
    "select_on": ("source", "last", "target"),
    "class_weight": ("balanced", "none"),
}


def prepare(hparams: dict) -> None:
    """Write the manifests of both corpora."""
    if hparams["skip_prep"]:
        return
    options = PrepOptions(
        protocol=hparams["protocol"],
        split_seed=hparams["split_seed"],
        folds=hparams["folds"],
        fold=hparams["fold"],
        min_duration=hparams["min_duration"],
        max_duration=hparams["max_duration"],
    )
    corpus_options = options_by_role(hparams)
    for role in ("source", "target"):
        corpus = hparams[role]
        prepare_corpus(
            corpus,
            hparams[f"{role}_folder"],
            f"{hparams['manifest_folder']}/{corpus}",
            options,
            **{"label_map": hparams["label_map"]} | corpus_options[role],
        )


def options_by_role(hparams: dict) -> dict[str, dict]:
    """Options of the readers of both corpora."""
    source, target = hparams["source_options"], hparams["target_options"]
    options = {
        "source": check_mapping(hparams["source"], "source_options", source),
        "target": check_mapping(hparams["target"], "target_options", target),
    }
    same_name = hparams["source"] == hparams["target"]
    same_rows = (
        options["source"] == options["target"]
        and hparams["source_folder"] == hparams["target_folder"]
    )
    if same_name and not same_rows:
        raise UserError(
            f"Source and target are both named {hparams['source']}, but are "
            "read from other folders or with other options, and would have "
            "the same manifests. Give one another name, with its folder and "
            "the option reader: --source esd_en --source_folder <folder> "
            '--source_options "{reader: esd, language: en}".'
        )
    return options


def read_manifests(hparams: dict) -> dict[str, dict]:
    """Rows by manifest key, only those that the run uses."""
    rows = {}
    for key in ("source_train", "source_valid", "target_train", "target_test"):
        folder = hparams[f"{key.split('_')[0]}_folder"]
        rows[key] = read_manifest(hparams[key], folder)
    if hparams["select_on"] == "target":
        folder = hparams["target_folder"]
        rows["valid"] = read_manifest(hparams["target_valid"], folder)
    else:
        rows["valid"] = rows["source_valid"]
    for key in ("source_train", "source_valid", "valid"):
        rows[key] = four_emotions(rows[key])
    if hparams["target_rows"] == "four":
        rows["target_train"] = four_emotions(rows["target_train"])
    return rows


def four_emotions(rows: dict) -> dict:
    """Rows labelled with one of the four emotions."""
    return {i: row for i, row in rows.items() if row["emo"] is not None}


def open_store(hparams: dict) -> FeatureStore:
    """Open the feature store of the encoder and settings."""
    return FeatureStore(
        hparams["feature_folder"],
        hparams["encoder"],
        time_chunks=hparams["time_chunks"],
        extract_precision=hparams["extract_precision"],
        storage_dtype=hparams["storage_dtype"],
        batch_seconds=hparams["extract_batch_seconds"],
    )


def encode(hparams: dict, manifests: dict, device: str) -> FeatureStore:
    """Encode what the feature store lacks; processes share the work."""
    store = open_store(hparams)
    rank, world = process_of()
    rows = [row for part in manifests.values() for row in part.items()]
    store.extract(rows, device, rank, world, progress=rank == 0)
    return store


def dry_run(hparams: dict, device: str) -> None:
    """Print what a run would train and test on, and what encoding takes."""
    prepare(hparams)
    manifests = read_manifests(hparams)
    for key in ("source_train", "source_valid", "target_train", "target_test"):
        corpus, rows = hparams[key.split("_")[0]], manifests[key]
        counts = Counter(row["emo"] or "unlabelled" for row in rows.values())
        listed = ", ".join(f"{e} {n}" for e, n in sorted(counts.items()))
        print(f"{key} ({corpus}): {len(rows)} rows: {listed}")
    rows = [row for part in manifests.values() for row in part.items()]
    print(open_store(hparams).estimate(rows, device))


def dataio_prepare(
    hparams: dict, manifests: dict, store: FeatureStore
) -> tuple[dict[str, DomainRows], dict[str, DataLoader]]:
    """Make the rows of each split, standardised, and the three loaders."""
    rows = {
        key: DomainRows(
            manifest, store.rows(manifest), labelled=key != "target_train"
        )
        for key, manifest in manifests.items()
    }
    source = [rows["source_train"], rows["source_valid"]]
    target = [rows["target_train"], rows["target_test"]]
    (target if hparams["select_on"] == "target" else source).append(
        rows["valid"]
    )
    layers, segment = hparams["layers"], hparams["segment"]
    fit_standardisers(hparams["normalise"], source, target, layers)
    train = FeatureDataset(
        rows["source_train"], rows["target_train"], layers, segment
    )
    sampler = DualDomainSampler(
        len(rows["source_train"]),
        len(rows["target_train"]),
        hparams["batch_size"],
        hparams["seed"],
        *process_of(),
    )
    loaders = {
        "train": SaveableDataLoader(
            train,
            batch_sampler=sampler,
            collate_fn=keep_batch,
            generator=torch.Generator(),
        )
    }
    for name, key in (("valid", "valid"), ("test", "target_test")):
        dataset = FeatureDataset(rows[key], None, layers, segment)
        loaders[name] = in_order_loader(dataset, hparams["eval_batch_size"])
    return rows, loaders


def evaluate(
    hparams: dict, brain: LamBrain, test: DomainRows, loader: DataLoader
) -> dict:
    """Test under both label-free rules; write the predictions of the chosen."""
    rules = dict.fromkeys(("last", "source", hparams["select_on"]))
    if hparams["select_on"] == "target":
        del rules["source"]  # the validation set was the target's
    for rule in rules:
        rules[rule] = brain.posteriors(loader, brain.chosen_epochs(rule))
    posteriors = rules[hparams["select_on"]]
    if if_main_process() and not brain.debug:
        folder = Path(hparams["output_folder"])
        brain.write_layer_weights(folder / "layer_weights.csv")
        write_predictions(
            folder / "predictions.csv", test, posteriors, hparams["target"]
        )
    others = {
        f"uar_{rule}": score(test, rules[rule])["uar"]
        if rule in rules
        else None
        for rule in ("last", "source")
    }
    return score(test, posteriors) | others


def describe_run(
    hparams: dict, brain: LamBrain, rows: dict[str, DomainRows]
) -> dict:
    """Say in words and numbers what was trained on what."""
    keys = (
        *("experiment", "system", "source", "target", "seed", "split_seed"),
        *("protocol", "folds", "fold", "normalise", "select_on"),
        *("target_rows", "gamma", "segment", "layers", "anchor_layers"),
    )
    epochs = brain.history.epochs
    chosen = brain.chosen_epochs(hparams["select_on"])
    oracle = hparams["select_on"] == "target"
    speaker = hparams["normalise"] == "speaker"
    four = hparams["target_rows"] == "four"
    coral = type(hparams["alignment"]).__name__
    return {key: hparams[key] for key in keys} | {
        "encoder": hparams["encoder_source"],
        "adapts_on": "test_speakers" if speaker else "target_train",
        "target_row_filter": "labels" if four else "none",
        "alignment": coral if hparams["gamma"] else "none",
        "anchor_rule": "fixed",
        "layer_weights": mean_by_layer(epochs, chosen, "alpha"),
        "layer_share": mean_by_layer(epochs, chosen, "share"),
        "valid_uar": mean(epochs[e - 1]["valid_uar"] for e in chosen),
        "n_train_source": len(rows["source_train"]),
        "n_train_target": len(rows["target_train"]),
        "target_labels_used": len(rows["valid"]) if oracle else 0,
        "shots": 0,
        "epochs": len(epochs),
        "steps": epochs[-1]["steps"],
        "best_epoch": brain.history.best_epoch(),
        "device": str(brain.device),
    }


def summary(scores: dict, path: Path) -> str:
    """Return the line a run ends with."""
    if scores["uar"] is None:
        return f"The test labels are unknown; predictions: {path.parent}"
    limits = scores["uar_ci95"]
    spread = f" [{limits[0]:.4f}, {limits[1]:.4f}]" if limits else ""
    return f"Test UAR {scores['uar']:.4f}{spread} {path}"


def process_of() -> tuple[int, int]:
    """Rank of this process and their number, as torchrun says."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def choose_device(run_opts: RunOptions) -> str:
    """Device that was asked for, or the best there is."""
    device = run_opts.device or infer_device()
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(
            f"--device {device}: no GPU is usable here; use --device cpu, or "
            "look at nvidia-smi and the driver."
        )
    if device == "cpu" and run_opts.device is None:
        logger.info("No usable GPU was found: running on the CPU.")
    return device


def fit_and_test(hparams: dict, settings: dict, run_opts: RunOptions) -> None:
    """Encode, fit, test, and leave the results."""
    start = time.time()
    manifests = read_manifests(hparams)
    store = encode(hparams, manifests, choose_device(run_opts))
    ddp_barrier()
    rows, loaders = dataio_prepare(hparams, manifests, store)

    brain = LamBrain(
        modules=hparams["modules"],
        opt_class=hparams["opt_class"],
        hparams=hparams,
        run_opts=run_opts,
        checkpointer=hparams["checkpointer"](),
    )
    brain.prepare_fit(loaders["train"], rows["source_train"].labels)
    # Loading an encoder draws random numbers, reading a store does not.
    seed_everything(hparams["seed"])
    brain.fit(brain.epochs(), loaders["train"], loaders["valid"])

    scores = evaluate(hparams, brain, rows["target_test"], loaders["test"])
    path = Path(hparams["output_folder"]) / "results.json"
    if if_main_process() and not brain.debug:
        content = describe_run(hparams, brain, rows) | scores
        content["store"] = store.path.name
        content["settings_hash"] = settings_hash(settings)
        content["seconds"] = round(time.time() - start, 1)
        write_results(path, content)
    if if_main_process():
        print(summary(scores, path))


def main(argv: list[str]) -> None:
    """Do what the command line says, within its output folder."""
    path, run_opts, overrides = parse_arguments(argv)
    ddp_init_group(run_opts)
    hparams, settings = load(path, overrides)
    settings |= {o: run_opts[o] for o in DECIDING & run_opts.overridden_args}
    for key, choices in CHOICES.items():
        check_choice(key, hparams[key], choices)
    if hparams["dry_run"]:
        return dry_run(hparams, choose_device(run_opts))
    folder = Path(hparams["output_folder"])
    lock = experiment_folder(folder, settings)
    with lock if if_main_process() else nullcontext():
        sb.create_experiment_directory(folder, save_env_desc=False)
        run_on_main(
            (folder / "hyperparams.yaml").write_text,
            args=[resolved(path, overrides)],
        )
        run_on_main(prepare, args=[hparams])
        fit_and_test(hparams, settings, run_opts)
    return None


if __name__ == "__main__":
    with plain_errors():
        main(sys.argv[1:])
