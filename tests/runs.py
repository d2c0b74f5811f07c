"""Runs of train.py in this process, and what they left."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from conftest import read_table, write_table
from hyperpyyaml import load_hyperpyyaml
from safetensors.torch import load_file

import train
from lam_sb.command_line import parse_arguments
from lam_sb.config import key_blocks


def folder_of(arguments: list[str]) -> Path:
    path, _, overrides = parse_arguments(arguments)
    blocks = key_blocks(path, overrides)
    keys = ("output_root", "experiment", "source", "target", "seed")
    text = "".join(blocks[key] for key in (*keys, "output_folder"))
    return Path(load_hyperpyyaml(text)["output_folder"])  # builds nothing


def run(arguments: list[str]) -> Path:
    folder = folder_of(arguments)
    train.main(arguments)
    return folder


def results_of(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    """Weights of the last epoch, which are kept in float16."""
    kept = load_file(folder / "save/tested.safetensors")
    last = max(name.partition("/")[0] for name in kept)
    return {
        name.partition("/")[2]: value
        for name, value in kept.items()
        if name.startswith(f"{last}/")
    }


def contents(folder: Path) -> dict[str, bytes]:
    """Bytes of all files but logs and what the last command asked for."""
    others = {".lock", "log.txt", "train_log.txt", "hyperparams.yaml"}
    others.add("env.log")
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in others
    }


def same_weights(one: Path, two: Path) -> bool:
    a, b = weights_of(one), weights_of(two)
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def outcome(folder: Path) -> tuple[dict, list[dict]]:
    """Everything that must be equal for a run to be bit-identical."""
    results = results_of(folder)
    for key in ("seconds", "git", "device", "checksum"):
        del results[key]
    rows = read_table(folder / "predictions.csv")
    for row in rows:
        del row["label"]
    return results, rows


def relabelled(demo: Path, tmp_path: Path) -> Path:
    """Copy the corpora, the Mandarin labels turned round."""
    data = tmp_path / "relabelled"
    shutil.copytree(demo, data)
    path = data / "biic_podcast/Labels/labels_consensus.csv"
    table, turned = read_table(path), dict(zip("NHAS", "HASN", strict=True))
    for row in table:
        row["EmoClass"] = turned.get(row["EmoClass"], row["EmoClass"])
    write_table(path, table)
    return data
