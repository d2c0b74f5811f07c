"""How much faster a step from the store is than one that encodes on the fly.

    python tests/benchmarks/bench_on_the_fly.py [--device cpu] [--rows 4]

On the fly, SpeechBrain's own WavLM lobe (base, random weights) encodes the
speech of a batch, 2 to 8 seconds a row, and layers are averaged over eight time
chunks: how recipes usually go. It encodes ``--rows`` rows at a time, and 128 of
them count as a step's encoding. Both then train LAM-GL on 64 + 64 rows of 12 x
768, so the time of a step from the store comes on top. Prints the ratio for
each of five pairs, and the median.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))
from bench_encoder import make_base
from bench_training import ready_brain
from made_up import make
from speechbrain.integrations.huggingface.wavlm import WavLM

from lam_sb.features.audio import SAMPLE_RATE

PAIRS = 5
BATCH = 128
STEPS = 5  # from the store, whose mean counts


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rows", type=int, default=4)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_base("wavlm", folder / "wavlm")
        lobe = WavLM(
            *(str(folder / "wavlm"), str(folder / "save")),
            freeze=True,
            output_all_hiddens=True,
        ).to(args.device)
        options = make(folder, 1000, 500, 12, 768)
        options += ["--anchor_layers=[8, 9, 11]", f"--device={args.device}"]
        brain, loaders = ready_brain(options)
        brain.on_fit_start()
        brain.on_stage_start(None)
        brain.modules.train()
        lengths = torch.linspace(2, 8, args.rows) * SAMPLE_RATE
        wavs = torch.randn(args.rows, int(lengths.max()), device=args.device)
        lens = (lengths / lengths.max()).to(args.device)
        print("step on the fly / step from the store:")
        ratios = []
        for _ in range(PAIRS):
            start = time.perf_counter()
            with torch.no_grad():
                layers = lobe(wavs, lens)[1:]  # (12, B, T, 768)
                chunks = layers.tensor_split(8, dim=2)
                float(torch.stack([c.mean(2) for c in chunks]).sum())
            encoding = (time.perf_counter() - start) * BATCH / args.rows
            start = time.perf_counter()
            batches = iter(loaders["train"])
            for brain.step in range(2, 2 + STEPS):  # the first is logged
                loss = brain.fit_batch(next(batches))
            float(loss)
            step = (time.perf_counter() - start) / STEPS
            ratios.append((encoding + step) / step)
            print(f"{ratios[-1]:.0f}")
    print(f"median {median(ratios):.0f}")


if __name__ == "__main__":
    main()
