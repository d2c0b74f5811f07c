"""What a run leaves, predictions.csv and results.json, and reading it."""

from __future__ import annotations

import csv
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from operator import itemgetter
from pathlib import Path

import numpy as np

from lam_sb.corpora.manifests import EMOTIONS, speakers_known
from lam_sb.errors import UserError
from lam_sb.evaluation.calibration import calibration_scores, check_posteriors
from lam_sb.evaluation.metrics import scores
from lam_sb.evaluation.predictions import Predictions
from lam_sb.evaluation.result_files import checksums_beside, read_results
from lam_sb.evaluation.statistics import (
    FEW_CLUSTERS,
    interval,
)
from lam_sb.files import DamagedError, write_checked, write_csv
from lam_sb.run_folder import read_settings
from lam_sb.training.rows import UNLABELLED, DomainRows

SCHEMA = 2
NEEDED = {  # keys of results.json that say which run it was
    *("experiment", "system", "encoder", "source", "target", "seed", "folds"),
    *("fold", "split_seed", "protocol", "normalise", "select_on", "shots"),
    *("target_rows", "target_labels_used", "anchor_layers", "anchor_rule"),
    *("hold_out_shots", "bound", "notes", "speakers"),
}
SCORES = (  # keys of results.json that need labels
    *("uar", "uar_ci95", "macro_f1", "accuracy", "recall", "ovr_uar"),
    *("confusion", "ece", "brier", "confidence", "uar_surest"),
)
# Keys that say how far to train; settings.yaml lacks them, for they may grow.
TRAINING_LENGTH = ("number_of_epochs", "patience")
PACKAGES = ("speechbrain", "torch", "torchaudio", "transformers")


def score(rows: DomainRows, posteriors: np.ndarray) -> dict:
    """Score the labelled test rows by their posteriors (N, 4).

    Returns
    -------
    dict
        uar, uar_ci95 (of this one run), macro_f1, accuracy, recall, ovr_uar,
        confusion, those of `calibration_scores`, n_test, n_speakers (clusters
        of the interval), speakers (whether they are ``known``, ``partly`` or
        ``unknown``: such rows are clustered by podcast or each alone) and
        few_speakers (None where it cannot be known). Without any label the
        scores are None, and the speakers are those of all test rows.

    Raises
    ------
    UserError
        Posteriors that are not finite.
    """
    if not np.isfinite(posteriors).all():
        raise UserError(
            "The test's posteriors are not finite, so there is no result: "
            "features or weights have run out of range."
        )
    labels, guesses = rows.labels.numpy(), posteriors.argmax(1)
    known = labels != UNLABELLED
    counted = known if known.any() else ~known
    clusters = np.array(rows.clusters)[counted]
    speakers = speakers_known(np.array(rows.speakers)[counted])
    few = len(set(clusters)) < FEW_CLUSTERS
    counts = {
        "n_test": len(rows),
        "n_speakers": len(set(clusters)),
        "speakers": speakers,
        "few_speakers": few if few or speakers == "known" else None,
    }
    if not known.any():
        return dict.fromkeys(SCORES) | counts
    estimate = interval(
        Predictions(
            np.array(rows.ids)[known],
            labels[known],
            clusters,
            guesses[known][None],
        )
    )
    limits = np.clip([estimate.low, estimate.high], 0.0, 1.0).tolist()
    scored = scores(labels[known], guesses[known], EMOTIONS)
    scored |= calibration_scores(labels[known], posteriors[known])
    scored["uar_ci95"] = None if np.isnan(limits).any() else limits
    return scored | counts


def score_notes(scores: Mapping) -> list[str]:
    """Say in sentences what limits the scores that `score` gave."""
    if scores["uar"] is None:
        return []
    notes = (absent_note(scores), _unknown_note(scores), few_note(scores))
    return [note for note in notes if note]


def absent_note(scores: Mapping) -> str:
    """Name the emotions that no test row has; empty if there are none."""
    missing = [e for e, n in scores["recall"].items() if n is None]
    if not missing:
        return ""
    return (
        f"The test set holds no {', '.join(missing)}: the UAR is the mean "
        "over the other emotions."
    )


def _unknown_note(scores: Mapping) -> str:
    if scores["speakers"] == "known":
        return ""
    which = "some" if scores["speakers"] == "partly" else "all"
    return (
        f"The speakers of {which} test rows are unknown: the podcasts that "
        "their ids name, or else single rows, stand for speakers "
        f"({scores['n_speakers']} in all), so the interval may be too narrow."
    )


def few_note(scores: Mapping) -> str:
    """Say that an interval rests on few speakers; empty if it does not."""
    if not scores["few_speakers"]:
        return ""
    noun = "speaker" if scores["speakers"] == "known" else "recording"
    count = scores["n_speakers"]
    return (
        f"The test set has {count} {noun}{'s' * (count > 1)}, fewer than "
        f"{FEW_CLUSTERS}: the interval is rough."
    )


def results_paths(
    output_folder: str | Path, targets: Sequence[str]
) -> dict[str, Path]:
    """Path of results.json by target; of several, each in its own folder.

    Example
    -------
    >>> results_paths("f", ["emodb"])["emodb"].as_posix()
    'f/results.json'
    >>> results_paths("f", ["emodb", "savee"])["savee"].as_posix()
    'f/savee/results.json'
    """
    folder = Path(output_folder)
    if len(targets) == 1:
        return {targets[0]: folder / "results.json"}
    return {target: folder / target / "results.json" for target in targets}


def finished_result(path: Path, settings_hash: str) -> dict:
    """Read results.json of the same settings and data.

    Empty where it is not there, or it or what it rests on is damaged.
    """
    if not path.is_file():
        return {}
    try:
        there = read_results(path)
    except DamagedError:  # a crash or a full disk: it is written again
        return {}
    return there if there.get("settings_hash") == settings_hash else {}


def other_length(there: Mapping, values: Mapping) -> dict[str, int]:
    """Values of `TRAINING_LENGTH` under which a finished run was trained.

    Arguments
    ---------
    there : Mapping
        What says how far it was trained: its results.json, or finished.json.
    values : Mapping
        Values of the keys now.

    Returns
    -------
    dict[str, int]
        Those that are others now and may matter: values that are no less than
        the epochs that were trained have stopped nothing.
    """
    epochs = there.get("epochs") or 0  # none where nothing is trained by epochs
    then = {k: there[k] for k in TRAINING_LENGTH if epochs and k in there}
    return {
        key: value
        for key, value in then.items()
        if value != values[key] and epochs > min(values[key], value - 1)
    }


def check_same_length(there: Mapping, hparams: Mapping) -> None:
    """Refuse to train for longer or shorter what cannot be gone on with.

    Raises
    ------
    UserError
        `other_length` is not empty.
    """
    for key, then in other_length(there, hparams).items():
        raise UserError(
            f"{hparams['output_folder']} is finished, with {key} {then}, "
            f"not {hparams[key]}: it keeps only what it tests, and is not "
            f"trained again. Use --{key} {then}, or --experiment NAME for a "
            "folder of its own."
        )


def write_predictions(
    path: Path, rows: DomainRows, posteriors: np.ndarray, corpus: str
) -> None:
    """Write predictions.csv of test rows of a corpus, sorted by id.

    The posteriors (N, 4) get 9 digits.
    """
    lines = []
    for n in sorted(range(len(rows)), key=lambda n: rows.ids[n]):
        label, posterior = int(rows.labels[n]), posteriors[n]
        lines.append(
            {
                "id": rows.ids[n],
                "speaker": rows.speakers[n],
                "cluster": rows.clusters[n],
                "corpus": corpus,
                "label": EMOTIONS[label] if label != UNLABELLED else "",
                "prediction": EMOTIONS[int(posterior.argmax())],
            }
            | {e: f"{p:.9f}" for e, p in zip(EMOTIONS, posterior, strict=True)}
        )
    columns = ("id", "speaker", "cluster", "corpus", "label", "prediction")
    write_csv(path, (*columns, *EMOTIONS), lines)


def write_results(path: Path, content: Mapping) -> None:
    """Write results.json; add its schema, and the versions it was made with.

    And checksums of the files that belong to it.
    """
    versions = {package: version(package) for package in PACKAGES}
    ending = {
        "versions": versions,
        "git": _git_commit(),
        "files": checksums_beside(path, content),
    }
    write_checked(path, {"schema": SCHEMA, **content, **ending})


def _git_commit() -> str | None:
    """Commit of the working tree that the code lies in, if any."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError:
        return None
    return done.stdout.strip() or None


def read_posteriors(path: Path, ids: Sequence[str]) -> np.ndarray:
    """Read the posteriors (N, 4) of some test rows, beside a results.json.

    Raises
    ------
    UserError
        They are not there or damaged, or the rows are not among them.
    """
    results, path = path, path.with_name("predictions.csv")
    try:
        read_results(results)
        with open(path, encoding="utf-8", newline="") as file:
            rows = {row["id"]: row for row in csv.DictReader(file)}
        values = [[float(rows[i][e]) for e in EMOTIONS] for i in ids]
    except (OSError, LookupError, TypeError, ValueError, csv.Error) as error:
        raise UserError(
            f"{path} cannot be read ({error!r}); remove {path.parent} and run "
            "it again."
        ) from None
    return np.array(values).reshape(len(ids), len(EMOTIONS))


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run, as its folder holds it.

    Its N rows are the test rows whose label is known.
    """

    path: Path  # of its results.json
    results: dict  # what that holds
    ids: np.ndarray  # (N,)
    clusters: np.ndarray  # (N,)
    labels: np.ndarray  # (N,) classes, as indices into the emotions
    predictions: np.ndarray  # (N,)
    posteriors: np.ndarray  # (N, 4)

    @property
    def folder(self) -> Path:
        """Folder of the run, which may have results of other targets too."""
        alone = len(self.results.get("targets", ())) < 2
        return self.path.parent if alone else self.path.parent.parent

    @cached_property
    def settings(self) -> dict:
        """What decided it, as settings.yaml says; empty where that is gone."""
        return read_settings(self.folder / "settings.yaml")


def read_run(path: Path) -> Run:
    """Read results.json and the predictions.csv beside it.

    Rows without a label are left out.

    Raises
    ------
    UserError
        A file that is missing, of another schema, or damaged.
    """
    predictions = path.with_name("predictions.csv")
    try:
        results = read_results(path)
        if results["schema"] != SCHEMA:
            raise UserError(
                f"{path} has the schema {results['schema']}; this version "
                f"reads {SCHEMA}."
            )
        if NEEDED - results.keys():
            raise KeyError(*sorted(NEEDED - results.keys()))
        with open(predictions, encoding="utf-8", newline="") as file:
            reader = csv.reader(file)
            at = {name: n for n, name in enumerate(next(reader))}
            names = ("id", "cluster", "label", "prediction", *EMOTIONS)
            pick = itemgetter(*(at[name] for name in names))
            rows = [row for row in map(pick, reader) if row[2]]
        index = {emotion: n for n, emotion in enumerate(EMOTIONS)}
        posteriors = np.array([row[4:] for row in rows], dtype=float)
        posteriors = posteriors.reshape(len(rows), len(EMOTIONS))
        check_posteriors(posteriors)
        return Run(
            path=path,
            results=results,
            ids=np.array([row[0] for row in rows]),
            clusters=np.array([row[1] for row in rows]),
            labels=np.array([index[row[2]] for row in rows], dtype=int),
            predictions=np.array([index[row[3]] for row in rows], dtype=int),
            posteriors=posteriors,
        )
    except DamagedError as error:
        raise UserError(f"{error}; give the run's command again.") from None
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    except (LookupError, StopIteration, TypeError, ValueError, csv.Error) as e:
        raise UserError(
            f"{path} or {predictions.name} is damaged ({e!r}); remove the "
            "folder and run it again."
        ) from None
