"""Weights of the epochs that may be tested, a file each."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from lam_sb.files import whole_file


class EpochWeights:
    """Weights kept beside the checkpoints, as safetensors.

    Arguments
    ---------
    folder : str | Path
        The checkpoints' folder; the weights lie in ``weights`` under it.
    model : nn.Module
        What is saved and loaded.
    """

    def __init__(self, folder: str | Path, model: nn.Module):
        self.folder = Path(folder) / "weights"
        self.model = model

    def path(self, epoch: int) -> Path:
        """Path of the weights after an epoch."""
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

    def load(self, epoch: int, device: str | torch.device) -> None:
        """Put the weights after an epoch into the model."""
        state = load_file(self.path(epoch), device=str(device))
        self.model.load_state_dict(state)
