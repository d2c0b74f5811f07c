"""From the layers of an encoder to posteriors, as runs were tested."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import nn

from lam_sb.errors import UserError
from lam_sb.evaluation.calibration import SMALLEST
from lam_sb.losses.prototypes import prototype_logits
from lam_sb.tensors import TensorFile, opened_tensors
from lam_sb.training.ensemble import read_ensemble, vote_shares
from lam_sb.training.weights import stored_weights


class EmotionModel(nn.Module):
    """Posteriors of runs whose weights, seeds and results are averaged.

    A run is one system, or one of each seed that it averages; a system is the
    weights of the epochs that were tested, behind statistics of its own. The
    posteriors of epochs, then of systems, then, each with its temperature, of
    runs are averaged. `load_model` fills it.

    Arguments
    ---------
    projector, pooling, head : nn.Module
        As a run trains them; copied for each epoch.
    layers : list[int]
        The M layers that are mixed, numbered from 1.
    input_dim : int
        Width D of the encoder.
    epochs : list[list[list[int]]]
        Numbers of the epochs, by run and system.
    temperatures : list[float]
        Of each run; 1 changes nothing.
    embedding_dim : int, optional
        Width of the prototypes that embeddings are classified by; None where
        the head classifies.
    """

    segment = "chunks"  # what is classified, as a feature store names it
    values: dict | None = None  # of the YAML keys that it was exported with

    def __init__(
        self,
        projector: nn.Module,
        pooling: nn.Module,
        head: nn.Module,
        layers: list[int],
        input_dim: int,
        epochs: list[list[list[int]]],
        temperatures: list[float],
        embedding_dim: int | None = None,
    ):
        super().__init__()
        self.layers = list(layers)
        self.temperatures = list(temperatures)
        trained = {"projector": projector, "pooling": pooling, "head": head}
        shape = len(layers), input_dim
        self.runs = nn.ModuleList(
            nn.ModuleList(
                _System(trained, shape, numbers, embedding_dim)
                for numbers in systems
            )
            for systems in epochs
        )
        self.eval().requires_grad_(False)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Classify.

        Arguments
        ---------
        x : torch.Tensor
            (B, K, L, D) means of all layers over the K chunks of an utterance.
        mask : torch.Tensor
            (B, K) bool, False where a chunk has no frames; never a whole row.

        Returns
        -------
        torch.Tensor
            (B, 4) posteriors in float64.
        """
        x = x[:, :, [n - 1 for n in self.layers]]
        averaged = [
            torch.stack([system(x, mask) for system in systems]).mean(0)
            for systems in self.runs
        ]
        calibrated = [
            p if t == 1 else (p.clamp(min=SMALLEST).log() / t).softmax(-1)
            for p, t in zip(averaged, self.temperatures, strict=True)
        ]
        return torch.stack(calibrated).mean(0)

    def standardised(self, x: torch.Tensor) -> torch.Tensor:
        """Give x (B, K, L, D) as systems see it, (B, K, M, D), on average."""
        x = x[:, :, [n - 1 for n in self.layers]]
        seen = [system.standardised(x) for system in self.systems().values()]
        return torch.stack(seen).mean(0)

    def systems(self) -> dict[str, nn.Module]:
        """All systems, by their place in the file of the weights."""
        return {
            f"{run}.{number}": system
            for run, systems in enumerate(self.runs)
            for number, system in enumerate(systems)
        }

    def adapt(self, mean: torch.Tensor, std: torch.Tensor) -> None:
        """Take statistics (L, D) of other speech instead of the runs' own."""
        chosen = [n - 1 for n in self.layers]
        for system in self.systems().values():
            system.mean.copy_(mean[chosen])
            system.std.copy_(std[chosen])


class VotingModel(EmotionModel):
    """The same of scikit-learn's ensembles, which utterance means go into.

    Arguments
    ---------
    layers, input_dim, temperatures
        As for `EmotionModel`; one temperature for each run.
    """

    segment = "utterance"

    def __init__(
        self, layers: list[int], input_dim: int, temperatures: list[float]
    ):
        nothing = nn.Identity()
        epochs: list[list[list[int]]] = [[[]] for _ in temperatures]
        super().__init__(
            *(nothing, nothing, nothing, layers, input_dim, epochs),
            temperatures,
        )


class _System(nn.Module):
    """Weights of some epochs, whose posteriors are averaged, or an ensemble."""

    classifier = None

    def __init__(
        self,
        trained: dict[str, nn.Module],
        shape: tuple[int, int],
        epochs: Sequence[int],
        embedding_dim: int | None,
    ):
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("std", torch.ones(shape))
        self.numbers = list(epochs)
        self.epochs = nn.ModuleList(
            nn.ModuleDict(copy.deepcopy(trained)) for _ in epochs
        )
        prototypes = None
        if embedding_dim is not None:
            prototypes = torch.zeros(len(epochs), 4, embedding_dim)
        self.register_buffer("prototypes", prototypes)

    def standardised(self, x: torch.Tensor) -> torch.Tensor:
        return (x - self.mean) / self.std

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        x = self.standardised(x)
        if self.classifier is not None:
            shares = vote_shares(self.classifier, x.flatten(1).cpu().numpy())
            return torch.from_numpy(shares).to(x.device)
        posteriors = []
        for n, modules in enumerate(self.epochs):
            z = modules["projector"](x, mask)
            outputs = modules["head"](modules["pooling"](z), mask)
            if self.prototypes is not None:
                outputs = prototype_logits(outputs, self.prototypes[n])
            posteriors.append(outputs.double().softmax(-1))
        return torch.stack(posteriors).mean(0)


def load_ensemble(model: VotingModel, path: str | Path, number: int) -> None:
    """Load the ensemble of a run, see `read_ensemble`."""
    width = model.runs[number][0].mean.numel()
    model.runs[number][0].classifier = read_ensemble(path, width)


def load_model(model: EmotionModel, path: str | Path) -> None:
    """Fill a model from model.safetensors, which must lack nothing.

    Raises
    ------
    UserError
        The file is damaged, or not of this model.
    """
    try:
        with opened_tensors(path) as file:
            model.values = file.content.get("values")
            for place, system in model.systems().items():
                for own, value in _values(file, place, system):
                    if value.shape != own.shape:
                        raise ValueError(f"{place} has another shape")
                    own.copy_(value)
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(
            f"{path} is damaged, or of another model or encoder ({error}): "
            "export or download it again, and give the encoder that it was "
            "trained with."
        ) from error
    if model.values is None:
        raise UserError(f"{path} is of an older lam_sb: export it again.")


def _values(
    file: TensorFile, place: str, system: _System
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Give each tensor of a system, and what the file holds for it."""
    yield system.mean, file.get_tensor(f"{place}/mean")
    yield system.std, file.get_tensor(f"{place}/std")
    base = file.content.get(f"{place}/base", -1)
    names = {*file.keys()}
    for n, modules in enumerate(system.epochs):
        number = system.numbers[n]
        if system.prototypes is not None:
            prototypes = file.get_tensor(f"{place}/{number:05d}/prototypes")
            yield system.prototypes[n], prototypes
        own = modules.state_dict()
        stored = stored_weights(file, names, own, number, base, f"{place}/")
        for name, value in own.items():
            yield value, stored[name]
