"""How much longer a report of 520 runs takes than reading them.

    python tests/benchmarks/bench_report.py

Makes up 13 systems on two encoders in both directions with ten seeds, each
tested on 1,000 utterances of 50 speakers, and prints the ratio of two timings
taken in one run: reading, comparing and reporting them, over reading alone.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))
from made_up import make_rows, make_run

from lam_sb.evaluation.catalogue import NAMES, SEGMENTS
from lam_sb.evaluation.comparisons import make_tables
from lam_sb.evaluation.result_files import checksums_beside
from lam_sb.evaluation.results import Run, read_run
from lam_sb.files import read_checked, write_checked
from lam_sb.study.report.findings import Findings
from lam_sb.study.report.report import write_report

SYSTEMS = [name for name in NAMES if name not in SEGMENTS][:13]
DIRECTIONS = (("msp_podcast", "biic_podcast"), ("biic_podcast", "msp_podcast"))


def make_runs(root: Path) -> list[Path]:
    """Make the runs up; their results.json."""
    rows = make_rows(speakers=50, takes=5)
    paths = [
        make_run(root, system, *pair, seed, encoder=encoder, rows=rows)
        for system, pair, encoder, seed in itertools.product(
            SYSTEMS, DIRECTIONS, ("wavlm", "whisper"), range(10)
        )
    ]
    for path in paths:  # as a run's own
        results = read_checked(path)
        results["files"] = checksums_beside(path, results)
        write_checked(path, results)
    return paths


def report(runs: list[Run], folder: Path) -> None:
    """Compare runs, and write what was found."""
    tables, problems = make_tables(runs)
    findings = Findings("made_up", "Made up", tables, problems, paper=True)
    write_report(folder, findings)


def main() -> None:
    """Print both timings and their ratio."""
    with tempfile.TemporaryDirectory() as folder:
        paths = make_runs(Path(folder))
        start = time.perf_counter()
        runs = [read_run(path) for path in paths]
        reading = time.perf_counter() - start
        report(runs, Path(folder, "report"))
        whole = time.perf_counter() - start
    print(f"{len(runs)} runs: read in {reading:.1f} s, reported in {whole:.1f}")
    print(f"ratio {whole / reading:.1f}")


if __name__ == "__main__":
    main()
