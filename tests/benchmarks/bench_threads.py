"""What a second thread is worth on a CPU, in training and in encoding.

    python tests/benchmarks/bench_threads.py [busy processes [threads]]

Prints the ratios of pairs of timings taken in turns in one run: with one
thread, over with two (or as many as asked for), of training steps of LAM-GL on
12 layers of 768 and on 6 of 512, and of an encoder of WavLM base's size; above
1 more threads are faster. Busy processes stand for a machine that is shared;
OMP_WAIT_POLICY=ACTIVE before the command shows what spinning threads cost.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

# As lam_sb, which torch comes before here.
os.environ["OMP_WAIT_POLICY"] = os.environ.get("OMP_WAIT_POLICY", "PASSIVE")
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))
from lam_sb.losses.coral import LayerCoral
from lam_sb.models.head import EmotionHead
from lam_sb.models.pooling import LayerPooling
from lam_sb.models.projector import LayerProjector

ROUNDS = 5
STEPS = 10


def make_training(layers: int, dim: int) -> Callable[[], None]:
    """Steps of LAM-GL on batches of 64 source and 64 target rows."""
    torch.manual_seed(0)
    numbers, anchored = list(range(1, layers + 1)), [0, 1, 2]
    projector = LayerProjector(numbers, dim, projection_norm="layer")
    pooling, head, coral = LayerPooling(numbers), EmotionHead(), LayerCoral()
    weights = [w for m in (projector, pooling, head) for w in m.parameters()]
    optimizer = torch.optim.AdamW(weights)
    x = torch.randn(128, 8, layers, dim)
    mask, labels = torch.ones(128, 8).bool(), torch.arange(64) % 4

    def steps() -> None:
        for _ in range(STEPS):
            z = projector(x, mask)
            logits = head(pooling(z[:64]), mask[:64])
            loss = torch.nn.functional.cross_entropy(logits, labels)
            parts = [
                z[rows][:, :, anchored] for rows in (slice(64), slice(64, 128))
            ]
            loss = loss + 0.5 * coral(*(part.flatten(0, 1) for part in parts))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return steps


def make_encoding() -> Callable[[], None]:
    """Batches of 4 utterances of 4 s through random weights."""
    import transformers

    config = transformers.WavLMConfig()
    model = transformers.WavLMModel(config).eval()
    wavs = torch.randn(4, 64000)

    def steps() -> None:
        with torch.no_grad():
            model(wavs)

    return steps


def seconds(steps: Callable[[], None], threads: int) -> float:
    """Time of some steps."""
    torch.set_num_threads(threads)
    start = time.perf_counter()
    steps()
    return time.perf_counter() - start


def burn() -> None:
    """Keep a core busy."""
    while True:
        pass


def main() -> None:
    """Print the ratios of each round and their median."""
    busy = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    threads = int(sys.argv[2]) if len(sys.argv) > 2 else 2
    others = [
        multiprocessing.Process(target=burn, daemon=True) for _ in range(busy)
    ]
    for other in others:
        other.start()
    tasks = {
        "training, 12 x 768": make_training(12, 768),
        "training, 6 x 512": make_training(6, 512),
        "encoding": make_encoding(),
    }
    for name, steps in tasks.items():
        seconds(steps, 1)
        seconds(steps, threads)
        pairs = [
            (seconds(steps, 1), seconds(steps, threads)) for _ in range(ROUNDS)
        ]
        ratios = [one / more for one, more in pairs]
        listed = " ".join(f"{ratio:.2f}" for ratio in ratios)
        print(
            f"{name}: one thread {median(p[0] for p in pairs):.2f} s; one / "
            f"{threads}: {listed}, median {median(ratios):.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
