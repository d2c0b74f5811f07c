"""Runs that are exported, and what they said of their test rows."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from conftest import read_table

from lam_sb.__main__ import main
from lam_sb.corpora.manifests import EMOTIONS
from lam_sb.inference import EmotionClassifier


def finished_run(train_on: Callable, three: Path, tmp_path: Path) -> Path:
    """Give a finished run, made once and copied, in tmp_path/results."""
    if not (three / "run").exists():
        train_on("left", "right", output_root=three / "run")
    shutil.copytree(three / "run", tmp_path / "results")
    return tmp_path / "results/small_lam_gl/left-right/0"


def export(tmp_path: Path, *runs: Path, **options) -> Path:
    folder = tmp_path / "exported"
    words = [f"--{key}={value}" for key, value in options.items()]
    main(["export", *map(str, runs), str(folder), *words])
    return folder


def load(folder: Path, encoder: Path) -> EmotionClassifier:
    return EmotionClassifier.from_hparams(
        str(folder), overrides={"encoder_source": str(encoder)}
    )


def manifest_of(run: Path, data_folder: Path, target: str) -> dict[str, dict]:
    """Test rows by id, with the path of their audio."""
    (path,) = (run.parents[2] / "manifests").glob(f"*/{target}/test.json")
    rows = json.loads(path.read_text(encoding="utf-8"))
    for row in rows.values():
        row["wav"] = row["wav"].replace(
            "{data_root}", str(data_folder / target)
        )
    return rows


def posteriors_of(
    run: Path, data_folder: Path, target: str, folder: str = ""
) -> dict[str, np.ndarray]:
    """What a run said of its test rows, by path of the audio."""
    rows = manifest_of(run, data_folder, target)
    path = run / folder / "predictions.csv"
    return {
        rows[row["id"]]["wav"]: np.array([float(row[e]) for e in EMOTIONS])
        for row in read_table(path)
    }


def largest_difference(model: EmotionClassifier, posteriors: dict) -> float:
    return max(
        np.abs(model.classify_file(path)[0][0].numpy() - known).max()
        for path, known in posteriors.items()
    )
