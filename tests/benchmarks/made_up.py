"""A made-up feature store of any size, and manifests that point to it.

    python tests/benchmarks/made_up.py FOLDER [--source_rows 49018]
        [--target_rows 22799] [--layers 12] [--dim 768]

By default it has the size of MSP-Podcast and BIIC-Podcast on WavLM base (11.9
GB): random features in shards as `FeatureStore` writes them. Nothing can be
learned from them, and much can be timed. It prints the options with which
train.py and the commands read it.
"""

from __future__ import annotations

import argparse
import hashlib
import os
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import torch

from lam_sb.corpora.manifests import EMOTIONS, write_manifest
from lam_sb.features.plan import keys_of, plan_shards, row_key
from lam_sb.features.store import FORMAT
from lam_sb.features.store_files import StoreFiles

CHUNKS = 8
SPEAKERS = 400  # of each corpus
SHARES = {"train": 0.6, "valid": 0.2, "test": 0.2}
ENCODER = "made-up/encoder"


def rows_of(corpus: str, count: int) -> Iterator[tuple[str, dict]]:
    """Rows of 2 to 8 seconds."""
    for n in range(count):
        utt_id = f"{corpus}_{n:06d}"
        yield (
            utt_id,
            {
                "wav": f"{{data_root}}/{utt_id}.wav",
                "audio_sha": hashlib.sha256(utt_id.encode()).hexdigest(),
                "duration": 2 + n % 600 / 100,
                "emo": EMOTIONS[n % 4],
                "speaker": f"{corpus}_{n % SPEAKERS}",
                "gender": "unknown",
                "corpus": corpus,
                "language": "unknown",
                "phones": [],
                "phone_set": "",
            },
        )


def write_manifests(folder: Path, rows: list[tuple[str, dict]]) -> None:
    """Split the rows, speakers apart."""
    folder.mkdir(parents=True)
    start = 0.0
    for split, share in SHARES.items():
        first, last = (round(x * SPEAKERS) for x in (start, start + share))
        part = [
            row for n, row in enumerate(rows) if first <= n % SPEAKERS < last
        ]
        write_manifest(folder / f"{split}.json", part)
        start += share


def write_store(
    folder: Path, rows: list[tuple[str, dict]], layers: int, dim: int
) -> None:
    """Write shards of random features, each layer at another place."""
    files = StoreFiles(folder)
    files.make_folder()
    settings = {
        "format": FORMAT,
        "transformers": version("transformers"),
        "time_chunks": CHUNKS,
        "extract_precision": "fp32",
        "storage_dtype": "float16",
        "final_norm": False,
        "digest": "made up",
    }
    encoder = {
        "source": ENCODER,
        "family": "wavlm",
        "num_layers": layers,
        "dim": dim,
    }
    shards = plan_shards({row_key(*r): r for r in rows}, lambda s: s, 120.0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    random = {"generator": torch.Generator(device), "device": device}
    centre = torch.randn(layers, dim, **random)
    for shard in shards:
        n = len(keys_of(shard))
        chunks = centre + torch.randn(n, CHUNKS, layers, dim, **random)
        tensors = {
            "chunks": chunks.half().cpu(),
            "chunks.frames": torch.full((n, CHUNKS), 30, dtype=torch.int32),
            "utterance": chunks.mean(1).half().cpu(),
            "utterance.frames": torch.full((n,), 240, dtype=torch.int32),
        }
        files.save(shard, tensors)
    files.describe({"encoder": encoder, "settings": settings})
    files.write_plan(shards)


def make(
    folder: Path,
    source_rows: int = 49018,
    target_rows: int = 22799,
    layers: int = 12,
    dim: int = 768,
) -> list[str]:
    """Write both, unless they are there; give the options that read them."""
    folder = folder.resolve()
    manifests, features = folder / "manifests", folder / "features"
    if not (features / "encoder-0000000000000000" / "plan.json").exists():
        every = []
        for corpus, count in (("alpha", source_rows), ("beta", target_rows)):
            rows = list(rows_of(corpus, count))
            if not (manifests / corpus).exists():
                write_manifests(manifests / corpus, rows)
            every += rows
        write_store(features / "encoder-0000000000000000", every, layers, dim)
    os.environ["HF_HUB_OFFLINE"] = "1"  # the encoder is nowhere
    return [
        f"--encoder_source={ENCODER}",
        f"--data_folder={folder}",
        f"--manifest_folder={manifests}",
        f"--feature_folder={features}",
        "--source=alpha",
        "--target=beta",
        "--skip_prep=True",
        f"--output_root={folder / 'results'}",
    ]


def main() -> None:
    """Make one, by the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    for name, value in zip(
        ("source_rows", "target_rows", "layers", "dim"),
        make.__defaults__,
        strict=True,
    ):
        parser.add_argument(f"--{name}", type=int, default=value)
    print("HF_HUB_OFFLINE=1", *make(**vars(parser.parse_args())))


if __name__ == "__main__":
    main()
