"""What a run keeps, beside its weights, to classify other speech."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from lam_sb.corpora.manifests import EMOTIONS
from lam_sb.errors import UserError
from lam_sb.evaluation.results import Run, read_run
from lam_sb.features.store import FeatureStore
from lam_sb.files import DamagedError
from lam_sb.run_folder import is_part
from lam_sb.tensors import opened_tensors, save_tensors
from lam_sb.training.ensemble import KEPT_ENSEMBLE
from lam_sb.training.keeping import KEPT_PROTOTYPES
from lam_sb.training.rows import DomainRows, segments_of
from lam_sb.yaml_text import dump, split_keys, without_comments

KEPT = "inference.safetensors"
CONTENT = {  # what that file says
    *("fit", "normalise", "labels", "layers", "segment", "epochs", "digest"),
    *("encoding", "model"),
}
REFERENCE = re.compile(r"<(\w+)")  # in the text of a YAML key
# Settings of a store that other speech is encoded with.
ENCODING = ("time_chunks", "extract_precision", "storage_dtype")


def keep_statistics(
    hparams: Mapping,
    rows: Mapping[str, DomainRows],
    store: FeatureStore,
    learned: Mapping[str, object],
) -> None:
    """Write inference.safetensors into a run's ``save``.

    It holds each target's statistics, and says which layers and segment they
    are of, which epochs are tested, what the encoder was, and by what YAML the
    model is built. A run of averaged
    seeds has none: its parts do.

    Arguments
    ---------
    hparams : Mapping
        Values of the run.
    rows : Mapping[str, DomainRows]
        Test rows by target, with their statistics.
    store : FeatureStore
        Where the rows were read from.
    learned : Mapping[str, object]
        Part of results.json.
    """
    if hparams["seeds_averaged"] > 1:
        return
    segment = segments_of(hparams["fit"], hparams["segment"])[0]
    tensors, layers = {}, hparams["layers"]
    for target, part in rows.items():
        mean = torch.zeros(len(layers), store.encoder.dim)
        std = torch.ones_like(mean)
        if segment in part.standardisers:
            standardiser = part.standardisers[segment].to("cpu")
            mean, std = standardiser.mean, standardiser.std
        # Targets may share theirs, which safetensors refuses.
        tensors[f"{target}/mean"] = mean.clone().contiguous()
        tensors[f"{target}/std"] = std.clone().contiguous()
    content = {
        "fit": hparams["fit"],
        "normalise": hparams["normalise"],
        "labels": EMOTIONS,
        "layers": layers,
        "segment": segment,
        "epochs": learned["tested_epochs"],
        "digest": store.settings.get("digest"),
        "encoding": {key: store.settings[key] for key in ENCODING},
    }
    path = Path(hparams["output_folder"]) / "hyperparams.yaml"
    content["model"] = _model_keys(path, content)
    folder = Path(hparams["save_folder"])
    folder.mkdir(parents=True, exist_ok=True)  # an ensemble has no other file
    save_tensors(folder / KEPT, tensors, content)


def _model_keys(path: Path, content: Mapping) -> dict[str, str]:
    """Text of the YAML keys that build a model, references followed."""
    there = split_keys(path.read_text(encoding="utf-8"))
    there = {key: without_comments(block) for key, block in there.items()}
    there["feature_folder"] = dump({"feature_folder": None})
    there["layers"] = f"layers: {content['layers']}\n"
    there["encoder_source"] = ""  # named by who exports, as others find it
    waiting = ["layers", "encoder"]
    if content["fit"] != "sklearn":
        waiting += ["projector", "pooling", "head"]
    needed: set[str] = set()
    while waiting:
        key = waiting.pop()
        if key in there and key not in needed:
            needed.add(key)
            waiting += REFERENCE.findall(there[key])
    return {key: there[key] for key in there if key in needed}


@dataclass(frozen=True)
class KeptSystem:
    """What a run, or one of those that it averages, keeps of itself.

    Arguments
    ---------
    folder : Path
        Its output folder.
    save : Path
        Its folder ``save``.
    content : dict
        What `keep_statistics` says of it.
    mean, std : torch.Tensor
        (M, D) statistics of the target.
    prototypes : dict[str, torch.Tensor]
        (4, e) by number of the epoch, of ``fit: episodes``.
    """

    folder: Path
    save: Path
    content: dict
    mean: torch.Tensor
    std: torch.Tensor
    prototypes: dict[str, torch.Tensor]

    @property
    def weights(self) -> Path:
        """Weights of the epochs that were tested."""
        return self.save / "tested.safetensors"

    @property
    def ensemble(self) -> Path:
        """The scikit-learn ensemble, of ``fit: sklearn``."""
        return self.save / KEPT_ENSEMBLE


@dataclass(frozen=True)
class FinishedRun:
    """A finished run that can classify other speech.

    Arguments
    ---------
    run : Run
        Its results and predictions.
    systems : list[KeptSystem]
        Itself, or the runs that it averages.
    """

    run: Run
    systems: list[KeptSystem]

    @property
    def results(self) -> dict:
        """What its results.json holds."""
        return self.run.results


def read_finished_run(folder: Path, target: str | None = None) -> FinishedRun:
    """Read a finished run and what it keeps.

    Arguments
    ---------
    folder : Path
        The run's output folder.
    target : str, optional
        Which of several targets.

    Raises
    ------
    UserError
        No run, one that is not finished or keeps too little, or several targets
        and none named.
    """
    path = _find_results(folder, target)
    run = read_run(path)
    results = run.results
    if not results.get("finished", True):
        raise UserError(f"{folder} is not finished: give its command again.")
    count, seed = results.get("seeds_averaged", 1), results["seed"]
    if count == 1:
        places = [(folder, folder / "save")]
    else:
        numbers = range(seed * count, (seed + 1) * count)
        names = [f"seed_{n}" for n in numbers]
        places = [(folder / n, folder / "save" / n) for n in names]
    systems = [_read_kept(*place, results["target"]) for place in places]
    return FinishedRun(run, systems)


def _find_results(folder: Path, target: str | None) -> Path:
    own = folder / "results.json"
    paths = [own] if own.is_file() else folder.glob("*/results.json")
    found = {
        "" if path == own else path.parent.name: path
        for path in sorted(paths)
        if path == own or not is_part(path)
    }
    if not found:
        raise UserError(
            f"{folder} holds no results.json: give the folder of a finished "
            "run, results/<experiment>/<source>-<target>/<seed>."
        )
    if target in found:
        return found[target]
    if len(found) > 1 or (target is not None and "" not in found):
        raise UserError(
            f"{folder} has the targets {', '.join(found)}: choose one with "
            "--target."
        )
    return next(iter(found.values()))


def _read_kept(folder: Path, save: Path, target: str) -> KeptSystem:
    try:
        with opened_tensors(save / KEPT) as file:
            content = file.content
            if CONTENT - content.keys():
                raise KeyError(*sorted(CONTENT - content.keys()))
            mean, std = (
                file.get_tensor(f"{target}/{name}") for name in ("mean", "std")
            )
        prototypes = {}
        if content["fit"] == "episodes":
            with opened_tensors(save / KEPT_PROTOTYPES) as file:
                prototypes = file.tensors()
    except (OSError, DamagedError, KeyError, ValueError, TypeError) as error:
        raise UserError(
            f"{folder} does not hold what classifies other speech ({error}). "
            "Give the command that made it again: it is tested again, not "
            "trained, and keeps that. A run whose weights were removed is "
            "trained again under another --experiment."
        ) from None
    kept = KeptSystem(folder, save, content, mean, std, prototypes)
    needed = kept.ensemble if content["fit"] == "sklearn" else kept.weights
    if not needed.is_file():
        raise UserError(f"{needed} is missing: {folder} keeps no weights.")
    return kept
