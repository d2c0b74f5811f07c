"""The table of ``predict``, which goes on where it was stopped."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from pathlib import Path

from lam_sb.errors import UserError
from lam_sb.features.plan import Row
from lam_sb.files import read_checked, whole_file, write_checked

Place = tuple[str, str, str]  # path, start and end, as the table writes them


def place_of(window: Row) -> Place:
    """Name a window as its row of the table does."""
    start, end = window[1]["window"]
    return window[0], f"{start:.3f}", f"{end:.3f}"


class PredictionTable:
    """A CSV file, and beside it what its rows were made with.

    Arguments
    ---------
    path : Path
        The CSV file.
    labels : Sequence[str]
        The emotions, in the order of the posteriors.
    """

    def __init__(self, path: Path, labels: Sequence[str]):
        self.path = path
        self.stamp = path.with_name(f"{path.name}.settings.json")
        self.columns = ["path", "start", "end", "label", *labels, "confidence"]

    def resume(
        self, windows: Sequence[Row], settings: Mapping[str, object]
    ) -> set[Place]:
        """Give the windows whose rows are there; begin it where it is not.

        A row that was cut off, and rows of a file that was changed, go.

        Arguments
        ---------
        windows : Sequence[Row]
            All windows that the table is to hold.
        settings : Mapping[str, object]
            What decides a row beside its audio.

        Raises
        ------
        UserError
            A table of other settings, of other files or of somebody else.
        """
        wanted = {place_of(window) for window in windows}
        files = {path: row["audio_sha"] for path, row in windows}
        rows = self._rows_of(settings, files) if self.path.exists() else []
        rows = [row for row in rows if _place(row) in wanted]
        write_checked(self.stamp, {"settings": settings, "files": files})
        self._write(rows)
        return {_place(row) for row in rows}

    def _rows_of(self, settings: Mapping, files: Mapping) -> list[dict]:
        """Rows that are there, of files that have not changed."""
        try:
            there = read_checked(self.stamp)
            same, known = there["settings"] == settings, there["files"]
        except (OSError, UserError, LookupError):
            same, known = False, {}
        if not same:
            raise UserError(
                f"{self.path} is there, and was made with another model or "
                "other options, of other files to adapt to, or by another "
                "program: name another --csv, or remove it and "
                f"{self.stamp.name}."
            )
        rows = self.read()
        others = sorted({row["path"] for row in rows} - files.keys())
        if others:
            raise UserError(
                f"{self.path} has rows of {len(others)} files that are not "
                f"given now, {others[0]} the first: give them too, or name "
                "another --csv."
            )
        return [r for r in rows if known.get(r["path"]) == files[r["path"]]]

    def read(self) -> list[dict]:
        """Rows that are whole."""
        with open(self.path, encoding="utf-8", newline="") as file:
            text = file.read()
        whole = StringIO(text[: text.rfind("\n") + 1], newline="")
        return [
            row
            for row in csv.DictReader(whole)
            if {*row} == {*self.columns} and None not in row.values()
        ]

    def order(self, windows: Sequence[Row]) -> list[dict]:
        """Bring the rows into the order of the windows, and return them."""
        number = {place_of(window): n for n, window in enumerate(windows)}
        rows = sorted(self.read(), key=lambda row: number[_place(row)])
        self._write(rows)
        return rows

    def _write(self, rows: Iterable[dict]) -> None:
        with (
            whole_file(self.path) as temporary,
            open(temporary, "w", encoding="utf-8", newline="") as file,
        ):
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            writer.writerows(rows)


def _place(row: Mapping[str, str]) -> Place:
    return row["path"], row["start"], row["end"]
