"""Rehearse a run of the paper's size, and of a tenth of it.

    python tests/benchmarks/rehearsal.py FOLDER [--features_on disk]
        [--device cpu] [--epochs 1]

FOLDER gets two made-up stores (made_up.py), 12 GB and 1.2 GB, which stay. One
epoch of LAM-GL is trained twice on each, with statistics to be fitted and with
statistics that are kept, and the layers are analysed. Prints the seconds of
each command, start included, the most memory of its own that it took, and how
long a row took against the tenth.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from made_up import make

ROOT = Path(__file__).parents[2]
YAML = str(ROOT / "hparams" / "lam_gl_wavlm.yaml")
SIZES = {"tenth": (4902, 2280), "whole": (49018, 22799)}
POLL = 0.05  # seconds


def measure(command: list[str]) -> tuple[float, float]:
    """Seconds of a command, and the most anonymous memory it had, in GB."""
    environment = {"OMP_NUM_THREADS": "1"} | os.environ
    start, most = time.perf_counter(), 0
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env=environment | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
    )
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
        except OSError:
            break
        for line in status.splitlines():
            if line.startswith("RssAnon"):
                most = max(most, int(line.split()[1]))
        time.sleep(POLL)
    if process.wait():
        raise SystemExit(f"{command} failed")
    return time.perf_counter() - start, most / 1e6


def main() -> None:
    """Print a line a command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--features_on", default="disk")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--epochs", type=int, default=1)
    args = parser.parse_args()
    by_size: dict[str, dict[str, float]] = {}
    for size, (source, target) in SIZES.items():
        options = make(args.folder / size, source, target)
        features = args.folder / size / "features"
        shutil.rmtree(
            features / "encoder-0000000000000000" / "statistics",
            ignore_errors=True,
        )
        options += [f"--device={args.device}", "--anchor_layers=[8, 9, 11]"]
        run = [f"--features_on={args.features_on}"]
        run.append(f"--number_of_epochs={args.epochs}")
        commands = {
            "first run": ["train.py", YAML, *options, *run],
            "second run": ["train.py", YAML, *options, *run, "--seed=1"],
            "analysis": ["-m", "lam_sb", "analyse", YAML, *options],
        }
        shutil.rmtree(args.folder / size / "results", ignore_errors=True)
        for name, command in commands.items():
            seconds, memory = measure(command)
            by_size.setdefault(name, {})[size] = seconds / (source + target)
            print(f"{size} {name}: {seconds:.1f} s, {memory:.2f} GB")
    for name, times in by_size.items():
        ratio = times["whole"] / times["tenth"]
        print(f"{name}: a row takes {ratio:.2f} of its time at a tenth")


if __name__ == "__main__":
    main()
