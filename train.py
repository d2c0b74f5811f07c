#!/usr/bin/env python3
"""Train and test one system of cross-lingual speech emotion recognition.

    python train.py hparams/lam_gl_wavlm.yaml --data_folder /corpora

The source corpus is labelled speech, the target unlabelled speech of another
language; a frozen encoder's layers are mixed, classified, aligned. lam_sb reads
hparams["anchors_chosen_on"], ["hold_out_shots"], ["scale"], ["target_shots"].

Authors
 * The lam_sb authors 2026
"""

from __future__ import annotations

import sys

if __name__ == "__main__":  # the imports below take seconds
    from lam_sb.command_line import check_arguments
    from lam_sb.console import begin

    begin(check_arguments, sys.argv[1:])

import time
from pathlib import Path

import numpy as np
import speechbrain as sb
import torch
from speechbrain.utils.distributed import if_main_process, run_on_main
from speechbrain.utils.logger import get_logger
from speechbrain.utils.run_opts import RunOptions

from lam_sb import inputs, run, run_folder, run_parts, run_results
from lam_sb.command_line import is_verbose, parse_arguments
from lam_sb.config import complete_text
from lam_sb.console import console, log_to, say
from lam_sb.features.store import FeatureStore
from lam_sb.processes import limit_threads, process_rank, start_processes
from lam_sb.training.alignment import aligned_segments
from lam_sb.training.brain import AlignmentBrain
from lam_sb.training.ensemble import fit_and_test_ensemble
from lam_sb.training.kept import keep_statistics
from lam_sb.training.loaders import (
    FeatureDataset,
    in_order_loaders,
    training_loader,
)
from lam_sb.training.ready import ready_features
from lam_sb.training.rows import Batch, DomainRows, Outputs, Parts
from lam_sb.training.samplers import DualDomainSampler, make_sampler

logger = get_logger(__name__)


class LamBrain(AlignmentBrain):
    """Classifies the source's emotions while it aligns both domains."""

    def compute_forward(self, batch: Batch, stage: sb.Stage) -> Outputs:
        """Project the layers, mix them, classify.

        The layers z_l = W_l x_l of each time chunk are mixed into
        L_avg = sum_l alpha_l z_l with alpha = softmax(a) (equations 2 and 3).
        """
        batch = batch.to(self.device)
        chunks = self.hparams.time_chunks
        mask = batch.mask[:, :chunks]
        z = self.modules.projector(batch.x, mask)  # (B, chunks + S, M, d)
        n = self.num_classified(batch, stage)
        pooled = self.modules.pooling(z[:n, :chunks])  # (n, chunks, d)
        outputs = self.modules.head(pooled, mask[:n])
        logits = self.classify(outputs, batch.labels[:n], stage)
        return Outputs(
            logits, outputs, *aligned_segments(z, batch.mask, chunks)
        )

    def compute_objectives(
        self, predictions: Outputs, batch: Batch, stage: sb.Stage
    ) -> torch.Tensor:
        """Cross-entropy of the source plus gamma alignment (equation 4).

        The alignment of LAM is sum_i ||Cov(Z_s_i) - Cov(Z_t_i)||_F over the
        anchored layers i (equation 1), `lam_sb.losses.coral.LayerCoral`.
        """
        batch = batch.to(self.device)
        entropy = self.cross_entropy(predictions.logits, batch.labels, stage)
        if stage != sb.Stage.TRAIN:
            return entropy
        available = self.alignment_inputs(predictions, batch)
        alignment = self.hparams.gamma * self.align(
            self.hparams.alignment, available, self.hparams.align_sources
        )
        self.log_layers(available, entropy, alignment)
        return entropy + alignment


def prepare(hparams: dict) -> None:
    """Write the manifests of all corpora, unless they are to be trusted."""
    if not hparams["skip_prep"]:
        folder = Path(__file__).parent / inputs.READERS
        hparams["prepare"](readers_folder=folder)


def dataio_prepare(
    hparams: dict, manifests: inputs.Rows, store: FeatureStore, device: str
) -> tuple[Parts, dict]:
    """Give each part's rows with standardised features, and their loaders."""
    # A target's training labels are seen by nobody, but by the oracle.
    hidden = () if hparams["bound"] == "oracle" else ("target_train",)
    rows = {
        key: {
            corpus: DomainRows(part, store.rows(part), key not in hidden)
            for corpus, part in parts.items()
        }
        for key, parts in manifests.items()
    }
    how = hparams["normalise"], hparams["features_on"]
    layers, segments = ready_features(hparams, rows, *how, store.path, device)
    size = hparams["eval_batch_size"]
    loaders = in_order_loaders(rows, layers, segments[:1], size)
    if hparams["fit"] != "sklearn":
        source = [*rows["source_train"].values()]
        target = [*rows["target_train"].values()]
        labels = [part.labels for part in source]
        sampler = make_training_sampler(hparams, labels, [*map(len, target)])
        dataset = FeatureDataset(source, target, layers, segments)
        loaders["train"] = training_loader(dataset, sampler)
    return rows, loaders


def make_training_sampler(
    hparams: dict, labels: list[torch.Tensor], n_target: list[int]
) -> DualDomainSampler:
    """Choose the rows of each batch, or of each episode."""
    return make_sampler(
        *(hparams["fit"], labels, n_target, hparams["batch_size"]),
        *(hparams["balance"], hparams["episode_shots"]),
        *(hparams["episode_queries"], hparams["seed"], *process_rank()),
    )


def make_brain(
    hparams: dict, rows: Parts, loaders: dict, run_opts: RunOptions
) -> LamBrain:
    """Give a brain that knows what it will be fitted on."""
    brain = LamBrain(
        *(hparams["modules"], hparams["opt_class"], hparams),
        run_opts=run_opts,
        checkpointer=hparams["checkpointer"](),
    )
    prototypes = ("source_train", "shots")
    brain.prepare_fit(
        loaders["train"],
        [part.labels for part in rows["source_train"].values()],
        class_weight=hparams["class_weight"],
        select_on=hparams["select_on"],
        max_steps=hparams["max_steps"],
        min_steps=hparams["min_steps"],
        average_last_steps=hparams["average_last_steps"],
        train_logger=hparams["train_logger"],
        prototype_loaders=[loaders[k] for k in prototypes if k in loaders],
    )
    return brain


def fit_brain(
    hparams: dict, rows: Parts, loaders: dict, run_opts: RunOptions
) -> tuple[dict[str, dict[str, np.ndarray]], dict]:
    """Train; give each target's posteriors by rule, and what was learned."""
    limit_threads(1)  # more wait for each other; the last bits depend on them
    brain = make_brain(hparams, rows, loaders, run_opts)
    brain.fit(brain.epochs(), loaders["train"], loaders["valid"])
    return brain.test_kept(loaders["test"], Path(hparams["output_folder"]))


def fit_and_test(
    hparams: dict,
    settings: dict,
    manifests: inputs.Rows,
    store: FeatureStore,
    run_opts: RunOptions,
) -> None:
    """Encode what is missing, fit, test, and leave the results."""
    start, device = time.time(), inputs.choose_device(run_opts)
    saves = not (run_opts.debug or run_opts.test_only)
    manifests, undecodable = inputs.encode(store, manifests, device)
    rows, loaders = dataio_prepare(hparams, manifests, store, device)
    if hparams["seeds_averaged"] > 1:
        posteriors, learned = {}, {}
    elif hparams["fit"] == "sklearn":
        keys = ("layers", "seed", "class_weight", "select_on", "save_folder")
        posteriors, learned = fit_and_test_ensemble(
            rows, *(hparams[key] for key in keys), keep=saves
        )
    else:
        posteriors, learned = fit_brain(hparams, rows, loaders, run_opts)
    if if_main_process():
        learned["undecodable_audio"] = undecodable
        learned["seconds"] = round(time.time() - start, 1)
        posteriors, learned = run_parts.join_parts(
            hparams, rows["target_test"], posteriors, learned
        )
        if saves:
            keep_statistics(hparams, rows["target_test"], store, learned)
        lines = run_results.leave_results(
            *(hparams, settings, rows["target_test"], posteriors),
            run_results.describe_run(hparams, manifests, rows, learned),
            run_opts.debug,
        )
        if saves:
            run_results.keep_only_tested(hparams)
        say(lines)


def run_system(
    path: str, run_opts: RunOptions, overrides: dict, verbose: bool
) -> None:
    """Do a run within its output folder, after those that it is made of."""
    hparams, settings = run.load_run(path, run_opts, overrides)
    if hparams["dry_run"]:
        prepare(hparams)
        inputs.dry_run(hparams, run_opts, make_training_sampler)
        return
    folder = Path(hparams["output_folder"])
    with run_folder.experiment_folder(folder, settings):
        log_to(folder, verbose, __file__)
        logger.info("System %s, results in %s", hparams["system"], folder)
        manifests = inputs.with_manifests(hparams, prepare, inputs.read_rows)
        inputs.check_rows(hparams, manifests, make_training_sampler)
        store = hparams["store"]()
        run.add_data(hparams, settings, manifests, store.path.name)
        text = complete_text(path, overrides)
        run_on_main(run_folder.claim_folder, args=[folder, settings, text])
        inputs.with_manifests(hparams, prepare, run_parts.write_manifests)
        for keys in run_parts.parts_of(hparams, hparams["calibrate"]):
            run_system(path, run_opts, {**overrides, **keys}, verbose)
            log_to(folder, verbose, __file__)
        fit_and_test(hparams, settings, manifests, store, run_opts)


def main(argv: list[str]) -> None:
    """Do what the command line says."""
    path, run_opts, overrides = parse_arguments(argv)
    run_system(path, start_processes(run_opts), overrides, is_verbose(argv))


if __name__ == "__main__":
    with console(is_verbose(sys.argv)):
        main(sys.argv[1:])
