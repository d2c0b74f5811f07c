"""From rows of a manifest to the tensors of a shard."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from speechbrain.utils.logger import get_logger

from lam_sb.errors import UserError
from lam_sb.features.audio import UnreadableAudioError, load_audio
from lam_sb.features.encoders import FrozenEncoder, TooShortError
from lam_sb.features.plan import Row, classified_phones
from lam_sb.features.segments import (
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
PRECISIONS = {"fp32": None, "fp16": torch.float16, "bf16": torch.bfloat16}


def encode_rows(
    encoder: FrozenEncoder,
    settings: Mapping,
    rows: Sequence[Row],
    device: str,
) -> tuple[dict[str, list[torch.Tensor]], dict[int, str]]:
    """Encode a batch of rows, with the settings of a store.

    Returns
    -------
    tensors : dict[str, list[torch.Tensor]]
        Means of the rows by segment, and as ``<segment>.frames`` how many
        frames each is a mean of.
    unreadable : dict[int, str]
        Reason by position of the rows that are left out, since their audio
        cannot be decoded.

    Raises
    ------
    UserError
        A row is too short, needs more memory than there is, or has a value
        that the storage type cannot hold.
    """
    wavs, unreadable = _load(rows)
    rows = [row for n, row in enumerate(rows) if n not in unreadable]
    if not rows:
        return {}, unreadable
    lens = torch.tensor([len(w) for w in wavs])
    amp = PRECISIONS[settings["extract_precision"]]
    kind = torch.device(device).type
    try:
        with (
            _enough_memory(rows[lens.argmax()]),
            torch.autocast(kind, dtype=amp, enabled=amp is not None),
        ):
            padded = torch.nn.utils.rnn.pad_sequence(wavs, batch_first=True)
            layers, frames = encoder(padded.to(device), lens.to(device))
    except TooShortError as error:
        raise UserError(f"{rows[lens.argmin()][0]}: {error}") from error
    return _means(encoder, settings, rows, layers, frames), unreadable


def _load(rows: Sequence[Row]) -> tuple[list[torch.Tensor], dict[int, str]]:
    """Waveforms of the rows that can be read, why not by position of others."""
    wavs, unreadable = [], {}
    for n, (utt_id, row) in enumerate(rows):
        try:
            with _enough_memory((utt_id, row)):
                wavs.append(load_audio(row["wav"]))
        except UnreadableAudioError as error:
            unreadable[n] = str(error)
            logger.debug(f"{utt_id}: {error}")
    return wavs, unreadable


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
    frames: torch.Tensor,
) -> dict[str, list[torch.Tensor]]:
    """Means over segments of a batch, as `encode_rows` gives them."""
    dtype = DTYPES[settings["storage_dtype"]]
    tensors = defaultdict(list)
    for (utt_id, row), x, n in zip(rows, layers, frames, strict=True):
        phones = classified_phones(row)
        centres = encoder.frame_centres(int(n)) if phones else []
        classes = frame_classes(phones, centres)
        means = segment_means(x[:, :n], settings["time_chunks"], classes)
        for name, (values, count) in means.items():
            values = values.cpu().to(dtype)
            if not values.isfinite().all():
                raise UserError(
                    f"{utt_id}: its features do not fit into {dtype}; set "
                    "storage_dtype: float32 and extract_precision: fp32, "
                    "or look at its audio."
                )
            tensors[name].append(values)
            tensors[f"{name}.frames"].append(count.cpu().to(torch.int32))
    return tensors


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
