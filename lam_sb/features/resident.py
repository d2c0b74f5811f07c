"""Where the features that a run reads are kept while it runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from speechbrain.utils.logger import get_logger

from lam_sb.errors import UserError
from lam_sb.features.shards import FeatureRows, held_bytes, hold

logger = get_logger(__name__)
SHARE_OF_GPU = 0.5  # of what is free: the model and other runs need some too
SHARE_OF_MEMORY = 0.25  # runs side by side each hold their own


def place_features(
    parts: Iterable[FeatureRows],
    segments: Sequence[str],
    layers: Sequence[int],
    features_on: str,
    device: str | torch.device,
) -> str:
    """Keep what a run reads where reading is fast, and say where.

    Arguments
    ---------
    parts : Iterable[FeatureRows]
        All rows that the run reads.
    segments : Sequence[str]
        Segments that it reads.
    layers : Sequence[int]
        Layer numbers that it reads.
    features_on : str
        ``gpu``, ``memory`` or ``disk``, where they are read from the store's
        memory-mapped files each time; ``auto``: the first of these with room.
    device : str | torch.device
        Where the batches are wanted.

    Returns
    -------
    str
        ``gpu``, ``memory`` or ``disk``.

    Raises
    ------
    UserError
        ``gpu`` without a GPU, or too little memory where one was named.
    """
    parts, device = list(parts), torch.device(device)
    if features_on == "gpu" and device.type != "cuda":
        raise UserError(
            f"features_on: gpu, but the run is on {device}; use --features_on "
            "auto."
        )
    size = held_bytes(parts, segments, layers)
    place = features_on
    if features_on == "auto":
        place = _roomiest(size, device)
    for part in parts:
        part.move(device)
    if place != "disk":
        try:
            where = device if place == "gpu" else "cpu"
            hold(parts, segments, layers, where)
        except (MemoryError, RuntimeError) as error:
            raise UserError(
                f"features_on: {place} has no room for {size / 1e9:.2f} GB; "
                "use --features_on disk."
            ) from error
    logger.info(f"Features on {place}: {size / 1e9:.2f} GB.")
    return place


def _roomiest(size: int, device: torch.device) -> str:
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        if size <= SHARE_OF_GPU * free:
            return "gpu"
    return "memory" if size <= SHARE_OF_MEMORY * free_memory() else "disk"


def free_memory(
    proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")
) -> int:
    """Bytes of memory that are free or, if less, that this job is allowed."""
    text = (proc / "meminfo").read_text()
    fields = dict(line.split(":") for line in text.splitlines())
    free = int(fields["MemAvailable"].split()[0]) * 1024
    own = (proc / "self" / "cgroup").read_text().split("::")[-1].strip()
    group = groups / own.lstrip("/")
    for folder in (group, *group.parents):
        limit = folder / "memory.max"
        text = limit.read_text().strip() if limit.is_file() else "max"
        if text != "max":
            free = min(free, int(text))
    return free
