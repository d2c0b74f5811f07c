"""Encoders of random weights, for the demo and for tests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PretrainedConfig


def write_random_encoder(
    folder: Path,
    config: PretrainedConfig,
    preprocessor: Mapping[str, object],
    seed: int = 0,
) -> None:
    """Save an encoder that has learned nothing, as a checkpoint is saved.

    Arguments
    ---------
    folder : Path
        Gets config.json, model.safetensors and preprocessor_config.json.
    config : PretrainedConfig
        Of a kind that `lam_sb.features.encoders.FrozenEncoder` reads.
    preprocessor : Mapping[str, object]
        For preprocessor_config.json.
    seed : int
        Decides the weights.
    """
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        weights = AutoModel.from_config(config).state_dict()
    config.save_pretrained(folder)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    text = json.dumps(dict(preprocessor))
    (folder / "preprocessor_config.json").write_text(text)
