"""What checksums cost: with them, over without, in pairs of one run.

    python tests/benchmarks/bench_checksums.py [--rows 3000] [--pairs 5]

Extraction of the tests' clips by a small encoder, one short training on a store
of 12 x 768 float16 (0.5 GB with 3,000 rows), the report of 520 finished runs;
and how fast a store is checked.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))
import bench_report
import torch
from conftest import make_corpus
from transformers import WavLMConfig, WavLMModel

import train
from lam_sb.evaluation import results

SMALL = (
    *("--num_heads=8", "--number_of_epochs=2", "--average_last_steps=4"),
    *("--noprogressbar", "--device=cpu"),
)


@contextmanager
def no_checksums() -> Iterator[None]:
    """Neither make nor check those of tensors and results, nor wait for disks.

    Those of small JSON files stay.
    """
    with (
        patch("lam_sb.tensors._checksum", lambda *_: ""),
        patch("lam_sb.tensors._check", lambda _: None),
        patch("lam_sb.files._sync", lambda _: None),
        patch("lam_sb.evaluation.results.read_results", _plain),
    ):
        yield


def _plain(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def ratios(what: str, work: Callable[[Path], None], pairs: int) -> None:
    """Print the seconds without and the ratio with, over without."""
    found, seconds = [], []
    for _ in range(pairs):
        times = []
        for checked in (True, False):
            with tempfile.TemporaryDirectory() as folder:
                start = time.perf_counter()
                if checked:
                    work(Path(folder))
                else:
                    with no_checksums():
                        work(Path(folder))
                times.append(time.perf_counter() - start)
        found.append(times[0] / times[1])
        seconds.append(times[1])
    print(
        f"{what}: {median(seconds):.2f} s without, ratio {median(found):.3f} "
        f"({min(found):.3f} to {max(found):.3f})",
        flush=True,
    )


def extraction(root: Path) -> Callable[[Path], None]:
    """Encode two made-up corpora with a WavLM of two base blocks."""
    from lam_sb.commands import extract

    encoder = root / "wide"
    WavLMModel(WavLMConfig(num_hidden_layers=2)).save_pretrained(encoder)
    for n, name in enumerate(("left", "right")):
        make_corpus(root / "data" / name, seed=n)
    words = [f"--data_folder={root / 'data'}", f"--encoder_source={encoder}"]
    words += ["--source=left", "--target=right", "--noprogressbar"]
    hparams = Path(__file__).parents[2] / "hparams/small/layer_atn.yaml"

    def work(folder: Path) -> None:
        place = [f"--output_root={folder}", f"--feature_folder={folder}/f"]
        extract([str(hparams), *words, *place])

    return work


def training(root: Path, rows: int) -> Callable[[Path], None]:
    """Train twice through a store of the paper's shape, at a small part."""
    spec = Path(__file__).with_name("made_up.py")
    import importlib.util

    loaded = importlib.util.spec_from_file_location("corpora_made_up", spec)
    module = importlib.util.module_from_spec(loaded)
    loaded.loader.exec_module(module)
    words = module.make(root / "paper", rows * 2 // 3, rows // 3)
    hparams = Path(__file__).parents[2] / "hparams/lam_gl_wavlm.yaml"

    def work(folder: Path) -> None:
        from lam_sb import tensors

        tensors._checked.clear()
        place = [f"--output_folder={folder}"]
        train.main([str(hparams), *words, *SMALL, *place])

    return work


def reporting(root: Path) -> Callable[[Path], None]:
    """Read finished runs, compare them and write their report."""
    paths = bench_report.make_runs(root)

    def work(folder: Path) -> None:
        runs = [results.read_run(path) for path in paths]
        bench_report.report(runs, folder / "report")

    return work


def checking(root: Path) -> None:
    """Print how fast a store is checked once the system holds it."""
    from lam_sb import tensors

    files = sorted((root / "paper/features").rglob("????????????????.safet*"))
    size = sum(path.stat().st_size for path in files)
    for _ in range(2):
        start = time.perf_counter()
        for path in files:
            with tensors.opened_tensors(path):
                pass
        spent = time.perf_counter() - start
    speed = size / spent / 1e9
    print(f"{size / 1e9:.2f} GB checked at {speed:.1f} GB/s")


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--pairs", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        ratios("extraction", extraction(root), given.pairs)
        ratios("training", training(root, given.rows), given.pairs)
        checking(root)
        ratios("report", reporting(root / "runs"), given.pairs)


if __name__ == "__main__":
    main()
