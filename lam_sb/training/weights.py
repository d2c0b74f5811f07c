"""Weights of the epochs that may be tested, and of those that are.

While a run trains, those of an epoch lie in a file of their own, as they are.
Those that are tested are kept in one file, in 16 bits or 8 instead of 32, and
are read back from there for the test.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from lam_sb.errors import UserError
from lam_sb.files import whole_file
from lam_sb.training.finite import diverged

STEPS = 126  # of 127: rounding its scale to bfloat16 takes less than one
SCALE = "/scale"  # ends the name of the scales of a difference


class EpochWeights:
    """Weights kept beside the checkpoints, as safetensors.

    Arguments
    ---------
    folder : str | Path
        The checkpoints' folder; while a run trains, the weights lie in
        ``weights`` under it, those that are tested in ``tested.safetensors``.
    model : nn.Module
        What is saved and loaded.
    """

    def __init__(self, folder: str | Path, model: nn.Module):
        self.folder = Path(folder) / "weights"
        self.tested = Path(folder) / "tested.safetensors"
        self.model = model

    def path(self, epoch: int) -> Path:
        """Path of the weights after an epoch, while a run trains."""
        return self.folder / f"{epoch:05d}.safetensors"

    def save(self, epoch: int) -> None:
        """Save the model as it is after an epoch."""
        self.folder.mkdir(exist_ok=True)
        with whole_file(self.path(epoch)) as temporary:
            save_file(self.model.state_dict(), temporary)

    def keep_only(self, epochs: Collection[int]) -> None:
        """Remove the weights of all other epochs."""
        for path in self.folder.glob("*.safetensors"):
            if int(path.stem) not in epochs:
                path.unlink()

    def keep_tested(
        self, whole: Collection[int], averaged: Collection[int] = ()
    ) -> None:
        """Keep what is tested in one file, from the files of the epochs.

        Arguments
        ---------
        whole : Collection[int]
            Epochs kept in float16, those among them that are tested alone.
        averaged : Collection[int]
            Others, of which matrices are kept as their difference from the
            last of ``whole``, in 8 bits with a scale for each row.

        Raises
        ------
        UserError
            A weight that is not finite in float16.
        """
        base = load_file(self.path(max(whole)))
        base = {name: _rounded(value) for name, value in base.items()}
        kept: dict[str, torch.Tensor] = {}
        for epoch in sorted({*whole, *averaged}, reverse=True):
            state = load_file(self.path(epoch))
            for name, value in state.items():
                if epoch not in whole and _in_rows(value):
                    parts = _difference(value, base[name])
                else:
                    parts = {"": _rounded(value)}
                _check_finite(epoch, name, parts.values())
                kept |= {_key(epoch, name) + k: v for k, v in parts.items()}
        with whole_file(self.tested) as temporary:
            save_file(kept, temporary, {"base": str(max(whole))})

    def load(self, epoch: int, device: str | torch.device) -> None:
        """Put the weights of a tested epoch, as they are kept, into the model.

        Raises
        ------
        UserError
            They are not there.
        """
        state = {}
        with self._open(device) as file:
            names, base = file.keys(), int(file.metadata()["base"])
            for name in self.model.state_dict():
                key = _key(epoch, name)
                if key not in names:
                    raise UserError(f"{self.tested} lacks the epoch {epoch}.")
                value = file.get_tensor(key)
                if key + SCALE in names:
                    scale = file.get_tensor(key + SCALE).float()
                    value = value.float() * scale
                    value += file.get_tensor(_key(base, name)).float()
                state[name] = value
        self.model.load_state_dict(state)

    def _open(self, device: str | torch.device) -> safe_open:
        if not self.tested.is_file():
            raise UserError(
                f"{self.tested}, the weights to test, is missing: remove "
                f"{self.tested.parent} to train again."
            )
        try:
            return safe_open(self.tested, framework="pt", device=str(device))
        except SafetensorError as error:
            raise UserError(
                f"{self.tested} is damaged ({error}). Remove "
                f"{self.tested.parent} to train anew."
            ) from error


def weights_hash(folder: str | Path) -> str | None:
    """Hash of the weights that a run tested, 16 hexadecimal digits.

    None where its folder ``save`` has none.
    """
    path = Path(folder) / "tested.safetensors"
    if not path.is_file():
        return None
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _key(epoch: int, name: str) -> str:
    return f"{epoch:05d}/{name}"


def _rounded(value: torch.Tensor) -> torch.Tensor:
    """Give floats in float16, others as they are."""
    return value.half() if value.is_floating_point() else value


def _in_rows(value: torch.Tensor) -> bool:
    """Whether a tensor is of floats in rows, which can share a scale."""
    return value.is_floating_point() and value.ndim > 1 and value.numel() > 0


def _difference(
    value: torch.Tensor, base: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Give steps (..., n) in int8 from a base, and their sizes (..., 1)."""
    difference = value.float() - base.float()
    scale = difference.abs().amax(-1, keepdim=True) / STEPS
    scale = scale.bfloat16()
    size = scale.float().clamp(min=torch.finfo(torch.float32).tiny)
    return {"": (difference / size).round().to(torch.int8), SCALE: scale}


def _check_finite(
    epoch: int, name: str, values: Collection[torch.Tensor]
) -> None:
    if not all(value.isfinite().all() for value in values):
        most = torch.finfo(torch.float16).max
        raise diverged(
            epoch, f"weights of {name}, kept in float16 (to {most:.0f}), are"
        )
