"""A Checkpointer that a crash cannot corrupt."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import yaml
from speechbrain.utils.checkpoints import (
    CKPT_PREFIX,
    METAFNAME,
    Checkpoint,
    Checkpointer,
)
from speechbrain.utils.distributed import ddp_barrier, if_main_process

from lam_sb.errors import UserError
from lam_sb.files import (
    DamagedError,
    file_checksum,
    read_checked,
    write_checked,
)

CHECKSUMS = "checksums.json"  # of the files of a checkpoint
DISK_FULL = ("unexpected pos", "iostream error")  # as torch says it


class SafeCheckpointer(Checkpointer):
    """SpeechBrain's Checkpointer, with the meta file renamed into place last.

    SpeechBrain takes a folder with a meta file for a checkpoint and writes
    that file first, so a run killed while saving could not start again. Here a
    folder without it is no checkpoint, and the next save removes it.
    checksums.json beside it tells whether a file was damaged since.

    Arguments
    ---------
    checkpoints_dir : str | Path
        Where the checkpoints go.
    recoverables : dict, optional
        Objects by name.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> import torch
    >>> model = torch.nn.Linear(1, 1)
    >>> checkpointer = SafeCheckpointer(folder, {"model": model})
    >>> _ = checkpointer.save_checkpoint(meta={"loss": torch.tensor(0.5)})
    >>> checkpointer.find_checkpoint(min_key="loss").meta["loss"]
    0.5
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._sound: set[Path] = set()  # saved or checked by this process

    def save_checkpoint(self, *args, **kwargs) -> Checkpoint | None:
        """Save, then rename the meta file so that the checkpoint counts."""
        self._remove_unfinished()
        try:
            checkpoint = super().save_checkpoint(*args, **kwargs)
        except RuntimeError as error:
            reason = str(error).partition("\n")[0]
            if not any(phrase in reason for phrase in DISK_FULL):
                raise
            raise UserError(
                f"No checkpoint can be written to {self.checkpoints_dir} "
                f"({reason}). Is the disk full? With room, the same command "
                "goes on from the last one."
            ) from error
        if checkpoint is not None:
            folder = Path(checkpoint.path)
            meta = folder / METAFNAME
            content = {p.name: file_checksum(p) for p in _files(folder)}
            content[METAFNAME] = content.pop(meta.with_suffix(".tmp").name)
            write_checked(folder / CHECKSUMS, content)
            os.replace(meta.with_suffix(".tmp"), meta)
            self._sound.add(folder)
        # All processes must see the same checkpoints when they delete old
        # ones, or they wait for each other for ever.
        ddp_barrier()
        return checkpoint

    def list_checkpoints(self) -> list[Checkpoint]:
        """List the checkpoints, none of them damaged.

        Raises
        ------
        UserError
            One is.
        """
        for meta in Path(self.checkpoints_dir).glob(f"*/{METAFNAME}"):
            if meta.parent not in self._sound:
                _check(meta.parent)
                self._sound.add(meta.parent)
        return super().list_checkpoints()

    def save_and_keep_only(
        self, *args, importance_keys: Sequence[Callable] = (), **kwargs
    ) -> None:
        """Save, then delete the checkpoints that are not to be kept.

        SpeechBrain appends to its default of ``importance_keys`` at each call,
        and lists all checkpoints twice for each of them.
        """
        keys = [*importance_keys]
        super().save_and_keep_only(*args, importance_keys=keys, **kwargs)

    def _save_checkpoint_metafile(
        self, fpath: Path, meta_to_include: dict, end_of_epoch: bool = True
    ) -> dict:
        meta = {"unixtime": time.time(), "end-of-epoch": end_of_epoch}
        for key, value in meta_to_include.items():
            # NumPy and tensor scalars would break loading.
            meta[key] = value.item() if hasattr(value, "item") else value
        fpath.unlink(missing_ok=True)  # of a name that is written over
        with open(fpath.with_suffix(".tmp"), "w", encoding="utf-8") as file:
            file.write("# yamllint disable\n")
            yaml.safe_dump(meta, file)
        return meta

    def _remove_unfinished(self) -> None:
        if not if_main_process():
            return
        for path in self.checkpoints_dir.glob(f"{CKPT_PREFIX}*"):
            if path.is_dir() and not (path / METAFNAME).exists():
                shutil.rmtree(path)


def _files(folder: Path) -> list[Path]:
    names = (path for path in folder.iterdir() if path.is_file())
    return sorted(path for path in names if path.name != CHECKSUMS)


def _check(folder: Path) -> None:
    """Refuse a checkpoint whose files are not those that were saved."""
    try:
        if not (folder / CHECKSUMS).exists():
            raise DamagedError(f"{folder} is damaged, or of an older lam_sb")
        saved = read_checked(folder / CHECKSUMS)
        now = {path.name: file_checksum(path) for path in _files(folder)}
        wrong = sorted(n for n in saved if saved[n] != now.get(n))
        if wrong:
            raise DamagedError(f"{folder / wrong[0]} is damaged")
    except (OSError, DamagedError) as error:
        raise UserError(
            f"{error}, so there is no going on from this checkpoint. Remove "
            f"{folder}: the same command then trains from the beginning."
        ) from error


def has_checkpoint(folder: str | Path) -> bool:
    """Whether a run's folder ``save`` has a checkpoint to go on from."""
    return any(Path(folder).glob(f"{CKPT_PREFIX}*/{METAFNAME}"))


def drop_checkpoints(folder: str | Path) -> None:
    """Remove what only going on with a run needs, when it is finished.

    A crash in between leaves a checkpoint that is whole, with the weights of
    its epochs, or none.

    Arguments
    ---------
    folder : str | Path
        Its folder ``save``.
    """
    for path in sorted(Path(folder).glob(f"{CKPT_PREFIX}*")):  # the newest last
        if path.is_dir():
            (path / METAFNAME).unlink(missing_ok=True)
            shutil.rmtree(path, ignore_errors=True)
    shutil.rmtree(Path(folder) / "weights", ignore_errors=True)
