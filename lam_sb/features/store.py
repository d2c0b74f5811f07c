"""A store of every layer of every utterance, encoded once.

A store is a folder of safetensors shards, each written under a temporary name
and renamed, so that a file that exists is complete. ``plan.json`` says which
rows lie in which shard and in which batches they are encoded; it is renamed
into place before encoding starts, so that resumed, parallel and single runs
write the same files.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from importlib.metadata import version
from pathlib import Path

from speechbrain.utils.logger import get_logger
from tqdm import tqdm

from lam_sb.errors import UserError, check_choice
from lam_sb.features.encoders import FrozenEncoder
from lam_sb.features.encoding import (
    DTYPES,
    PRECISIONS,
    encode_batch,
    encode_shards,
    exact_matmul,
    read_ahead,
    size_in_bytes,
)
from lam_sb.features.finding import find_store
from lam_sb.features.plan import (
    Row,
    keys_of,
    named_shard,
    plan_shards,
    row_key,
)
from lam_sb.features.shards import FeatureRows, Shard
from lam_sb.features.store_files import StoreFiles

logger = get_logger(__name__)

FORMAT = 2


class FeatureStore:
    """Means over segments of all layers, for any number of corpora.

    Arguments
    ---------
    feature_folder : str
        Where stores lie; this one in ``<name>-<hash16>`` under it, where the
        hash covers all that the features depend on but the audio.
    encoder : FrozenEncoder
        Gives the layers. If it is not here, a store made with it and the same
        settings is looked for before the net.
    time_chunks : int
        Number of equal time chunks K whose means are stored.
    extract_precision : str
        fp32, or fp16 / bf16 for autocast while encoding.
    storage_dtype : str
        float16 or float32.
    batch_seconds : float
        Padded seconds of audio encoded at once; decides memory and speed, and
        is in no hash.
    workers : int
        Threads that read and resample audio ahead of the encoder; 0 reads it
        in between. In no hash either.

    Raises
    ------
    UserError
        A setting is unknown, or the encoder is out of reach and no one store
        fits.
    """

    def __init__(
        self,
        feature_folder: str,
        encoder: FrozenEncoder,
        time_chunks: int = 8,
        extract_precision: str = "fp32",
        storage_dtype: str = "float16",
        batch_seconds: float = 120.0,
        workers: int = 4,
    ):
        check_choice("extract_precision", extract_precision, PRECISIONS)
        check_choice("storage_dtype", storage_dtype, DTYPES)
        self.encoder = encoder
        self.batch_seconds = batch_seconds
        self.workers = workers
        self.settings = {
            "format": FORMAT,
            "transformers": version("transformers"),
            "time_chunks": time_chunks,
            "extract_precision": extract_precision,
            "storage_dtype": storage_dtype,
            **encoder.settings,
        }
        self.path, self.is_copy = find_store(
            encoder, self.settings, Path(feature_folder)
        )
        self.files = StoreFiles(self.path)

    def _load_encoder(self) -> None:
        """Load the weights, and refuse those that others were made with.

        Raises
        ------
        UserError
            They are out of reach, or not those of the store.
        """
        self.encoder.load()
        if not self.is_copy:
            return
        now = self.settings | {"digest": self.encoder.digest}
        if self.files.description().get("settings") != now:
            raise UserError(
                f"Rows are missing in {self.path}, and {self.encoder.source}, "
                "which is fetched now, has other weights or is read by other "
                "software than that store was made with: give the same "
                "command again, which makes a store of its own."
            )

    def extract(
        self,
        rows: Iterable[Row],
        device: str = "cpu",
        rank: int = 0,
        world: int = 1,
        progress: bool = True,
    ) -> list[Row]:
        """Encode the rows that are missing.

        Rows are utterance ids and manifest rows, of any number of manifests.
        Of ``world`` processes, each is a ``rank`` and writes its own shards.
        A progress bar shows hours done, on a terminal.

        Returns
        -------
        list[Row]
            Rows whose audio this process could not decode; they are tried
            again the next time.

        Raises
        ------
        UserError
            No room on the disk or in memory, a value that the storage type
            cannot hold, or an encoder out of reach.
        """
        by_key = {self._key(i, row): (i, row) for i, row in rows}
        todo = [
            shard
            for n, shard in self._plan_missing(by_key)
            if n % world == rank and self.files.shard(shard) is None
        ]
        if not todo:
            return []
        waiting = [by_key[key] for shard in todo for key in keys_of(shard)]
        self._announce(waiting)
        self._load_encoder()  # before the bar is drawn
        bar = tqdm(
            total=_hours(waiting),
            unit="h of speech",
            disable=None if progress else True,  # None: shown on a terminal
            bar_format="{l_bar}{bar}| {n:.2f}/{total:.2f}{unit} "
            "[{elapsed}<{remaining}]",
        )
        with bar:
            return self._encode(todo, by_key, device, bar)

    def estimate(self, rows: Iterable[Row], device: str = "cpu") -> str:
        """Say what encoding the missing rows would take; write nothing.

        That is where the store lies, its rows, size, and the time, for which
        a few of them are encoded on the device.

        Raises
        ------
        UserError
            The encoder is out of reach and rows are missing.
        """
        by_key = {self._key(i, row): (i, row) for i, row in rows}
        planned, missing = self._planned(by_key)
        for _, shard in planned:
            if self.files.shard(shard) is None:
                missing |= {key: by_key[key] for key in keys_of(shard)}
        size = size_in_bytes(self.encoder, self.settings, by_key.values())
        text = (
            f"Store {self.path}: {len(by_key)} utterances, {size / 1e9:.2f} "
            f"GB, {len(missing)} of them to encode"
        )
        if not missing:
            return text
        batches = [b for shard in self._plan(missing) for b in shard["batches"]]
        sample = [missing[key] for key in batches[len(batches) // 2][:4]]
        self._load_encoder()
        for batch in read_ahead([sample[:1], sample], workers=0):
            start = time.perf_counter()  # anew: the first batch warms up
            if batch.rows:
                encode_batch(self.encoder, self.settings, batch, device)
            spent = time.perf_counter() - start
        total, seen = (
            sum(self.encoder.seconds_encoded(r["duration"]) for _, r in part)
            for part in (missing.values(), sample)
        )
        minutes = spent * total / seen / 60
        return f"{text}, about {minutes:.1f} minutes on {device}"

    def rows(self, rows: Mapping[str, Mapping]) -> FeatureRows:
        """Features of the rows of a manifest, any subset of the store.

        Raises
        ------
        UserError
            Rows whose features are not in the store.
        """
        wanted = {self._key(i, row): i for i, row in rows.items()}
        locations: dict[str, tuple[Shard, int]] = {}
        for planned in self.files.plan():
            keys = keys_of(planned)
            if wanted.keys().isdisjoint(keys):
                continue
            shard = self.files.shard(planned)
            if shard is not None:
                locations |= {key: (shard, n) for n, key in enumerate(keys)}
        missing = [i for key, i in wanted.items() if key not in locations]
        if missing:
            raise UserError(
                f"{len(missing)} of {len(wanted)} rows are not in the store "
                f"{self.path}, {missing[0]} the first: the manifest's audio "
                "or phones are not those encoded. Extract them first: "
                "python -m lam_sb extract <YAML>"
            )
        return FeatureRows([locations[key] for key in wanted], [*wanted])

    def _key(self, utt_id: str, row: Mapping) -> str:
        return row_key(utt_id, row, self.encoder.phone_revision)

    def _plan_missing(
        self, by_key: Mapping[str, Row]
    ) -> list[tuple[int, dict]]:
        """Numbered shards that hold rows wanted, planned if need be."""
        planned, missing = self._planned(by_key)
        if not missing:  # a store that is only read may be read-only
            return planned
        self.files.make_folder()
        self.files.describe(self._description())
        with self.files.plan_lock():
            planned, missing = self._planned(by_key)
            if missing:
                shards, new = self.files.plan(), self._plan(missing)
                planned += enumerate(new, start=len(shards))
                self.files.write_plan(shards + new)
        return planned

    def _planned(
        self, by_key: Mapping[str, Row]
    ) -> tuple[list[tuple[int, dict]], dict[str, Row]]:
        """Shards that hold rows wanted, and the rows that none of them holds.

        A shard that is not written counts only if all its rows are wanted.
        """
        planned = []
        for n, shard in enumerate(self.files.plan()):
            wanted = [key in by_key for key in keys_of(shard)]
            if any(wanted) and (
                all(wanted) or self.files.shard(shard) is not None
            ):
                planned.append((n, shard))
        keys = {key for _, shard in planned for key in keys_of(shard)}
        return planned, {k: v for k, v in by_key.items() if k not in keys}

    def _plan(self, missing: Mapping[str, Row]) -> list[dict]:
        seconds_encoded = self.encoder.seconds_encoded
        return plan_shards(missing, seconds_encoded, self.batch_seconds)

    def _description(self) -> dict[str, dict]:
        """Say what the store is made with, in words."""
        encoder = {
            name: getattr(self.encoder, name)
            for name in ("source", "family", "num_layers", "dim")
        }
        return {"encoder": encoder, "settings": self.settings}

    def _announce(self, rows: Sequence[Row]) -> None:
        """Say where the features will lie and how large they get."""
        needed = size_in_bytes(self.encoder, self.settings, rows)
        logger.info(
            f"Encoding {len(rows)} utterances ({_hours(rows):.2f} h) with "
            f"{self.encoder.source} into {self.path}: {needed / 1e9:.2f} GB"
        )
        free = shutil.disk_usage(self.path).free
        if needed > free:
            raise UserError(
                f"{self.path} needs {needed / 1e9:.2f} GB, but its disk has "
                f"{free / 1e9:.2f} GB free; set feature_folder elsewhere."
            )

    def _encode(
        self,
        shards: Sequence[Mapping],
        by_key: Mapping[str, Row],
        device: str,
        bar: tqdm,
    ) -> list[Row]:
        """Encode shards; give the rows that cannot be read.

        A shard is written while the next is encoded.
        """
        rows = [
            [[by_key[key] for key in batch] for batch in shard["batches"]]
            for shard in shards
        ]
        encoded = encode_shards(
            *(self.encoder, self.settings, rows, device, self.workers),
            progress=lambda batch: bar.update(_hours(batch)),
        )
        unread: list[Row] = []
        with exact_matmul(), closing(encoded), ThreadPoolExecutor(1) as writer:
            writing: list[Future] = []
            for shard, (tensors, lost) in zip(shards, encoded, strict=True):
                for one in writing:
                    one.result()
                if lost:
                    gone = {self._key(*row) for row in lost}
                    shard = self._plan_without(shard, gone)
                    unread += lost
                save = partial(self.files.save, shard, tensors)
                writing = [writer.submit(save)] if tensors else []
            for one in writing:
                one.result()
        return unread

    def _plan_without(self, shard: Mapping, unread: set[str]) -> dict:
        """Take rows out of a planned shard, which keeps its place."""
        batches = [
            [key for key in batch if key not in unread]
            for batch in shard["batches"]
        ]
        rest = named_shard([batch for batch in batches if batch])
        with self.files.plan_lock():
            self.files.write_plan(
                [
                    rest if planned["name"] == shard["name"] else planned
                    for planned in self.files.plan()
                ]
            )
        return rest


def _hours(rows: Sequence[Row]) -> float:
    return sum(row["duration"] for _, row in rows) / 3600
