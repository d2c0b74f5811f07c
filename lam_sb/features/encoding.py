"""From rows of a manifest to the tensors of a shard."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch

from lam_sb.errors import UserError
from lam_sb.features.audio import load_audio
from lam_sb.features.encoders import FrozenEncoder
from lam_sb.features.plan import Row, classified_phones
from lam_sb.features.segments import (
    count_means,
    frame_classes,
    segment_means,
)

DTYPES = {"float16": torch.float16, "float32": torch.float32}
PRECISIONS = {"fp32": None, "fp16": torch.float16, "bf16": torch.bfloat16}


def encode_rows(
    encoder: FrozenEncoder,
    settings: Mapping,
    rows: Sequence[Row],
    device: str,
) -> dict[str, list[torch.Tensor]]:
    """Encode a batch of rows, with the settings of a store.

    Returns
    -------
    dict[str, list[torch.Tensor]]
        Means of the rows by segment, and as ``<segment>.frames`` how many
        frames each is a mean of.

    Raises
    ------
    UserError
        A row is too short, cannot be read, or has a value that the storage
        type cannot hold.
    """
    wavs = [load_audio(row["wav"]) for _, row in rows]
    lens = torch.tensor([len(w) for w in wavs])
    padded = torch.nn.utils.rnn.pad_sequence(wavs, batch_first=True)
    amp = PRECISIONS[settings["extract_precision"]]
    kind = torch.device(device).type
    try:
        with torch.autocast(kind, dtype=amp, enabled=amp is not None):
            layers, frames = encoder(padded.to(device), lens.to(device))
    except UserError as error:  # too short
        raise UserError(f"{rows[lens.argmin()][0]}: {error}") from error
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
