"""What runs predicted, row by row."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lam_sb.corpora.manifests import EMOTIONS
from lam_sb.errors import UserError
from lam_sb.evaluation.metrics import check_classes
from lam_sb.evaluation.result_files import read_results
from lam_sb.files import DamagedError

UNKNOWN = -1  # class of a row without a label
CLASSES = {e: n for n, e in enumerate(EMOTIONS)} | {"": UNKNOWN}
ROW = ["id", "cluster", "label"]  # columns that say which row it is


@dataclass(eq=False)
class Predictions:
    """What S runs of one system predict on the same N utterances.

    Arguments
    ---------
    ids : np.ndarray
        (N,) utterance ids, each once.
    labels : np.ndarray
        (N,) true classes, 0, 1, ...; -1 where they are unknown: such rows
        count in no score.
    clusters : np.ndarray
        (N,) speakers, or what `lam_sb.corpora.manifests.cluster_of` says.
    predictions : np.ndarray
        (S, N) predicted classes, a row for each seed.
    posteriors : np.ndarray, optional
        (S, N, C), where they are known.

    Raises
    ------
    ValueError
        No utterances, wrong shapes or types, or an id that stands twice.
    """

    ids: np.ndarray
    labels: np.ndarray
    clusters: np.ndarray
    predictions: np.ndarray
    posteriors: np.ndarray | None = None

    def __post_init__(self):
        self.ids = np.asarray(self.ids)
        self.labels = check_classes("labels", self.labels, 1, UNKNOWN)
        self.clusters = np.asarray(self.clusters)
        self.predictions = check_classes("predictions", self.predictions, 2)
        shape = self.labels.shape
        if not (
            self.ids.shape == self.clusters.shape == shape
            and self.predictions.shape[1:] == shape
        ):
            raise ValueError(
                "ids, labels, clusters and predictions have the shapes "
                f"{self.ids.shape}, {shape}, {self.clusters.shape} and "
                f"{self.predictions.shape}; use (N,), (N,), (N,) and (S, N)."
            )
        ids, counts = np.unique(self.ids, return_counts=True)
        if len(ids) < len(self.ids):
            raise ValueError(
                f"{(counts > 1).sum()} ids stand twice, "
                f"{ids[counts > 1][0]} the first."
            )

    @classmethod
    def load(cls, *folders: str | Path) -> Predictions:
        """Read what runs said of their test rows, the unlabelled ones too.

        Arguments
        ---------
        *folders : str | Path
            Folders with a predictions.csv: runs of one system and test set, a
            seed each.

        Raises
        ------
        UserError
            A file that is missing or damaged, or other test rows.
        """
        if not folders:
            raise UserError("Name the folder of a run, or several.")
        tables = [_read(Path(folder, "predictions.csv")) for folder in folders]
        first = tables[0]
        for folder, table in zip(folders, tables, strict=True):
            if not table[ROW].equals(first[ROW]):
                raise UserError(f"{folder} has other test rows: load it alone.")
        posteriors = np.stack([t[[*EMOTIONS]].to_numpy(float) for t in tables])
        return cls(
            ids=first["id"].to_numpy(),
            labels=np.array([CLASSES[label] for label in first["label"]]),
            clusters=first["cluster"].to_numpy(),
            predictions=np.array(
                [[CLASSES[p] for p in table["prediction"]] for table in tables]
            ),
            posteriors=posteriors,
        )

    def take(self, rows: np.ndarray) -> Predictions:
        """Keep the utterances at (M,) positions, in the order given."""
        return Predictions(
            self.ids[rows],
            self.labels[rows],
            self.clusters[rows],
            self.predictions[:, rows],
            None if self.posteriors is None else self.posteriors[:, rows],
        )


def _read(path: Path) -> pd.DataFrame:
    """Read a predictions.csv, names as they are written."""
    try:
        with suppress(FileNotFoundError):  # of another program
            read_results(path.with_name("results.json"))
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        for column in ("label", "prediction"):
            if not table[column].isin(CLASSES).all():
                raise ValueError(f"a {column} is no emotion")
        table[[*EMOTIONS]] = table[[*EMOTIONS]].astype(float)
    except DamagedError as error:
        raise UserError(f"{error}; give the run's command again.") from None
    except (OSError, LookupError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    return table
