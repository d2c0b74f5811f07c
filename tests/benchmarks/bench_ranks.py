"""How much faster several processes encode than one, a thread each.

    python tests/benchmarks/bench_ranks.py [processes [minutes of speech]]

Makes two corpora of noise and a WavLM base of random weights, and times
``extract`` alone and under torchrun, in turns, 5 pairs, from the plan of the
shards to the end: starting Python is not what is measured. Needs as many idle
cores as processes.
"""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import soundfile
from bench_encoder import make_base

ROOT, RATE, ROUNDS = Path(__file__).parents[2], 16000, 5
EMOTIONS = ("neutral", "happy", "angry", "sad")


def make_corpus(folder: Path, minutes: float, seed: int) -> None:
    """Write noise of 2 to 8 seconds a file, of 10 speakers."""
    rng, lines, seconds = np.random.default_rng(seed), [], 0.0
    folder.mkdir(parents=True)
    while seconds < 60 * minutes:
        name, n = f"{len(lines)}.wav", int(rng.uniform(2, 8) * RATE)
        soundfile.write(folder / name, 0.1 * rng.standard_normal(n), RATE)
        speaker, emotion = len(lines) % 10, EMOTIONS[len(lines) // 10 % 4]
        lines.append({"path": name, "emotion": emotion, "speaker": speaker})
        seconds += n / RATE
    with open(folder / "labels.csv", "w", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)


def seconds(folder: Path, processes: int, options: dict) -> float:
    """Time that so many processes encode both corpora in, from nothing."""
    shutil.rmtree(folder / "features", ignore_errors=True)
    start = [sys.executable]
    if processes > 1:
        torchrun = str(Path(sys.executable).with_name("torchrun"))
        start = [torchrun, "--standalone", f"--nproc_per_node={processes}"]
    keys = {
        "data_folder": folder,
        "source": "one",
        "target": "two",
        "encoder_source": folder / "wavlm",
        "output_root": folder / "results",
        "feature_folder": folder / "features",
    } | options
    command = [*start, "-m", "lam_sb", "extract", "hparams/small/lam_gl.yaml"]
    command += [f"--{key}={value}" for key, value in keys.items()]
    with (
        tempfile.TemporaryFile("w+") as said,
        subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=said,
            stderr=said,
        ) as process,
    ):
        while process.poll() is None:
            if not any(folder.glob("features/*/plan.json")):
                began = time.perf_counter()
            time.sleep(0.02)
        ended = time.perf_counter()
        if process.returncode:
            said.seek(0)
            raise RuntimeError(said.read())
    return ended - began


def main() -> None:
    """Print the ratio of each pair and their median."""
    processes = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    minutes = float(sys.argv[2]) if len(sys.argv) > 2 else 8
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_base("wavlm", folder / "wavlm")
        for seed, corpus in enumerate(("one", "two")):
            make_corpus(folder / corpus, minutes / 2, seed)
        options = {"device": "cpu", "extract_batch_seconds": 30}
        ratios = [
            seconds(folder, 1, options) / seconds(folder, processes, options)
            for _ in range(ROUNDS)
        ]
    print(f"one / {processes}:", " ".join(f"{r:.2f}" for r in ratios))
    print(f"median {median(ratios):.2f}")


if __name__ == "__main__":
    main()
