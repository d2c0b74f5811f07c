"""The files of a feature store: its plan, its shards, what it was made with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from filelock import FileLock
from speechbrain.utils.logger import get_logger

from lam_sb.errors import UserError
from lam_sb.features.plan import named_shard, read_plan
from lam_sb.features.shards import Shard
from lam_sb.files import (
    DamagedError,
    read_checked,
    remove_stale,
    write_checked,
)
from lam_sb.tensors import opened_tensors, save_tensors

logger = get_logger(__name__)


class StoreFiles:
    """Files in the folder of a store.

    What is damaged is made again: a plan from the shards, which hold the keys
    of their rows; a shard, and what the store was made with, by whoever
    encodes.

    Arguments
    ---------
    folder : Path
        The store, which need not exist.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._shards: dict[str, Shard] = {}

    def make_folder(self) -> None:
        """Make the folder, if need be.

        Raises
        ------
        UserError
            It cannot be made.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{self.folder} cannot be made: {error}") from error
        remove_stale(self.folder, days=1)  # others may be at work

    @property
    def _plan(self) -> Path:
        return self.folder / "plan.json"

    @contextmanager
    def plan_lock(self) -> Iterator[None]:
        """Let one process change the plan, which is whole then."""
        with FileLock(self.folder / ".plan.lock"):
            try:
                read_plan(self._plan)
            except DamagedError as error:
                logger.warning(f"{error}: made again from the shards.")
                self.write_plan(self._found())
            yield

    def plan(self) -> list[dict]:
        """Read the planned shards; none where nothing was planned."""
        try:
            return read_plan(self._plan)
        except DamagedError:
            pass
        try:
            with self.plan_lock():
                return read_plan(self._plan)
        except (OSError, UserError):  # a store that is only read
            return self._found()

    def write_plan(self, shards: list[dict]) -> None:
        """Write the planned shards."""
        write_checked(self._plan, {"shards": shards})

    def _found(self) -> list[dict]:
        """Shards that are there, as they were planned."""
        found = []
        for path in sorted(self.folder.glob("*.safetensors")):
            batches = self._batches(path)
            if batches is not None:
                found.append(named_shard(batches))
        return [shard for shard in found if self.shard(shard) is not None]

    def _batches(self, path: Path) -> list[list[str]] | None:
        """Keys of a shard's rows, None where it does not say them."""
        try:
            with opened_tensors(path) as file:
                return file.content["batches"]
        except (OSError, DamagedError, LookupError):
            return None

    def description(self) -> dict:
        """Read what the store was made with; empty where that is not known."""
        try:
            return read_checked(self.folder / "store.json")
        except (OSError, DamagedError):
            return {}

    def describe(self, content: Mapping[str, object]) -> None:
        """Write what the store is made with, unless that is there."""
        if not self.description():
            write_checked(self.folder / "store.json", content)

    def save(self, shard: Mapping, tensors: Mapping[str, torch.Tensor]) -> None:
        """Write the tensors of a planned shard."""
        content = {"batches": shard["batches"]}
        save_tensors(self._path(shard), tensors, content)

    def _path(self, shard: Mapping) -> Path:
        return self.folder / f"{shard['name']}.safetensors"

    def shard(self, shard: Mapping) -> Shard | None:
        """Open a planned shard, once it was checked; remove a damaged one.

        Returns
        -------
        Shard | None
            Memory-mapped tensors, or None where there are none.

        Raises
        ------
        UserError
            A damaged one cannot be removed.
        """
        name, path = shard["name"], self._path(shard)
        if name in self._shards:
            return self._shards[name]
        try:
            with opened_tensors(path, once=True) as file:
                tensors = file.tensors()
                if file.content["batches"] != shard["batches"]:
                    raise DamagedError(f"{path} holds other rows")
        except FileNotFoundError:
            return None
        except (LookupError, DamagedError) as error:
            logger.warning(f"{error}: encoded anew.")
            _remove(path)
            return None
        self._shards[name] = tensors
        return tensors


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(
            f"{path} is damaged, and cannot be removed ({error}): whoever may "
            "write there has to encode its corpora again."
        ) from error
