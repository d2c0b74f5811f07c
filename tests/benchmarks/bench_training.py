"""How much slower an epoch of train.py is than a bare loop over its batches.

    python tests/benchmarks/bench_training.py [--layers 6] [--dim 512]
        [--rows 2000] [--features_on memory] [--device cpu]

Both train LAM-GL on batches of 64 + 64 made-up rows, in turns. The epoch reads
and standardises its batches, measures the layers, validates on a fifth of the
source, logs and saves; the bare loop has its batches at hand and only steps.
Prints the ratio of their times for each of five pairs, and the median.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch
from torch.nn.functional import cross_entropy

sys.path.insert(0, str(Path(__file__).parents[2]))
from made_up import make

import train
from lam_sb import inputs, run
from lam_sb.command_line import parse_arguments
from lam_sb.training.alignment import aligned_segments
from lam_sb.training.rows import Batch

PAIRS = 5
WARM_UP = 1
HPARAMS = Path(__file__).parents[2] / "hparams"


def ready_brain(options: list[str]) -> tuple[train.LamBrain, dict]:
    """Give a brain that can be fitted, and its loaders."""
    argv = [str(HPARAMS / "lam_gl_wavlm.yaml"), *options]
    path, run_opts, overrides = parse_arguments(argv)
    hparams, settings = run.load_run(path, run_opts, overrides)
    Path(hparams["output_folder"]).mkdir(parents=True)
    manifests = inputs.read_rows(hparams)
    store = hparams["store"]()
    run.add_data(hparams, settings, manifests, store.path.name)
    device = inputs.choose_device(run_opts)
    rows, loaders = train.dataio_prepare(hparams, manifests, store, device)
    return train.make_brain(hparams, rows, loaders, run_opts), loaders


def bare_epoch(
    brain: train.LamBrain,
    batches: list[Batch],
    optimizer: torch.optim.Optimizer,
) -> None:
    """Take a step of equation 4 on each batch, and nothing else."""
    projector, pooling, head = (
        brain.modules[name] for name in ("projector", "pooling", "head")
    )
    anchors = brain._anchored()
    coral, weight = brain.hparams.alignment, brain.class_weight
    brain.modules.train()
    for batch in batches:
        n = batch.num_source
        z = projector(batch.x, batch.mask)
        logits = head(pooling(z[:n]), batch.mask[:n])
        means = aligned_segments(z, batch.mask, z.shape[1])[0][:, 0]
        means = means[:, anchors]
        loss = cross_entropy(logits, batch.labels[:n], weight)
        loss = loss + 0.5 * coral(means[:n], means[n:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def take_turns(
    brain: train.LamBrain, loaders: dict, device: str
) -> list[float]:
    """Time of an epoch over that of the bare loop after it, five times."""
    batches = [
        replace(batch, x=batch.x.clone()).to(device)
        for batch in loaders["train"]
    ]
    optimizer = torch.optim.Adam(brain.modules.parameters(), 1e-4)
    times: list[float] = []

    def clock() -> float:
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        return time.perf_counter()

    def epochs() -> Iterator[int]:
        for _ in range(WARM_UP + PAIRS):
            start = clock()
            yield next(brain.hparams.epoch_counter)
            middle = clock()
            bare_epoch(brain, batches, optimizer)
            times.append((middle - start) / (clock() - middle))

    brain.fit(epochs(), loaders["train"], loaders["valid"])
    return times[WARM_UP:]


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--features_on", default="auto")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        options = make(
            *(Path(folder), args.rows, args.rows // 2, args.layers, args.dim)
        )
        options += ["--anchor_layers=[1, 2, 3]", f"--device={args.device}"]
        options.append(f"--features_on={args.features_on}")
        brain, loaders = ready_brain(options)
        ratios = take_turns(brain, loaders, args.device)
    steps = len(loaders["train"])
    print(f"{steps} steps an epoch of {args.layers} x {args.dim}")
    print("epoch / bare loop:", " ".join(f"{r:.2f}" for r in ratios))
    print(f"median {median(ratios):.2f}")


if __name__ == "__main__":
    main()
