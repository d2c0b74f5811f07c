"""Files of tensors with a checksum, so that a damaged one is never used."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
import xxhash
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from lam_sb.errors import UserError
from lam_sb.files import (
    CHECKSUM,
    NO_MAPPING,
    DamagedError,
    file_stamp,
    whole_file,
)

# The only text beside the tensors: safetensors writes several in any order.
CONTENT = "content"
# Files that this process has checked, with their size and time.
_checked: dict[str, dict[str, int] | None] = {}


class TensorFile:
    """An open file of tensors.

    Arguments
    ---------
    file : safe_open
        Gives them.

    Attributes
    ----------
    content : dict
        What was written beside them.
    """

    def __init__(self, file: safe_open):
        self.content = json.loads(file.metadata()[CONTENT])
        self.checksum = self.content.pop(CHECKSUM)
        self.get_tensor = file.get_tensor
        self.keys = file.keys

    def tensors(self) -> dict[str, torch.Tensor]:
        """All tensors by name."""
        return {name: self.get_tensor(name) for name in self.keys()}


def save_tensors(
    path: Path,
    tensors: Mapping[str, torch.Tensor],
    content: Mapping[str, object] | None = None,
) -> None:
    """Write a safetensors file that says what it holds, by a checksum.

    Arguments
    ---------
    path : Path
        The file; it is whole or not there.
    tensors : Mapping[str, torch.Tensor]
        By name.
    content : Mapping[str, object], optional
        What JSON can hold, to keep beside them.

    Raises
    ------
    UserError
        It cannot be written.

    Example
    -------
    >>> path = getfixture("tmp_path") / "one.safetensors"
    >>> save_tensors(path, {"x": torch.ones(2)}, {"of": "example"})
    >>> with opened_tensors(path) as file:
    ...     file.get_tensor("x").tolist(), file.content
    ([1.0, 1.0], {'of': 'example'})
    """
    content = dict(content or {})
    content[CHECKSUM] = _checksum(tensors, content)
    with whole_file(path) as temporary:
        save_file(dict(tensors), temporary, {CONTENT: json.dumps(content)})


@contextmanager
def opened_tensors(
    path: str | Path, device: str | torch.device = "cpu", once: bool = False
) -> Iterator[TensorFile]:
    """Open a file that `save_tensors` wrote, once all of it was checked.

    Arguments
    ---------
    path : str | Path
        The file.
    device : str | torch.device
        Where its tensors are read to; on the CPU they are memory-mapped.
    once : bool
        Whether a file of the same size and time as one that this process has
        checked is not checked again: large files of which little is read.

    Raises
    ------
    FileNotFoundError
        There is none.
    DamagedError
        It is not as it was written, or what is asked of it is not there.
    """
    try:
        stamp = file_stamp(Path(path))
        if not once or stamp is None or _checked.get(str(path)) != stamp:
            with safe_open(path, framework="pt") as file:
                _check(TensorFile(file))
            _checked[str(path)] = stamp
        with safe_open(path, framework="pt", device=str(device)) as file:
            yield TensorFile(file)
    except (FileNotFoundError, UserError):
        raise
    except (OSError, SafetensorError, LookupError, *NO_MAPPING) as error:
        raise DamagedError(f"{path} is damaged ({error})") from error


def _check(file: TensorFile) -> None:
    if file.checksum != _checksum(file.tensors(), file.content):
        raise ValueError("its checksum differs")


def _checksum(
    tensors: Mapping[str, torch.Tensor], content: Mapping[str, object]
) -> str:
    """Hash names, types, shapes and values, and what stands beside them.

    XXH3 of 128 bits, of xxhash: it reads as fast as memory does.
    """
    kinds = [
        (name, str(value.dtype), list(value.shape))
        for name, value in sorted(tensors.items())
    ]
    said = json.dumps(json.loads(json.dumps([content, kinds])), sort_keys=True)
    checksum = xxhash.xxh3_128(said.encode())
    for name, _, _ in kinds:
        values = tensors[name].detach().cpu().contiguous().reshape(-1)
        checksum.update(values.view(torch.uint8).numpy())
    return checksum.hexdigest()
