"""How much faster padding-invariant batches are than one file at a time.

    python tests/benchmarks/bench_encoding.py [encoder folder or id [device]]

Prints the ratio of two timings taken in turns in one run: utterances of 1 to 8
seconds encoded one by one, over the same encoded in batches of 8.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import torch
from torch.nn.utils.rnn import pad_sequence

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))
from conftest import make_encoder

from lam_sb.features.audio import SAMPLE_RATE
from lam_sb.features.encoders import FrozenEncoder

ROUNDS = 5


def seconds(
    encoder: FrozenEncoder, batches: list[list[torch.Tensor]], device: str
) -> float:
    """Time to encode some batches."""
    start = time.perf_counter()
    for batch in batches:
        lens = torch.tensor([len(w) for w in batch])
        wavs = pad_sequence(batch, batch_first=True).to(device)
        encoder(wavs, lens)[0].cpu()  # waits for the device
    return time.perf_counter() - start


def main() -> None:
    """Print the ratio of each round and its median."""
    with tempfile.TemporaryDirectory() as folder:
        source = sys.argv[1] if len(sys.argv) > 1 else None
        device = sys.argv[2] if len(sys.argv) > 2 else "cpu"
        encoder = FrozenEncoder(source or str(make_encoder(Path(folder) / "x")))
        lengths = torch.linspace(1, 8, 32).mul(SAMPLE_RATE).int().tolist()
        wavs = [torch.randn(n) for n in lengths]
        batches = [wavs[i : i + 8] for i in range(0, len(wavs), 8)]
        seconds(encoder, batches, device)  # loads the weights
        ratios = [
            seconds(encoder, [[w] for w in wavs], device)
            / seconds(encoder, batches, device)
            for _ in range(ROUNDS)
        ]
    print("one by one / batched:", " ".join(f"{r:.2f}" for r in ratios))
    print(f"median {median(ratios):.2f}")


if __name__ == "__main__":
    main()
