"""Checkpoints of encoders, in a local folder or at Hugging Face."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from lam_sb.errors import UserError
from lam_sb.files import DamagedError, read_checked

FAMILIES = ("wavlm", "hubert", "wav2vec2", "whisper")
# What tells a feature extractor's settings from those of other processors.
EXTRACTOR_KEYS = {"do_normalize", "sampling_rate", "feature_extractor_type"}
# What the loaders of weights raise on files that are not whole.
UNLOADABLE = (
    *(OSError, ValueError, RuntimeError, EOFError, SafetensorError),
    pickle.UnpicklingError,
)
TIMEOUT = 10  # seconds within which the hub must answer
POINTER = b"version https://git-lfs"


class OutOfReachError(UserError):
    """A checkpoint, or its weights, is not there and cannot be fetched."""


class NotCachedError(OutOfReachError):
    """A file of a hub id would have to be fetched, while that is not wanted."""


on_net = ContextVar("on_net", default=True)


@contextmanager
def cached_only() -> Iterator[None]:
    """Look for nothing on the net: retries take half a minute without one.

    Raises
    ------
    NotCachedError
        Within, where a file would have to be fetched.
    """
    token = on_net.set(False)
    try:
        yield
    finally:
        on_net.reset(token)


def fetch(source: str, filename: str) -> Path:
    """Path of one file of a local folder or, cached or fetched, of a hub id."""
    if Path(source).is_dir():
        path = Path(source) / filename
        if not path.is_file():
            raise OutOfReachError(
                f"The encoder folder {source} holds no {filename}; found: "
                f"{', '.join(sorted(p.name for p in Path(source).iterdir()))}."
            )
        return path
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.constants import ENDPOINT
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import get_session

    try:
        cached = try_to_load_from_cache(source, filename)
        if isinstance(cached, str):
            return Path(cached)
        if cached is None and not on_net.get():
            raise NotCachedError(f"{source} has no {filename} here.")
        if cached is None:
            # Once, as the download would be tried for half a minute.
            get_session().head(ENDPOINT, timeout=TIMEOUT)
            return Path(hf_hub_download(source, filename))
        reason = f"it is known to have no {filename}"
    except NotCachedError:
        raise
    except HFValidationError:
        reason = "it is neither a folder here nor a Hugging Face id"
    except Exception as error:  # the hub's client raises many kinds
        reason = f"{type(error).__name__}: {str(error).splitlines()[0]}"
    raise OutOfReachError(
        f"The encoder {source} cannot be read ({reason}). Give "
        "--encoder_source a local folder, or download it where there is "
        f"internet: hf download {source}"
    )


def read_preprocessor(source: str) -> tuple[Path, dict] | None:
    """File with the feature extractor's settings, and these.

    That is preprocessor_config.json or, as transformers 5 writes,
    processor_config.json, where they may be nested. None where a checkpoint
    has neither.
    """
    for name in ("preprocessor_config.json", "processor_config.json"):
        try:
            path = fetch(source, name)
        except NotCachedError:
            raise
        except UserError:
            continue
        content = _read_json(path)
        settings = content.get("feature_extractor", content)
        if name.startswith("pre") or EXTRACTOR_KEYS & settings.keys():
            return path, settings
    return None


def _read_json(path: Path) -> dict:
    refuse_pointer(path)
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} is broken: {error}") from error


def describe(source: str) -> dict:
    """Read ``family``, ``num_layers`` and ``dim`` from config.json alone.

    And ``adapter``, whether the checkpoint has layers behind its blocks; of
    Whisper also ``positions``, the frames of its window.
    """
    config = _read_json(fetch(source, "config.json"))
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
    found = {
        "family": family,
        "num_layers": config[depth],
        "dim": config[dim],
        "adapter": bool(config.get("add_adapter")),
    }
    if family == "whisper":
        found["positions"] = config.get("max_source_positions", 1500)
    return found


def has_layer_norm_in_front(source: str) -> bool:
    """Whether the convolutional front end has a layer norm, says config.json.

    Those that have one were trained on standardised waveforms.
    """
    config = _read_json(fetch(source, "config.json"))
    return config.get("feat_extract_norm") == "layer"


def read_store_descriptions(
    encoder_name: str, feature_folder: str | Path | None
) -> dict[Path, dict]:
    """Read store.json of the stores made with an encoder of exactly this name.

    Each holds ``encoder``, as `describe` gives it, and the ``settings``; they
    are sorted by folder. wavlm-base is not wavlm-base-plus.
    """
    if feature_folder is None:
        return {}
    store_name = re.compile(re.escape(encoder_name) + "-[0-9a-f]{16}")
    descriptions = {}
    for path in sorted(Path(feature_folder).glob("*/store.json")):
        if store_name.fullmatch(path.parent.name):
            with suppress(FileNotFoundError, DamagedError):  # made again
                descriptions[path.parent] = read_checked(path)
    return descriptions


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

    for path in weight_files(source):
        check_weights(source, path)
    try:
        interface = Interface(
            source,
            save_path="" if Path(source).is_dir() else HF_HUB_CACHE,
            freeze=True,
            dtype=torch.float32,
        )
    except UNLOADABLE as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        kind = UserError if weight_files(source) else OutOfReachError
        raise kind(
            f"The weights of {source} cannot be loaded ({reason[0]}); "
            f"{_fetch_again(source)}"
        ) from error
    return interface.model, sorted(interface.loading_info["missing_keys"])


def weight_files(source: str) -> list[Path]:
    """Files with the weights beside config.json, as transformers chooses."""
    folder = fetch(source, "config.json").parent
    return sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))


def refuse_pointer(path: Path) -> None:
    """Refuse a file that git clone left without git-lfs.

    Raises
    ------
    UserError
        It is a git-LFS pointer.
    """
    with open(path, "rb") as file:
        if file.read(len(POINTER)) == POINTER:
            raise UserError(
                f"{path} is only a git-LFS pointer to the file; fetch it: "
                f"git -C {path.parent} lfs pull"
            )


def check_weights(source: str, path: Path) -> None:
    """Refuse weights that are not whole, as far as can be told quickly.

    Raises
    ------
    UserError
        A git-LFS pointer, or a file that ends early.
    """
    refuse_pointer(path)
    if path.suffix != ".safetensors":
        return
    try:
        with safe_open(path, "pt"):
            pass
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{path} is damaged or only half downloaded ({error}); "
            f"{_fetch_again(source)}"
        ) from error


def _fetch_again(source: str) -> str:
    if Path(source).is_dir():
        return f"fetch its files again into {source}."
    return f"fetch it again: hf download --force-download {source}"


def content_hash(source: str) -> str:
    """SHA-256 of config, preprocessor config and weights."""
    config, weights = fetch(source, "config.json"), weight_files(source)
    if not weights:
        raise OutOfReachError(
            f"The weights of {source} are not beside its config.json in "
            f"{config.parent}; fetch both: hf download {source}"
        )
    for path in weights:
        check_weights(source, path)
    preprocessor = read_preprocessor(source)
    digest = hashlib.sha256()
    for path in (config, *(preprocessor or ())[:1], *weights):
        digest.update(path.name.encode())
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
