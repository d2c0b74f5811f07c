"""The tutorial, from the demo's training to a model that classifies."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import nbformat
from conftest import ROOT
from nbclient import NotebookClient

from data_prep.demo_prepare import CORPORA


def test_the_tutorial_runs_and_the_demo_learns_across_languages(
    demo, tmp_path, monkeypatch
):
    for name in ("train.py", "hparams", "data_prep"):
        (tmp_path / name).symlink_to(ROOT / name)
    corpora = tmp_path / "results/demo/corpora"
    corpora.mkdir(parents=True)
    for corpus in CORPORA:
        (corpora / corpus).symlink_to(demo / corpus)
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    monkeypatch.setenv("PATH", programs)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(ROOT / "docs/tutorial.ipynb", as_version=4)
    nbformat.validate(notebook)
    place = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=300, resources=place).execute()

    path = tmp_path / "results/demo/msp_podcast-biic_podcast/0/results.json"
    results = json.loads(path.read_text())
    assert results["uar"] >= 0.5
    assert results["uar_ci95"][0] > 0.25
    assert results["n_test"] == 64
    assert results["n_train_source"] == 158  # without X and the missing file
    assert results["n_train_target"] == 159
    assert results["target_labels_used"] == 0
    said = [
        output.get("text", "")
        for cell in notebook.cells
        for output in cell.get("outputs", [])
    ]
    assert f"UAR {results['uar']:.3f}, 95 % interval" in "".join(said)
    assert "no difference is shown" in "".join(said)
    assert said[-1].split()[0] in ("neutral", "happy", "angry", "sad")
    exported = tmp_path / "demo_model/README.md"
    assert masked(exported) == masked(ROOT / "docs/demo_model/README.md")
    # Commands in cells fail without stopping a notebook.
    assert "error:" not in "".join(said)


def masked(card: Path) -> str:
    """Text of a model card without its scores and without notes."""
    text = card.read_text(encoding="utf-8")
    text = re.sub(r"(?m)^> .*\n(?:\n(?!> ))?", "", text)
    return re.sub(r"\d+\.\d+", "0.0", text)
