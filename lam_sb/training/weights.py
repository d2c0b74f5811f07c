"""Weights of the epochs that may be tested, and of those that are.

While a run trains, those of an epoch lie in a file of their own, as they are.
Those that are tested are kept in one file, in 16 bits or 8 instead of 32, and
are read back from there for the test.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from lam_sb.errors import UserError
from lam_sb.files import DamagedError
from lam_sb.tensors import TensorFile, opened_tensors, save_tensors
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
        save_tensors(self.path(epoch), self.model.state_dict())

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
            A weight that is not finite in float16, or a file that is damaged.
        """
        base = self._of_epoch(max(whole))
        base = {name: _rounded(value) for name, value in base.items()}
        kept: dict[str, torch.Tensor] = {}
        for epoch in sorted({*whole, *averaged}, reverse=True):
            state = self._of_epoch(epoch)
            for name, value in state.items():
                if epoch not in whole and _in_rows(value):
                    parts = _difference(value, base[name])
                else:
                    parts = {"": _rounded(value)}
                _check_finite(epoch, name, parts.values())
                kept |= {_key(epoch, name) + k: v for k, v in parts.items()}
        save_tensors(self.tested, kept, {"base": max(whole)})

    def load(self, epoch: int, device: str | torch.device) -> None:
        """Put the weights of a tested epoch, as they are kept, into the model.

        Raises
        ------
        UserError
            They are not there, or damaged.
        """
        names = [*self.model.state_dict()]
        with self._opened(self.tested, device) as file:
            there, base = {*file.keys()}, file.content["base"]
            if _key(epoch, names[0]) not in there:
                raise UserError(f"{self.tested} lacks the epoch {epoch}.")
            state = stored_weights(file, there, names, epoch, base)
        self.model.load_state_dict(state)

    def _of_epoch(self, epoch: int) -> dict[str, torch.Tensor]:
        """Read the weights after an epoch, while a run trains."""
        with self._opened(self.path(epoch), "cpu") as file:
            return file.tensors()

    @contextmanager
    def _opened(
        self, path: Path, device: str | torch.device
    ) -> Iterator[TensorFile]:
        try:
            with opened_tensors(path, device) as file:
                yield file
        except FileNotFoundError:
            raise UserError(
                f"{path}, the weights to test, is missing: remove "
                f"{self.tested.parent} to train again."
            ) from None
        except DamagedError as error:
            raise UserError(
                f"{error}. Remove {self.tested.parent} to train anew."
            ) from error


def stored_weights(
    file: TensorFile,
    there: Collection[str],
    names: Iterable[str],
    epoch: int,
    base: int,
    prefix: str = "",
) -> dict[str, torch.Tensor]:
    """Weights of an epoch, from a file as `EpochWeights` keeps them.

    Arguments
    ---------
    file : TensorFile
        The file.
    there : Collection[str]
        Names of all that it holds.
    names : Iterable[str]
        The weights that are wanted.
    epoch, base : int
        The epoch, and the one whose weights differences are from.
    prefix : str
        What all names in the file begin with.

    Returns
    -------
    dict[str, torch.Tensor]
        By name.

    Raises
    ------
    SafetensorError
        One is not there.
    """
    state = {}
    for name in names:
        key = prefix + _key(epoch, name)
        value = file.get_tensor(key)
        if key + SCALE in there:
            value = value.float() * file.get_tensor(key + SCALE).float()
            value += file.get_tensor(prefix + _key(base, name)).float()
        state[name] = value
    return state


def copy_stored(
    path: Path, epochs: Collection[int]
) -> tuple[dict[str, torch.Tensor], int]:
    """Read the weights of some epochs as a file keeps them, to be kept again.

    Returns
    -------
    stored : dict[str, torch.Tensor]
        By name in the file.
    base : int
        The epoch whose weights differences are from.

    Raises
    ------
    UserError
        The file is damaged.
    """
    try:
        with opened_tensors(path) as file:
            base = file.content["base"]
            wanted = {f"{epoch:05d}" for epoch in epochs}
            names = [n for n in [*file.keys()] if n.partition("/")[0] in wanted]
            if any(name.endswith(SCALE) for name in names):
                own = [
                    n for n in [*file.keys()] if n.startswith(f"{base:05d}/")
                ]
                names = sorted({*names, *own})
            return {name: file.get_tensor(name) for name in names}, base
    except (FileNotFoundError, DamagedError) as error:
        raise UserError(
            f"{error}: the run has to be trained again, under another "
            "--experiment."
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
