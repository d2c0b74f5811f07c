"""The command ``export``: runs as a folder that SpeechBrain loads."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from speechbrain.dataio.encoder import CategoricalEncoder

from lam_sb.arguments import export_arguments
from lam_sb.errors import UserError
from lam_sb.evaluation.results import Run
from lam_sb.evaluation.run_settings import of_equal_settings
from lam_sb.files import one_writer
from lam_sb.inference.card import BY_SPEAKER, model_card
from lam_sb.inference.interface import EmotionClassifier
from lam_sb.inference.onnx_file import write_onnx
from lam_sb.tensors import save_tensors
from lam_sb.training.kept import FinishedRun, read_finished_run
from lam_sb.training.weights import copy_stored
from lam_sb.yaml_text import dump, plain_values, split_keys

HYPERPARAMS = "hyperparams.yaml"
WEIGHTS = "model.safetensors"
# Keys of hyperparams.yaml that say where things lie.
MAY_DIFFER = ("encoder_source", "feature_folder")
CUSTOM_INTERFACE = '''\
"""Lets SpeechBrain load this model without naming its class.

    from speechbrain.inference.interfaces import foreign_class
    model = foreign_class(FOLDER, pymodule_file="custom_interface.py")
"""

from lam_sb.inference import EmotionClassifier

CustomInterface = EmotionClassifier  # the name that foreign_class looks for
'''
TOP = """\
# Speech emotions, a model of lam_sb; README.md is its card.
# Hugging Face id of the encoder, whose weights are not here, or its folder.
encoder_source: {source}
# SHA-256 of its weights and configs; with others, the model is refused.
encoder_digest: {digest}
# How the features were standardised in training.
normalise: {normalise}
"""
AVERAGED = """\
# Epochs whose weights are averaged, by run and seed; each run's temperature.
epochs: {epochs}
temperatures: {temperatures}
classifier: !new:lam_sb.inference.model.EmotionModel
    projector: !ref <projector>
    pooling: !ref <pooling>
    head: !ref <head>
    layers: !ref <layers>
    input_dim: !ref <encoder.dim>
    epochs: !ref <epochs>
    temperatures: !ref <temperatures>
    embedding_dim: {embedding_dim}
"""
VOTING = """\
temperatures: {temperatures}
classifier: !new:lam_sb.inference.model.VotingModel
    layers: !ref <layers>
    input_dim: !ref <encoder.dim>
    temperatures: !ref <temperatures>
"""
END = """\
label_encoder: !new:speechbrain.dataio.encoder.CategoricalEncoder
modules:
    encoder: !ref <encoder>
    classifier: !ref <classifier>
pretrainer: !new:lam_sb.inference.files.FilePretrainer
    files:
        classifier: model.safetensors
        label_encoder: label_encoder.txt
{files}    loadables:
        classifier: !ref <classifier>
        label_encoder: !ref <label_encoder>
{loadables}    custom_hooks:
        classifier: !name:lam_sb.inference.model.load_model
{hooks}"""
HOOK = """\
        ensemble_{0}: !name:lam_sb.inference.model.load_ensemble
            number: {0}
"""


def export(argv: Sequence[str]) -> None:
    """Write a folder that classifies as the runs that are named do.

    Raises
    ------
    UserError
        Runs that are not finished or that no one model can average, or a
        folder that holds something.
    """
    given = export_arguments(argv)
    folder = Path(given.folder).absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(
            f"{folder} holds something already: name another folder, or remove "
            "it."
        )
    runs = [read_finished_run(Path(run), given.target) for run in given.runs]
    check_alike([run.run for run in runs])
    used = runs[0].results["encoder"]
    source = given.encoder_source or _public_name(used)
    with one_writer(folder):
        _write_whole(folder, runs, source, used if given.onnx else None)
    if source != used and not given.encoder_source:
        print(
            f"The encoder was read from a folder; the model calls it {source}. "
            "Whoever loads it says where it lies (--encoder_source). Export "
            "with --encoder_source HUB_ID, and it is fetched from there."
        )
    if runs[0].results["normalise"] in BY_SPEAKER:
        print(
            f"normalise: {runs[0].results['normalise']} took each speaker's "
            "mean off when the run was tested. The model does not know who "
            "speaks and takes none off: expect a little less than the run's "
            "UAR. Its card says so."
        )
    print(f"Model: {folder}")


def _write_whole(
    folder: Path, runs: Sequence[FinishedRun], source: str, onnx: str | None
) -> None:
    """Write a model that is whole or not there; ONNX through that encoder."""
    temporary = folder.with_name(f".{folder.name}.lam_sb.tmp")
    try:
        shutil.rmtree(temporary, ignore_errors=True)  # of one that was killed
        temporary.mkdir()
        write_model(temporary, runs, source)
        if onnx is not None:
            _add_onnx(temporary, onnx)
        if folder.exists():
            folder.rmdir()
        temporary.rename(folder)
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_alike(runs: Sequence[Run]) -> None:
    """Refuse to average runs that differ in more than their seed.

    Raises
    ------
    UserError
        Other settings, data or targets, or a run that is named twice.
    """
    first = runs[0]
    for number, run in enumerate(runs[1:], start=1):
        if any(run.path.samefile(other.path) for other in runs[:number]):
            raise UserError(f"{run.folder} is named twice.")
        keys = ("source", "target", "system", "bound")
        texts = [
            f"{run.path}: another {key} than {first.path}."
            for key in keys
            if run.results[key] != first.results[key]
        ]
        if not texts:
            of_equal_settings([first, run], texts)
        if texts:
            raise UserError(
                f"{texts[0]} One model averages runs that differ in their seed "
                "alone: export these one by one."
            )


def _add_onnx(folder: Path, encoder_source: str) -> None:
    overrides = {"encoder_source": encoder_source}
    model = EmotionClassifier.from_hparams(
        str(folder), overrides=overrides, run_opts={"device": "cpu"}
    )
    encoder, chunks = model.mods.encoder, model.hparams.encoding["time_chunks"]
    sizes = chunks, encoder.num_layers, encoder.dim
    write_onnx(model.mods.classifier, folder, *sizes)


def _public_name(source: str) -> str:
    """Give an encoder's id, or of a local folder nothing but its name."""
    path = Path(source)
    local = path.is_dir() or path.is_absolute() or source.startswith(".")
    return path.name if local else source


def write_model(
    folder: Path, runs: Sequence[FinishedRun], encoder_source: str
) -> None:
    """Write all files of a model.

    Arguments
    ---------
    folder : Path
        Gets hyperparams.yaml, model.safetensors, with scikit-learn's
        ensembles one ensemble_<n>.skops a run, label_encoder.txt,
        custom_interface.py, and the model card, README.md. The weights hold the
        plain values of hyperparams.yaml, which are compared on loading.
    runs : Sequence[FinishedRun]
        Runs that are averaged.
    encoder_source : str
        Where whoever loads the model finds its encoder.

    Raises
    ------
    UserError
        A file of a run that cannot be read.
    """
    systems = [system for run in runs for system in run.systems]
    content = systems[0].content  # but for statistics, that of all
    card = model_card(runs, encoder_source)
    text = _hyperparams(runs, encoder_source)
    values, _ = plain_values(split_keys(text), HYPERPARAMS)
    values = {k: v for k, v in values.items() if k not in MAY_DIFFER}
    tensors, bases = _tensors(runs)
    save_tensors(folder / WEIGHTS, tensors, bases | {"values": values})
    if content["fit"] == "sklearn":
        for n, system in enumerate(systems):
            shutil.copyfile(system.ensemble, folder / f"ensemble_{n}.skops")
    labels = CategoricalEncoder()
    labels.update_from_iterable(content["labels"], sequence_input=False)
    labels.save(folder / "label_encoder.txt")
    for path in folder.iterdir():  # whoever may read the folder
        path.chmod(0o644)
    for name, content in (
        (HYPERPARAMS, text),
        ("custom_interface.py", CUSTOM_INTERFACE),
        ("README.md", card),
    ):
        (folder / name).write_text(content, encoding="utf-8")


def _tensors(
    runs: Sequence[FinishedRun],
) -> tuple[dict[str, torch.Tensor], dict[str, int]]:
    """All tensors by name, and the epochs that differences are from."""
    tensors, bases = {}, {}
    for n, run in enumerate(runs):
        for k, system in enumerate(run.systems):
            place, stored = f"{n}.{k}", {"mean": system.mean, "std": system.std}
            for number, prototypes in system.prototypes.items():
                stored[f"{number}/prototypes"] = prototypes
            if system.content["epochs"] is not None:
                weights, base = copy_stored(
                    system.weights, system.content["epochs"]
                )
                stored |= weights
                bases[f"{place}/base"] = base
            tensors |= {f"{place}/{name}": t for name, t in stored.items()}
    return tensors, bases


def _hyperparams(runs: Sequence[FinishedRun], encoder_source: str) -> str:
    """Text of the file that SpeechBrain builds the model from."""
    system = runs[0].systems[0]
    temperatures = [run.results["temperature"] or 1.0 for run in runs]
    own = "".join(system.content["model"].values())
    own += dump({"encoding": system.content["encoding"]})
    top = TOP.format(
        source=encoder_source,
        digest=system.content["digest"],
        normalise=system.content["normalise"],
    )
    if system.content["fit"] == "sklearn":
        numbers = range(len(runs))
        return (
            top
            + own
            + VOTING.format(temperatures=temperatures)
            + END.format(
                files="".join(
                    f"        ensemble_{n}: ensemble_{n}.skops\n"
                    for n in numbers
                ),
                loadables="".join(
                    f"        ensemble_{n}: !ref <classifier>\n"
                    for n in numbers
                ),
                hooks="".join(HOOK.format(n) for n in numbers),
            )
        )
    widths = [p.shape[-1] for p in system.prototypes.values()]
    averaged = AVERAGED.format(
        epochs=[[s.content["epochs"] for s in run.systems] for run in runs],
        temperatures=temperatures,
        embedding_dim=widths[0] if widths else "null",
    )
    nothing = {"files": "", "loadables": "", "hooks": ""}
    return top + own + averaged + END.format(**nothing)
