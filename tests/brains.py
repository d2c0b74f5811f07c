"""Brains and batches without features."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from conftest import HPARAMS
from speechbrain.dataio.dataloader import SaveableDataLoader
from speechbrain.utils.run_opts import RunOptions

from lam_sb.run import load_run
from lam_sb.training.rows import Batch
from train import LamBrain

SMALL = {
    "anchor_layers": [1, 3],
    "projection_dim": 8,
    "num_heads": 2,
    "ffn_dim": 8,
    "dropout": 0.0,
}
CHUNKS, LAYERS, DIM = 8, 4, 32


def brain_maker(wavlm: Path, folder: Path) -> Callable[..., LamBrain]:
    """Give what makes a Brain of the small LAM-GL; keywords change keys."""

    def make(file="small/lam_gl.yaml", steps=5, labels=None, **keys):
        keys = SMALL | keys
        if "few_shot" in file:  # has no use for them
            del keys["anchor_layers"]
        keys |= {"data_folder": str(folder), "encoder_source": str(wavlm)}
        keys["output_root"] = str(folder / "results")
        alignment = keys.pop("alignment", None)
        path = str(HPARAMS / file)
        hparams, _ = load_run(path, RunOptions(), keys)
        if alignment is not None:
            hparams["alignment"] = alignment
        brain = LamBrain(
            modules=hparams["modules"],
            opt_class=hparams["opt_class"],
            hparams=hparams,
            run_opts={"device": "cpu"},
            checkpointer=hparams["checkpointer"](),
        )
        brain.prepare_fit(
            SaveableDataLoader([make_batch()] * steps, batch_size=None),
            [torch.arange(8) % 4 if labels is None else labels],
            class_weight=hparams["class_weight"],
            select_on=hparams["select_on"],
            max_steps=hparams["max_steps"],
            min_steps=hparams["min_steps"],
            average_last_steps=hparams["average_last_steps"],
            train_logger=hparams["train_logger"],
        )
        return brain

    return make


def make_batch(n=8, seed=0, segments=0):
    """Random features of n source and n target rows, the last unlabelled."""
    generator = torch.Generator().manual_seed(seed)
    shape = (2 * n, CHUNKS + segments, LAYERS, DIM)
    labels = torch.cat([torch.arange(n) % 4, torch.full((n,), -1)])
    x = torch.randn(shape, generator=generator)
    return Batch(x, torch.ones(shape[:2], dtype=torch.bool), labels, n)
