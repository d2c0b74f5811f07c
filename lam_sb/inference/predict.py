"""The command ``predict``: emotions of audio files, as a table."""

from __future__ import annotations

import csv
import hashlib
import json
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path

import torch
from tqdm import tqdm

from lam_sb.arguments import predict_arguments
from lam_sb.errors import UserError
from lam_sb.features.encoding import read_ahead
from lam_sb.features.plan import Row
from lam_sb.files import one_writer
from lam_sb.inference.interface import EmotionClassifier
from lam_sb.inference.plot import draw_files
from lam_sb.inference.table import PredictionTable, place_of
from lam_sb.inference.windows import (
    CUT,
    batches_of,
    find_files,
    list_windows,
)
from lam_sb.training.standardisation import mean_and_std

BATCH_SECONDS = 60.0  # padded, that are encoded at once
READERS = 2  # threads that read audio meanwhile
FEWEST = 20  # windows that statistics are taken of
MOST = 1000  # windows that they are taken of, evenly spread over all
UNSURE = "unsure"
NAMED = 5  # files that a message names
Features = tuple[torch.Tensor, torch.Tensor]  # (K, L, D), (K,) of a window


def predict(argv: Sequence[str]) -> None:
    """Classify audio files into a CSV file.

    Raises
    ------
    UserError
        No model, nothing to classify, or a CSV file of other settings.
    """
    given = predict_arguments(argv)
    files = find_files(given.paths)
    model = load_model(given)
    windows, unusable = list_windows(files)
    if not windows:
        reasons = "; ".join(f"{p} {why}" for p, why in unusable.items())
        raise UserError(
            f"There is no audio to classify. {reasons or 'No file was found.'}"
        )
    if given.adapt:  # before anything is written
        _check_adaptable(model, len(windows))
    table = PredictionTable(Path(given.csv), model.labels)
    with one_writer(table.path):
        done = table.resume(windows, _settings(given, model, windows))
        encoded = _adapt(model, windows) if given.adapt else {}
        waiting = [w for w in windows if place_of(w) not in done]
        _fill(table, model, given, waiting, encoded, unusable)
        rows = table.order(windows)
        if given.plot:
            print(f"Plots: {draw_files(table.path, model.labels)}")
    _report(table.path, rows, unusable)


def _fill(
    table: PredictionTable,
    model: EmotionClassifier,
    given: Namespace,
    waiting: Sequence[Row],
    encoded: Mapping,
    unusable: dict[str, str],
) -> None:
    """Add the rows of the windows that wait; say what cannot be decoded."""
    with (
        open(table.path, "a", encoding="utf-8", newline="") as file,
        tqdm(total=len(waiting), unit="window", disable=None) as bar,
    ):
        writer = csv.writer(file)
        for batch, lost in _classify(model, waiting, encoded):
            for row, posteriors in batch:
                writer.writerow(_line(row, posteriors, model.labels, given))
            file.flush()
            for path, window in lost:
                why = f"cannot be decoded from {window['window'][0]:.1f} s on"
                if unusable.get(path, CUT) == CUT:
                    unusable[path] = why
            bar.update(len(batch) + len(lost))


def load_model(given: Namespace) -> EmotionClassifier:
    """Load the model that a command line names.

    Raises
    ------
    UserError
        It is no folder that ``export`` wrote, nor an id of the hub.
    """
    folder = Path(given.model)
    is_run = (folder / "results.json").is_file()
    if folder.is_dir() and (
        is_run or not (folder / "hyperparams.yaml").is_file()
    ):
        raise UserError(
            f"{folder} is no exported model"
            + (", but a run" if is_run else "")
            + "; write one with python -m lam_sb export RUN FOLDER."
        )
    overrides = {}
    if given.encoder_source:
        overrides["encoder_source"] = given.encoder_source
    options = {"device": given.device} if given.device else None
    try:
        return EmotionClassifier.from_hparams(
            given.model, overrides=overrides, run_opts=options
        )
    except UserError:
        raise
    except Exception as error:  # the hub's client raises many kinds
        raise UserError(
            f"The model {given.model} cannot be loaded ({error}). Give a "
            "folder that python -m lam_sb export wrote, or an id of the "
            "Hugging Face hub."
        ) from error


def _settings(
    given: Namespace, model: EmotionClassifier, windows: Sequence[Row]
) -> dict[str, object]:
    """Say what decides the rows of a CSV file, beside the audio itself."""
    digest = hashlib.sha256()  # the weights hold hyperparams.yaml's values
    for path in sorted(model.hparams.pretrainer.paths.values()):
        digest.update(Path(path).read_bytes())
    adapted = None
    if given.adapt:
        content = [[*place_of(w), w[1]["audio_sha"]] for w in windows]
        adapted = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    return {
        "model": digest.hexdigest(),
        "adapted_to": adapted,
        "min_confidence": given.min_confidence,
    }


def _check_adaptable(model: EmotionClassifier, count: int) -> None:
    """Refuse a model, or too few windows, that no statistics help."""
    if model.hparams.normalise == "none":
        raise UserError(
            "--adapt: this model was trained on features as they are, and "
            "would not know standardised ones; leave it out."
        )
    if count < FEWEST:
        raise UserError(
            f"--adapt takes statistics of at least {FEWEST} files that can be "
            f"decoded (or windows of 8 seconds of longer ones); there are "
            f"{count}. Give more, or leave it out."
        )


def _adapt(
    model: EmotionClassifier, windows: Sequence[Row]
) -> dict[tuple, Features]:
    """Give the model statistics of some windows, and return their features."""
    step = max(1, -(-len(windows) // MOST))
    encoded: dict[tuple, Features] = {}
    count, total, squares = 0, 0.0, 0.0
    for batch, _ in _encode(model, windows[::step]):
        for window, x, mask in batch:
            encoded[place_of(window)] = x, mask
            values = x[mask].double()
            count += len(values)
            total = total + values.sum(0)
            squares = squares + values.square().sum(0)
    _check_adaptable(model, len(encoded))
    mean, std = mean_and_std(count, total, squares)
    model.mods.classifier.adapt(mean, std)
    return encoded


def _encode(
    model: EmotionClassifier, windows: Sequence[Row]
) -> Iterator[tuple[list[tuple[Row, torch.Tensor, torch.Tensor]], list[Row]]]:
    """Features of the windows of each batch, and those without."""
    gone: set[str] = set()  # files whose end was reached before
    left = (window for window in windows if window[0] not in gone)
    batches = batches_of(left, BATCH_SECONDS)
    with closing(read_ahead(batches, READERS)) as waveforms:
        for batch in waveforms:
            found = []
            if batch.rows:
                x, mask = model.encode_rows(batch)
                found = list(zip(batch.rows, x, mask, strict=True))
            gone |= {path for path, _ in batch.unreadable}
            yield found, batch.unreadable


def _classify(
    model: EmotionClassifier,
    windows: Sequence[Row],
    encoded: dict[tuple, Features],
) -> Iterator[tuple[list[tuple[Row, list[float]]], list[Row]]]:
    """Posteriors of the windows of each batch, and windows without."""
    known = [w for w in windows if place_of(w) in encoded]
    others = [w for w in windows if place_of(w) not in encoded]
    remembered = iter([(w, *encoded[place_of(w)]) for w in known])
    while part := list(islice(remembered, 64)):
        yield _posteriors(model, part), []
    for part, lost in _encode(model, others):
        yield (_posteriors(model, part) if part else []), lost


def _posteriors(
    model: EmotionClassifier,
    part: Sequence[tuple[Row, torch.Tensor, torch.Tensor]],
) -> list[tuple[Row, list[float]]]:
    windows, x, mask = zip(*part, strict=True)
    found = model.posteriors(torch.stack(x), torch.stack(mask)).tolist()
    return list(zip(windows, found, strict=True))


def _line(
    window: Row, posteriors: list[float], labels: list[str], given: Namespace
) -> list[object]:
    """Give the row of a window."""
    confidence = max(posteriors)
    label = labels[posteriors.index(confidence)]
    if confidence < given.min_confidence:
        label = UNSURE
    values = [f"{p:.6f}" for p in (*posteriors, confidence)]
    return [*place_of(window), label, *values]


def _report(out: Path, rows: Sequence[dict], unusable: dict[str, str]) -> None:
    """Say what is there, and what is not."""
    classified = {row["path"] for row in rows}
    for path, why in islice(unusable.items(), NAMED):
        what = "In part" if path in classified else "Left out"
        print(f"{what}: {path} {why}")
    if len(unusable) > NAMED:
        print(f"... and {len(unusable) - NAMED} more files")
    files = len(classified)
    print(f"{files} file{'s' * (files != 1)}: {out}")
