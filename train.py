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

import numpy as np
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

from lam_sb.analysis.anchor_layers import ANALYSIS_RULES
from lam_sb.config import (
    experiment_folder,
    load,
    own_keys,
    parse_arguments,
    plain_errors,
    resolved,
    settings_hash,
)
from lam_sb.corpora.manifests import PrepOptions, prepare_corpus, read_manifest
from lam_sb.corpora.readers import check_mapping
from lam_sb.errors import UserError, check_choice
from lam_sb.evaluation.metrics import uar
from lam_sb.evaluation.results import (
    mean_by_layer,
    score,
    write_predictions,
    write_results,
)
from lam_sb.features.store import FeatureStore
from lam_sb.training.brain import LamBrain
from lam_sb.training.data import (
    DomainRows,
    DualDomainSampler,
    EpisodeSampler,
    FeatureDataset,
    draw_shots,
    fit_standardisers,
    in_order_loader,
    keep_batch,
    shot_candidates,
)
from lam_sb.training.ensemble import ensemble_posteriors, fit_ensemble

logger = get_logger(__name__)
SHOT_DRAWS = 5  # of few-shot rows; the seed says which of them
# SpeechBrain's options that decide a result, as the YAML's keys do.
DECIDING = {
    *("precision", "eval_precision", "grad_accumulation_factor"),
    *("optimizer_step_limit", "skip_nonfinite_grads"),
}


CHOICES = {
    "target_rows": ("four", "all"),
    "select_on": ("source", "last", "target"),
    "class_weight": ("balanced", "none"),
    "fit": ("brain", "episodes", "sklearn"),
    "bound": ("none", "within", "oracle"),
}
# Keys that only some systems have a use for, by how they are fitted and by
# what aligns them; a loss of the user's own may use any.
TRAINED = {
    *("projection_dim", "projection_norm", "layer_weighting", "num_blocks"),
    *("num_heads", "ffn_dim", "dropout", "number_of_epochs", "max_steps"),
    *("patience", "min_steps", "average_last", "lr", "weight_decay"),
    *("max_grad_norm", "select_on", "eval_batch_size"),
}
FIT_KEYS = {
    "brain": {*TRAINED, "batch_size", "class_weight"},
    "episodes": {*TRAINED, "episode_shots", "episode_queries", "target_shots"},
    "sklearn": {"class_weight"},
}
ALIGNMENT_KEYS = {
    "LayerCoral": {"gamma", "segment", "anchor_layers", "scale", "reduce"},
    "PhoneticAnchor": {"gamma", "segment", "vowels", "negative", "margin"},
    "DomainAdversary": {"gamma"},
    "NoneType": set(),
}


def load_run(
    path: str, run_opts: RunOptions, overrides: dict
) -> tuple[dict, dict]:
    """Load a YAML file; give its values, and what decides the result."""
    hparams, settings = load(path, overrides)
    settings |= {o: run_opts[o] for o in DECIDING & run_opts.overridden_args}
    for key in settle(hparams, overrides, path):
        settings.pop(key, None)
    settings["anchored_layers"] = hparams["anchored_layers"]
    return hparams, settings


def idle_keys(hparams: dict) -> set[str]:
    """Keys that the system has no use for."""
    parts = {**FIT_KEYS, **ALIGNMENT_KEYS}
    every = set().union(*parts.values())
    alignment = type(hparams["alignment"]).__name__
    used = FIT_KEYS[hparams["fit"]] | ALIGNMENT_KEYS.get(alignment, every)
    if alignment == "NoneType" and hparams["mix_layers"] != "top":
        used.add("anchor_layers")  # left out of the mixture, or only logged
    return every - used


def settle(hparams: dict, overrides: dict, path: str) -> set[str]:
    """Refuse wrong choices and idle keys; return the keys that are idle."""
    if "system" not in hparams:
        raise UserError(f"{path} is only a part of other files, no system.")
    for key, choices in CHOICES.items():
        check_choice(key, hparams[key], choices)
    idle = idle_keys(hparams)
    for where, keys in (("command line", overrides), (path, own_keys(path))):
        for key in sorted(idle & set(keys)):
            raise UserError(
                f"{where}: the system {hparams['system']} has no use for {key}."
            )
    # Without such a rule, analyse may still use these.
    if hparams["anchor_layers"] not in ANALYSIS_RULES:
        idle |= {"similarity", "use_target_labels", "selection_settings"}
    segments = ("utterance", "vowels", "consonants")
    if type(hparams["alignment"]).__name__ == "PhoneticAnchor":
        segments = ("vowel_classes",)
    check_choice("segment", hparams["segment"], segments)
    if hparams["bound"] == "oracle" and hparams["fit"] == "episodes":
        raise UserError("bound: oracle has no meaning for fit: episodes.")
    if "gamma" in idle:
        hparams["gamma"] = 0
    if "anchor_layers" in idle:
        hparams["anchor_layers"] = hparams["anchored_layers"] = []
    if hparams["bound"] == "within":
        for end in ("", "_folder", "_options", "_train", "_valid"):
            hparams[f"source{end}"] = hparams[f"target{end}"]
    return idle


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
    """Rows by what they are for, only those that the run uses."""
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
    return choose_shots(hparams, rows)


def choose_shots(hparams: dict, rows: dict[str, dict]) -> dict[str, dict]:
    """Add the few-shot rows; what may be one leaves everyone's test set."""
    train, test = rows["target_train"], rows["target_test"]
    if hparams["bound"] != "none" and train.keys() & test.keys():
        raise UserError(
            f"bound: {hparams['bound']} trains on labels of rows that are "
            "tested here; use protocol: speakers, with folds if need be."
        )
    candidates = shot_candidates(train, test, hparams["split_seed"])
    out = set(candidates)
    left = {i: row for i, row in test.items() if i not in out}
    rows = rows | {"target_test": left}
    if hparams["fit"] == "episodes" and hparams["target_shots"]:
        drawn = draw_shots(
            {i: train[i]["emo"] for i in candidates},
            hparams["target_shots"],
            hparams["split_seed"],
            hparams["seed"] % SHOT_DRAWS,
        )
        rows["shots"] = {i: train[i] for i in drawn}
    return rows


def check_phones(hparams: dict, rows: dict[str, dict]) -> None:
    """Refuse to align segments that a corpus has nowhere."""
    if hparams["segment"] == "utterance" or not hparams["gamma"]:
        return
    for key in ("source_train", "target_train"):
        if not any(row["phones"] for row in rows[key].values()):
            raise UserError(
                f"segment: {hparams['segment']} needs alignments, but of the "
                f"{len(rows[key])} rows of {key} ({hparams[key[:6]]}) none "
                "has any; the README says how to make them."
            )


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
    """Make the rows of each split, standardised, and the loaders."""
    hidden = () if hparams["bound"] == "oracle" else ("target_train",)
    rows = {
        key: DomainRows(manifest, store.rows(manifest), key not in hidden)
        for key, manifest in manifests.items()
    }
    source = [rows["source_train"], rows["source_valid"]]
    target = [rows["target_train"], rows["target_test"]]
    target += [rows["shots"]] if "shots" in rows else []
    by_target = hparams["select_on"] == "target"
    (target if by_target else source).append(rows["valid"])
    layers, segment = hparams["layers"], hparams["segment"]
    fit_standardisers(hparams["normalise"], source, target, layers)
    train = FeatureDataset(
        rows["source_train"], rows["target_train"], layers, segment
    )
    loaders = {}
    if hparams["fit"] != "sklearn":
        loaders["train"] = SaveableDataLoader(
            train,
            batch_sampler=make_sampler(hparams, rows),
            collate_fn=keep_batch,
            generator=torch.Generator(),
        )
    for key in rows.keys() - {"target_train", "source_valid"}:
        dataset = FeatureDataset(rows[key], None, layers, segment)
        loaders[key] = in_order_loader(dataset, hparams["eval_batch_size"])
    return rows, loaders


def make_sampler(
    hparams: dict, rows: dict[str, DomainRows]
) -> DualDomainSampler:
    """Batches of both domains, or episodes."""
    source, n_target = rows["source_train"], len(rows["target_train"])
    if hparams["fit"] == "episodes":
        return EpisodeSampler(
            source.labels,
            n_target,
            hparams["episode_shots"],
            hparams["episode_queries"],
            hparams["seed"],
            *process_of(),
        )
    size, seed = hparams["batch_size"], hparams["seed"]
    return DualDomainSampler(len(source), n_target, size, seed, *process_of())


def fit_brain(
    hparams: dict,
    rows: dict[str, DomainRows],
    loaders: dict[str, DataLoader],
    run_opts: RunOptions,
) -> tuple[dict[str, np.ndarray], dict]:
    """Train; give the test's posteriors by rule, and what was learned."""
    brain = LamBrain(
        modules=hparams["modules"],
        opt_class=hparams["opt_class"],
        hparams=hparams,
        run_opts=run_opts,
        checkpointer=hparams["checkpointer"](),
    )
    shots = [loaders["shots"]] if "shots" in loaders else []
    brain.prepare_fit(
        loaders["train"],
        rows["source_train"].labels,
        [loaders["source_train"], *shots],
    )
    # Loading an encoder draws random numbers, reading a store does not.
    seed_everything(hparams["seed"])
    brain.fit(brain.epochs(), loaders["train"], loaders["valid"])

    rules = dict.fromkeys((hparams["select_on"], "last", "source"))
    if hparams["select_on"] == "target":
        del rules["source"]  # the validation set was the target's
    posteriors = {
        rule: brain.posteriors(
            loaders["target_test"], brain.chosen_epochs(rule)
        )
        for rule in rules
    }
    if if_main_process() and not brain.debug:
        brain.write_history(Path(hparams["output_folder"]))
    return posteriors, describe_training(brain, hparams["select_on"])


def describe_training(brain: LamBrain, select_on: str) -> dict:
    """Say what was learned, and for how long."""
    epochs, chosen = brain.history.epochs, brain.chosen_epochs(select_on)
    return {
        "layer_weights": mean_by_layer(epochs, chosen, "alpha"),
        "layer_share": mean_by_layer(epochs, chosen, "share"),
        "valid_uar": mean(epochs[e - 1]["valid_uar"] for e in chosen),
        "epochs": len(epochs),
        "steps": epochs[-1]["steps"],
        "best_epoch": brain.history.best_epoch(),
        "device": str(brain.device),
    }


def fit_classifiers(
    hparams: dict, rows: dict[str, DomainRows]
) -> tuple[dict[str, np.ndarray], dict]:
    """Fit the ensemble; give what `fit_brain` gives, as far as it has it."""
    train = [rows["source_train"]]
    if hparams["bound"] == "oracle":
        train.append(rows["target_train"])
    layers = hparams["layers"]
    classifier = fit_ensemble(
        train, layers, hparams["seed"], hparams["class_weight"]
    )
    posteriors = {
        key: ensemble_posteriors(classifier, rows[key], layers)
        for key in ("valid", "target_test")
    }
    guesses = posteriors["valid"].argmax(1)
    names = ("layer_weights", "layer_share", "epochs", "steps", "best_epoch")
    return {hparams["select_on"]: posteriors["target_test"]}, {
        **dict.fromkeys(names),
        "valid_uar": uar(rows["valid"].labels.numpy(), guesses),
        "device": "cpu",
    }


def describe_run(
    hparams: dict, manifests: dict[str, dict], rows: dict[str, DomainRows]
) -> dict:
    """Say in words and numbers what was trained on what."""
    keys = (
        *("experiment", "system", "source", "target", "seed", "split_seed"),
        *("protocol", "folds", "fold", "normalise", "select_on", "bound"),
        *("target_rows", "gamma", "segment", "layers"),
    )
    loss = hparams["alignment"] if hparams["gamma"] else None
    rule, speaker = hparams["anchor_layers"], hparams["normalise"] == "speaker"
    four = hparams["target_rows"] == "four"
    shots = rows["shots"].ids if "shots" in rows else []
    segment = hparams["segment"]
    return {key: hparams[key] for key in keys} | {
        "encoder": hparams["encoder_source"],
        "adapts_on": "test_speakers" if speaker else "target_train",
        "target_row_filter": "labels" if four else "none",
        "alignment": "none" if loss is None else type(loss).__name__,
        "anchor_layers": hparams["anchored_layers"],
        "anchor_rule": rule if isinstance(rule, str) else "fixed",
        "n_train_source": len(rows["source_train"]),
        "n_train_target": len(rows["target_train"]),
        "n_segment_source": rows["source_train"].features.count(segment),
        "n_segment_target": rows["target_train"].features.count(segment),
        "target_labels_used": target_labels(hparams, manifests),
        "shots": hparams["target_shots"] if shots else 0,
        "shot_ids": shots,
    }


def target_labels(hparams: dict, manifests: dict[str, dict]) -> int:
    """Count the target's labels that decided anything."""
    parts = ["shots"] if "shots" in manifests else []
    if hparams["select_on"] == "target":
        parts.append("valid")
    if hparams["bound"] == "within":
        parts += ["source_train", "source_valid"]
    selected = hparams["anchor_layers"] in ANALYSIS_RULES
    if hparams["bound"] == "oracle" or (
        selected and hparams["use_target_labels"]
    ):
        parts.append("target_train")
    return len(set().union(*(four_emotions(manifests[p]) for p in parts)))


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
        logger.warning_once("No usable GPU was found: running on the CPU.")
    return device


def fit_and_test(hparams: dict, settings: dict, run_opts: RunOptions) -> None:
    """Encode, fit, test, and leave the results."""
    start = time.time()
    manifests = read_manifests(hparams)
    check_phones(hparams, manifests)
    store = encode(hparams, manifests, choose_device(run_opts))
    ddp_barrier()
    rows, loaders = dataio_prepare(hparams, manifests, store)
    if hparams["fit"] == "sklearn":
        posteriors, learned = fit_classifiers(hparams, rows)
    else:
        posteriors, learned = fit_brain(hparams, rows, loaders, run_opts)
    if not if_main_process():
        return
    test, chosen = rows["target_test"], posteriors[hparams["select_on"]]
    found = {rule: score(test, p) for rule, p in posteriors.items()}
    scores = found[hparams["select_on"]]
    path = Path(hparams["output_folder"]) / "results.json"
    if not run_opts.debug:
        target = hparams["target"]
        write_predictions(path.parent / "predictions.csv", test, chosen, target)
        content = describe_run(hparams, manifests, rows) | learned | scores
        for rule in ("last", "source"):
            content[f"uar_{rule}"] = found.get(rule, {}).get("uar")
        content["store"] = store.path.name
        content["settings_hash"] = settings_hash(settings)
        content["seconds"] = round(time.time() - start, 1)
        write_results(path, content)
    print(summary(scores, path))


def main(argv: list[str]) -> None:
    """Do what the command line says, within its output folder."""
    path, run_opts, overrides = parse_arguments(argv)
    ddp_init_group(run_opts)
    hparams, settings = load_run(path, run_opts, overrides)
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
