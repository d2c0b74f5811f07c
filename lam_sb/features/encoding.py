"""From rows of a manifest to the tensors of a shard."""

from __future__ import annotations

import contextlib
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import torch
from speechbrain.utils.logger import get_logger

from lam_sb.errors import UserError
from lam_sb.features.audio import UnreadableAudioError, load_audio
from lam_sb.features.encoders import FrozenEncoder, TooShortError
from lam_sb.features.plan import Row, classified_phones
from lam_sb.features.segments import (
    by_segment,
    count_means,
    frame_classes,
    segment_means,
)

logger = get_logger(__name__)
DTYPES = {"float16": torch.float16, "float32": torch.float32}
# How torch and its libraries say that memory is used up.
OUT_OF_MEMORY = (
    *("out of memory", "not enough memory", "can't allocate memory"),
    "alloc_failed",
)
BATCHES_AHEAD = 2  # whose audio is read while one is encoded
PRECISIONS = {"fp32": None, "fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass
class Waveforms:
    """Audio of the rows of a batch that can be read.

    Arguments
    ---------
    rows : list[Row]
        Those that can.
    wavs : list[torch.Tensor]
        (N,) samples of each.
    unreadable : list[Row]
        The others.
    """

    rows: list[Row] = field(default_factory=list)
    wavs: list[torch.Tensor] = field(default_factory=list)
    unreadable: list[Row] = field(default_factory=list)


def read_ahead(
    batches: Iterable[Sequence[Row]], workers: int
) -> Iterator[Waveforms]:
    """Read batches in order, the next ones while one is used.

    Arguments
    ---------
    batches : Iterable[Sequence[Row]]
        Rows of each batch.
    workers : int
        Threads that read and resample, which hold Python's lock for a quarter
        of their time; 0 reads a batch when it is asked for.

    Yields
    ------
    Waveforms
        Of each batch.

    Raises
    ------
    UserError
        A row needs more memory than there is.
    """
    if not workers:
        for rows in batches:
            yield _collect(rows, [partial(_load, row) for _, row in rows])
        return
    pool, waiting = ThreadPoolExecutor(workers), deque()
    try:
        for rows in batches:
            started = [pool.submit(_load, row) for _, row in rows]
            waiting.append((rows, [future.result for future in started]))
            if len(waiting) > BATCHES_AHEAD:
                yield _collect(*waiting.popleft())
        while waiting:
            yield _collect(*waiting.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _load(row: Mapping) -> torch.Tensor:
    """Read a row's audio, or the ``window`` of it that a row may name."""
    return load_audio(row["wav"], *row.get("window", ()))


def _collect(rows: Sequence[Row], readers: Sequence[Callable]) -> Waveforms:
    """Get the waveform of each row from what reads it."""
    batch = Waveforms()
    for row, read in zip(rows, readers, strict=True):
        try:
            with _enough_memory(row):
                wav = read()
        except UnreadableAudioError as error:
            batch.unreadable.append(row)
            logger.debug(f"{row[0]}: {error}")
        else:
            batch.rows.append(row)
            batch.wavs.append(wav)
    return batch


def encode_shards(
    encoder: FrozenEncoder,
    settings: Mapping,
    shards: Sequence[Sequence[Sequence[Row]]],
    device: str,
    workers: int,
    progress: Callable[[Sequence[Row]], object],
) -> Iterator[tuple[dict[str, torch.Tensor], list[Row]]]:
    """Encode shards one after the other, while threads read ahead.

    Arguments
    ---------
    encoder, settings, device : FrozenEncoder, Mapping, str
        As for `encode_batch`.
    shards : Sequence[Sequence[Sequence[Row]]]
        Rows of each batch of each.
    workers : int
        As for `read_ahead`.
    progress : Callable
        Told of the rows of each batch that is done.

    Yields
    ------
    tensors : dict[str, torch.Tensor]
        Of a shard, as from `encode_batch`; empty if no row can be read.
    unreadable : list[Row]
        Rows that are left out, since their audio cannot be decoded.
    """
    batches = [batch for shard in shards for batch in shard]
    with contextlib.closing(read_ahead(batches, workers)) as waveforms:
        for shard in shards:
            parts, unreadable = defaultdict(list), []
            for rows in shard:
                batch = next(waveforms)
                unreadable += batch.unreadable
                if batch.rows:
                    part = encode_batch(encoder, settings, batch, device)
                    for name, values in part.items():
                        parts[name].append(values)
                progress(rows)
            tensors = {n: torch.cat(p) for n, p in sorted(parts.items())}
            yield tensors, unreadable


def encode_batch(
    encoder: FrozenEncoder, settings: Mapping, batch: Waveforms, device: str
) -> dict[str, torch.Tensor]:
    """Encode a batch of at least one row, with the settings of a store.

    Returns
    -------
    dict[str, torch.Tensor]
        Means of the rows by segment, and as ``<segment>.frames`` how many
        frames each is a mean of.

    Raises
    ------
    UserError
        A row is too short, needs more memory than there is, or has a value
        that the storage type cannot hold.
    """
    rows, lens = batch.rows, torch.tensor([len(w) for w in batch.wavs])
    amp = PRECISIONS[settings["extract_precision"]]
    autocast = torch.autocast(
        torch.device(device).type, dtype=amp, enabled=amp is not None
    )
    try:
        with _enough_memory(rows[lens.argmax()]):
            padded = torch.nn.utils.rnn.pad_sequence(batch.wavs, True)
            with autocast:
                layers, frames = encoder(padded.to(device), lens.to(device))
            return _means(encoder, settings, rows, layers, frames.tolist())
    except TooShortError as error:
        raise UserError(f"{rows[lens.argmin()][0]}: {error}") from error


@contextlib.contextmanager
def _enough_memory(longest: Row) -> Iterator[None]:
    """Say which utterance was too long where memory ends."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        said = str(error).lower()
        if not isinstance(error, MemoryError) and not any(
            phrase in said for phrase in OUT_OF_MEMORY
        ):
            raise
        utt_id, row = longest
        raise UserError(
            f"Memory is too small to encode {utt_id} "
            f"({row['duration']:.1f} s, the longest of its batch): lower "
            "--extract_batch_seconds or, where that is below its duration, "
            "drop such utterances with "
            f"--max_duration {max(1, int(row['duration'] * 0.9))}"
        ) from error


def _means(
    encoder: FrozenEncoder,
    settings: Mapping,
    rows: Sequence[Row],
    layers: torch.Tensor,
    frames: Sequence[int],
) -> dict[str, torch.Tensor]:
    """Means over segments of a batch, as `encode_batch` gives them."""
    dtype, chunks = DTYPES[settings["storage_dtype"]], settings["time_chunks"]
    classes = []
    if classified_phones(rows[0][1]):  # so have all rows of a shard, or none
        centres = encoder.frame_centres(max(frames))
        classes = [
            frame_classes(classified_phones(row), centres[:n])
            for (_, row), n in zip(rows, frames, strict=True)
        ]
    means, counts = segment_means(layers, frames, chunks, classes)
    means = means.to(dtype).cpu()  # all at once: each copy waits for the device
    if not means.isfinite().all():
        finite = means.isfinite().flatten(1).all(1).tolist()
        raise UserError(
            f"{rows[finite.index(False)][0]}: its features do not fit into "
            f"{dtype}; set storage_dtype: float32 and extract_precision: fp32, "
            "or look at its audio."
        )
    counts = by_segment(counts, chunks)
    return by_segment(means, chunks) | {
        f"{name}.frames": count for name, count in counts.items()
    }


def size_in_bytes(
    encoder: FrozenEncoder, settings: Mapping, rows: Iterable[Row]
) -> int:
    """Size of the features of some rows."""
    means = sum(
        count_means(settings["time_chunks"], bool(classified_phones(row)))
        for _, row in rows
    )
    values = means * encoder.num_layers * encoder.dim
    return values * DTYPES[settings["storage_dtype"]].itemsize


@contextlib.contextmanager
def exact_matmul() -> Iterator[None]:
    """Switch TF32 off, which SpeechBrain switches on, and back after."""
    backends = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [backend.allow_tf32 for backend in backends]
    for backend in backends:
        backend.allow_tf32 = False
    try:
        yield
    finally:
        for backend, allowed in zip(backends, before, strict=True):
            backend.allow_tf32 = allowed
