"""Checkpoints of encoders, in a local folder or at Hugging Face."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from pathlib import Path

import torch
from torch import nn

from lam_sb.errors import UserError

FAMILIES = ("wavlm", "hubert", "wav2vec2", "whisper")


def fetch(source: str, filename: str) -> Path:
    """Path of one file of a local folder or, cached or fetched, of a hub id."""
    if Path(source).is_dir():
        path = Path(source) / filename
        if not path.is_file():
            raise UserError(
                f"The encoder folder {source} holds no {filename}; found: "
                f"{', '.join(sorted(p.name for p in Path(source).iterdir()))}."
            )
        return path
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        cached = try_to_load_from_cache(source, filename)
        if isinstance(cached, str):
            return Path(cached)
        if cached is None:
            return Path(hf_hub_download(source, filename))
        reason = f"it is known to have no {filename}"
    except HFValidationError:
        reason = "it is neither a folder here nor a Hugging Face id"
    except Exception as error:  # the hub's client raises many kinds
        reason = f"{type(error).__name__}: {str(error).splitlines()[0]}"
    raise UserError(
        f"The encoder {source} cannot be read ({reason}). Give "
        "--encoder_source a local folder, or download it where there is "
        f"internet: hf download {source}"
    )


def fetch_preprocessor_config(source: str) -> Path | None:
    """Path of preprocessor_config.json, which not all checkpoints have."""
    try:
        return fetch(source, "preprocessor_config.json")
    except UserError:
        return None


def describe(source: str) -> dict:
    """Read ``family``, ``num_layers`` and ``dim`` from config.json alone."""
    text = fetch(source, "config.json").read_text(encoding="utf-8")
    try:
        config = dict(json.loads(text))
    except (ValueError, TypeError) as error:
        raise UserError(f"{source}/config.json is broken: {error}") from error
    family = config.get("model_type")
    if family not in FAMILIES:
        raise UserError(
            f"The encoder {source} is of the type '{family}'; "
            f"known are {', '.join(FAMILIES)}."
        )
    depth, dim = "num_hidden_layers", "hidden_size"
    if family == "whisper":
        depth, dim = "encoder_layers", "d_model"
    if not {depth, dim} <= config.keys():
        raise UserError(f"{source}/config.json lacks {depth} or {dim}.")
    return {"family": family, "num_layers": config[depth], "dim": config[dim]}


def read_store_descriptions(
    encoder_name: str, feature_folder: str | Path
) -> dict[Path, dict]:
    """Read store.json of the stores made with an encoder of exactly this name.

    Each holds ``encoder``, as `describe` gives it, and the ``settings``; they
    are sorted by folder. wavlm-base is not wavlm-base-plus.
    """
    store_name = re.compile(re.escape(encoder_name) + "-[0-9a-f]{16}")
    return {
        path.parent: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(Path(feature_folder).glob("*/store.json"))
        if store_name.fullmatch(path.parent.name)
    }


def load_model(source: str) -> tuple[nn.Module, list[str]]:
    """Load weights in float32; give the names of those that are missing too.

    SpeechBrain's interface loads them. Missing ones are random: transformers
    fills them in and goes on.
    """
    from huggingface_hub.constants import HF_HUB_CACHE
    from speechbrain.integrations.huggingface.huggingface import (
        HFTransformersInterface,
    )
    from transformers.utils.logging import disable_progress_bar

    if Path(source).is_dir() or not sys.stderr.isatty():
        disable_progress_bar()  # there is no download to be watched

    class Interface(HFTransformersInterface):
        def _from_pretrained(self, *args, **kwargs) -> None:
            super()._from_pretrained(*args, output_loading_info=True, **kwargs)
            self.model, self.loading_info = self.model

    try:
        interface = Interface(
            source,
            save_path="" if Path(source).is_dir() else HF_HUB_CACHE,
            freeze=True,
            dtype=torch.float32,
        )
    except (OSError, ValueError) as error:
        raise UserError(
            f"The weights of {source} cannot be loaded: {error}"
        ) from error
    return interface.model, sorted(interface.loading_info["missing_keys"])


def weight_files(source: str) -> list[Path]:
    """Files with the weights beside config.json, as transformers chooses."""
    folder = fetch(source, "config.json").parent
    return sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))


def content_hash(source: str) -> str:
    """SHA-256 of config, preprocessor config and weights."""
    config, weights = fetch(source, "config.json"), weight_files(source)
    if not weights:
        raise UserError(
            f"The weights of {source} are not beside its config.json in "
            f"{config.parent}; fetch both: hf download {source}"
        )
    digest = hashlib.sha256()
    for path in (config, fetch_preprocessor_config(source), *weights):
        if path is not None:
            digest.update(path.name.encode())
            with open(path, "rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
    return digest.hexdigest()
