"""A store of every layer of every utterance, encoded once.

A store is a folder of safetensors shards, each written under a temporary name
and renamed, so that a file that exists is complete. ``plan.json`` says which
rows lie in which shard and in which batches they are encoded; it is renamed
into place before encoding starts, so that resumed, parallel and single runs
write the same files.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import torch
import torchaudio
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from speechbrain.dataio import audio_io
from speechbrain.utils.logger import get_logger
from tqdm import tqdm

from lam_sb.corpora.phones import phone_spans
from lam_sb.errors import UserError, check_choice
from lam_sb.features.encoders import (
    SAMPLE_RATE,
    WHISPER_WINDOW,
    FrozenEncoder,
    store_files,
)
from lam_sb.features.segments import (
    PHONE_SEGMENTS,
    frame_classes,
    segment_means,
)
from lam_sb.files import whole_file, write_json

logger = get_logger(__name__)

FORMAT = 1
ROWS_PER_SHARD = 256
DTYPES = {"float16": torch.float16, "float32": torch.float32}
PRECISIONS = {
    "fp32": None,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
}


def load_audio(path: str | Path) -> torch.Tensor:
    """Read one file as a mono waveform at 16 kHz.

    Arguments
    ---------
    path : str | Path
        Any format that libsndfile reads, any rate, any number of channels.

    Returns
    -------
    torch.Tensor
        (N,) samples.

    Raises
    ------
    UserError
        The file cannot be read.
    """
    try:
        wav, rate = audio_io.load(str(path), dtype=torch.float32)
    except (RuntimeError, OSError) as error:
        raise UserError(f"Audio that was readable is not now: {error}") from (
            error
        )
    wav = wav.mean(0)
    if rate != SAMPLE_RATE:
        wav = torchaudio.functional.resample(wav, rate, SAMPLE_RATE)
    return wav


def row_key(utt_id: str, row: Mapping) -> str:
    """Identity of a row's features: its id, audio content and phones.

    The phones are those of the segments, vowels and consonants with their
    times: another phone set is another key. Labels and paths are in no key:
    relabelling or moving a corpus costs nothing.

    Arguments
    ---------
    utt_id : str
        Key of the row in its manifest.
    row : Mapping
        The row, with ``audio_sha``, ``phones`` and ``phone_set``.

    Returns
    -------
    str
        32 hexadecimal digits.
    """
    content = json.dumps([utt_id, row["audio_sha"], _spans(row)])
    return hashlib.sha256(content.encode()).hexdigest()[:32]


class FeatureStore:
    """Means over segments of all layers, for any number of corpora.

    Arguments
    ---------
    feature_folder : str
        Where stores lie; this one in ``<name>-<hash16>`` under it, where the
        hash covers all that the features depend on but the audio.
    encoder : FrozenEncoder
        Gives the layers. If it is out of reach, a store made with it and the
        same settings is looked for instead.
    time_chunks : int
        Number of equal time chunks K whose means are stored.
    extract_precision : str
        fp32, or fp16 / bf16 for autocast while encoding.
    storage_dtype : str
        float16 or float32.
    batch_seconds : float
        Padded seconds of audio encoded at once; decides memory and speed, and
        is in no hash.

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
    ):
        check_choice("extract_precision", extract_precision, PRECISIONS)
        check_choice("storage_dtype", storage_dtype, DTYPES)
        self.encoder = encoder
        self.batch_seconds = batch_seconds
        self.settings = {
            "format": FORMAT,
            "transformers": version("transformers"),
            "time_chunks": time_chunks,
            "extract_precision": extract_precision,
            "storage_dtype": storage_dtype,
            "final_norm": encoder.final_norm,
        }
        if encoder.family == "whisper":
            self.settings["whisper_context"] = encoder.whisper_context
            self.settings["whisper_window"] = WHISPER_WINDOW // SAMPLE_RATE
        self._shards: dict[str, _Shard] = {}
        try:
            self.settings["digest"] = encoder.digest
        except UserError as error:
            self.path = self._find_copy(Path(feature_folder), error)
            return
        text = json.dumps(self.settings, sort_keys=True)
        name = hashlib.sha256(text.encode()).hexdigest()[:16]
        self.path = Path(feature_folder) / f"{encoder.name}-{name}"

    def _find_copy(self, feature_folder: Path, reason: UserError) -> Path:
        """Path of the one store that fits when the encoder is out of reach."""
        fitting = []
        for path in store_files(self.encoder.name, feature_folder):
            found = json.loads(path.read_text(encoding="utf-8"))["settings"]
            ours = {k: v for k, v in self.settings.items() if k != "digest"}
            ours["transformers"] = found["transformers"]
            if ours == {k: v for k, v in found.items() if k != "digest"}:
                fitting.append(path.parent)
        if len(fitting) != 1:
            raise UserError(
                f"{reason} The encoder {self.encoder.source} is out of reach, "
                f"and {len(fitting)} stores under {feature_folder} fit its "
                f"name and these settings: {self.settings}."
            ) from reason
        return fitting[0]

    def extract(
        self,
        rows: Iterable[tuple[str, Mapping]],
        device: str = "cpu",
        rank: int = 0,
        world: int = 1,
        progress: bool = True,
    ) -> None:
        """Encode the rows that are missing; ranks share the work.

        Arguments
        ---------
        rows : Iterable[tuple[str, Mapping]]
            Utterance ids and manifest rows, of any number of manifests.
        device : str
            Where to encode.
        rank, world : int
            This process and their number; each writes its own shards.
        progress : bool
            Whether to show hours done.

        Raises
        ------
        UserError
            No room on the disk, audio that cannot be read, a value that the
            storage type cannot hold, or an encoder out of reach.
        """
        by_key = {row_key(i, row): (i, row) for i, row in rows}
        shards = self._plan_missing(by_key)
        todo = [s for n, s in shards if n % world == rank]
        todo = [s for s in todo if self._shard(s["name"]) is None]
        if not todo:
            return
        self._announce(todo, by_key)
        self.encoder.load()
        self.encoder.to(device)
        with _progress_bar(todo, by_key, progress) as bar, _exact_matmul():
            for shard in todo:
                self._write_shard(shard, by_key, device, bar)

    def estimate(
        self, rows: Iterable[tuple[str, Mapping]], device: str = "cpu"
    ) -> str:
        """Say what encoding the missing rows would take; write nothing.

        Arguments
        ---------
        rows : Iterable[tuple[str, Mapping]]
            As for `extract`.
        device : str
            Where to encode a few of them, to see how long it takes.

        Returns
        -------
        str
            Where the store lies, its rows, size and time.

        Raises
        ------
        UserError
            The encoder is out of reach and rows are missing.
        """
        by_key = {row_key(i, row): (i, row) for i, row in rows}
        usable, missing = self._planned(by_key)
        for _, shard in usable:
            if self._shard(shard["name"]) is None:
                missing |= {k: by_key[k] for k in _keys(shard)}
        size = self._bytes(by_key.values()) / 1e9
        text = (
            f"Store {self.path}: {len(by_key)} utterances, {size:.2f} GB, "
            f"{len(missing)} of them to encode"
        )
        if not missing:
            return text
        batches = [b for s in self._plan(missing) for b in s["batches"]]
        sample = [missing[k] for k in batches[len(batches) // 2][:4]]
        self.encoder.load()
        self.encoder.to(device)
        list(self._encode(sample[:1], device))  # the first is slower
        start = time.perf_counter()
        list(self._encode(sample, device))
        spent = time.perf_counter() - start
        total, seen = (
            sum(self._cost(row["duration"]) for _, row in part)
            for part in (missing.values(), sample)
        )
        minutes = spent * total / seen / 60
        return f"{text}, about {minutes:.1f} minutes on {device}"

    def _bytes(self, rows: Iterable[tuple[str, Mapping]]) -> int:
        """Size of the features of some rows."""
        whole = self.settings["time_chunks"] + 1
        of_phones = sum(math.prod(shape) for shape in PHONE_SEGMENTS.values())
        means = sum(whole + of_phones * bool(_spans(row)) for _, row in rows)
        values = means * self.encoder.num_layers * self.encoder.dim
        return values * DTYPES[self.settings["storage_dtype"]].itemsize

    def _plan_missing(self, by_key: Mapping) -> list[tuple[int, dict]]:
        """Shards of the plan that hold rows wanted, planned if need be."""
        usable, missing = self._planned(by_key)
        if not missing:  # a store that is only read may be read-only
            return usable
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{self.path} cannot be made: {error}") from error
        self._describe()
        with FileLock(self.path / ".plan.lock"):
            usable, missing = self._planned(by_key)
            if missing:
                plan = self._read_plan()
                new = self._plan(missing)
                usable += list(enumerate(new, start=len(plan["shards"])))
                plan["shards"] += new
                write_json(self.path / "plan.json", plan)
        return usable

    def _planned(self, by_key: Mapping) -> tuple[list[tuple[int, dict]], dict]:
        """Shards that hold rows wanted, and the rows that none of them holds.

        A shard that is not written counts only if all its rows are wanted.
        """
        usable = [
            (n, s)
            for n, s in enumerate(self._read_plan()["shards"])
            if any(k in by_key for k in _keys(s))
            and (
                self._shard(s["name"]) is not None
                or all(k in by_key for k in _keys(s))
            )
        ]
        planned = {k for _, s in usable for k in _keys(s)}
        return usable, {k: v for k, v in by_key.items() if k not in planned}

    def _plan(self, missing: Mapping) -> list[dict]:
        """Shards of the rows without phones, and of those with phones.

        A shard has the same segments for all its rows: features of a corpus
        without phones take no room for them.
        """
        parts: tuple[dict, dict] = ({}, {})
        for key, (utt_id, row) in missing.items():
            parts[bool(_spans(row))][key] = (utt_id, row)
        return [shard for part in parts for shard in self._plan_alike(part)]

    def _plan_alike(self, missing: Mapping) -> list[dict]:
        """Batches of similar length, and shards of whole batches."""
        order = sorted(missing, key=lambda k: (missing[k][1]["duration"], k))
        batches: list[list[str]] = []
        longest = 0.0
        for key in order:
            longest = max(longest, self._cost(missing[key][1]["duration"]))
            if not batches or longest * (len(batches[-1]) + 1) > (
                self.batch_seconds
            ):
                batches.append([])
                longest = self._cost(missing[key][1]["duration"])
            batches[-1].append(key)
        shards: list[list[list[str]]] = []
        for batch in batches:
            if not shards or sum(map(len, shards[-1])) >= ROWS_PER_SHARD:
                shards.append([])
            shards[-1].append(batch)
        return [{"name": _shard_name(s), "batches": s} for s in shards]

    def _cost(self, duration: float) -> float:
        """Seconds that the encoder works on for an utterance."""
        if self.encoder.family != "whisper":
            return duration
        window = WHISPER_WINDOW / SAMPLE_RATE
        if duration > window or self.encoder.whisper_context == "full":
            return -(-duration // window) * window
        return duration

    def _announce(self, todo: Sequence[dict], by_key: Mapping) -> None:
        """Say where the features will lie and how large they get."""
        rows = [by_key[k] for s in todo for k in _keys(s)]
        needed = self._bytes(rows)
        hours = sum(_seconds(s, by_key) for s in todo) / 3600
        logger.info(
            f"Encoding {len(rows)} utterances ({hours:.2f} h) with "
            f"{self.encoder.source} into {self.path}: {needed / 1e9:.2f} GB"
        )
        free = shutil.disk_usage(self.path).free
        if needed > free:
            raise UserError(
                f"{self.path} needs {needed / 1e9:.2f} GB, but its disk has "
                f"{free / 1e9:.2f} GB free; set feature_folder elsewhere."
            )

    def _write_shard(
        self, shard: dict, by_key: Mapping, device: str, bar: tqdm
    ) -> None:
        tensors: dict[str, list[torch.Tensor]] = {}
        for batch in shard["batches"]:
            rows = [by_key[k] for k in batch]
            for name, tensor in self._encode(rows, device):
                tensors.setdefault(name, []).append(tensor)
            bar.update(sum(r["duration"] for _, r in rows) / 3600)
        path = self.path / f"{shard['name']}.safetensors"
        stacked = {n: torch.stack(t) for n, t in sorted(tensors.items())}
        with whole_file(path) as temporary:
            save_file(stacked, temporary)

    def _encode(
        self, rows: Sequence[tuple[str, Mapping]], device: str
    ) -> Iterator[tuple[str, torch.Tensor]]:
        """Give each row's segment means and frame counts, row by row."""
        wavs = [load_audio(row["wav"]) for _, row in rows]
        lens = torch.tensor([len(w) for w in wavs])
        padded = torch.nn.utils.rnn.pad_sequence(wavs, batch_first=True)
        amp = PRECISIONS[self.settings["extract_precision"]]
        autocast = torch.autocast(
            torch.device(device).type, dtype=amp, enabled=amp is not None
        )
        try:
            with autocast:
                layers, frames = self.encoder(
                    padded.to(device), lens.to(device)
                )
        except UserError as error:  # too short
            raise UserError(f"{rows[lens.argmin()][0]}: {error}") from error
        dtype = DTYPES[self.settings["storage_dtype"]]
        for (utt_id, row), x, n in zip(rows, layers, frames, strict=True):
            spans, chunks = _spans(row), self.settings["time_chunks"]
            centres = self.encoder.frame_centres(int(n)) if spans else []
            phones = frame_classes(spans, centres)
            means = segment_means(x[:, :n], chunks, phones)
            for name, (values, count) in means.items():
                values = values.cpu().to(dtype)
                if not values.isfinite().all():
                    raise UserError(
                        f"{utt_id}: its features do not fit into {dtype}; set "
                        "storage_dtype: float32 and extract_precision: fp32, "
                        "or look at its audio."
                    )
                yield name, values
                yield f"{name}.frames", count.cpu().to(torch.int32)

    def rows(self, rows: Mapping[str, Mapping]) -> FeatureRows:
        """Features of the rows of a manifest, any subset of the store.

        Arguments
        ---------
        rows : Mapping[str, Mapping]
            Manifest rows by utterance id.

        Returns
        -------
        FeatureRows
            One entry a row, in the manifest's order.

        Raises
        ------
        UserError
            Rows whose features are not in the store.
        """
        wanted = {row_key(i, row): i for i, row in rows.items()}
        places: dict[str, tuple[_Shard, int]] = {}
        for planned in self._read_plan()["shards"]:
            keys = _keys(planned)
            if wanted.keys().isdisjoint(keys):
                continue
            shard = self._shard(planned["name"])
            if shard is not None:
                places.update({k: (shard, n) for n, k in enumerate(keys)})
        missing = [i for k, i in wanted.items() if k not in places]
        if missing:
            raise UserError(
                f"{len(missing)} of {len(wanted)} rows are not in the store "
                f"{self.path}, {missing[0]} the first: the manifest's audio "
                "or phones are not those encoded. Extract them first: "
                "python -m lam_sb extract <YAML>"
            )
        return FeatureRows([places[k] for k in wanted])

    def _shard(self, name: str) -> _Shard | None:
        """Open a shard, or None where there is none; remove a corrupt one."""
        path = self.path / f"{name}.safetensors"
        if name not in self._shards:
            if not path.exists():
                return None
            try:
                self._shards[name] = _Shard(path)
            except SafetensorError as error:
                logger.warning(f"{path} is corrupt ({error}): encoded anew.")
                path.unlink(missing_ok=True)
                return None
        return self._shards[name]

    def _read_plan(self) -> dict:
        path = self.path / "plan.json"
        if not path.exists():
            return {"shards": []}
        return json.loads(path.read_text(encoding="utf-8"))

    def _describe(self) -> None:
        """Write store.json: what the store was made with, in words."""
        path = self.path / "store.json"
        if not path.exists():
            encoder = {
                k: getattr(self.encoder, k)
                for k in ("source", "family", "num_layers", "dim")
            }
            write_json(path, {"encoder": encoder, "settings": self.settings})


@dataclass
class _Shard:
    """Memory-mapped tensors of one shard."""

    path: Path
    tensors: dict[str, torch.Tensor] = field(init=False)

    def __post_init__(self):
        with safe_open(self.path, "pt") as file:
            names = file.keys()
            self.tensors = {name: file.get_tensor(name) for name in names}

    def segment(
        self, name: str, position: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Values and number of frames of one row's segment."""
        if name in self.tensors:
            frames = self.tensors[f"{name}.frames"]
            return self.tensors[name][position], frames[position]
        shape, whole = PHONE_SEGMENTS[name], self.tensors["utterance"][position]
        frames = torch.zeros(shape, dtype=torch.int32)
        return whole.new_zeros(*shape, *whole.shape), frames


class FeatureRows:
    """Features of an ordered set of rows, read when asked for.

    Arguments
    ---------
    places : Sequence[tuple[_Shard, int]]
        Shard and position of each row.
    """

    def __init__(self, places: Sequence[tuple[_Shard, int]]):
        self.places = list(places)

    def __len__(self) -> int:
        return len(self.places)

    def gather(
        self,
        name: str,
        indices: Sequence[int],
        layers: Sequence[int] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Read one segment of some rows.

        Arguments
        ---------
        name : str
            ``utterance``, ``chunks``, ``vowels``, ``consonants`` or
            ``vowel_classes``.
        indices : Sequence[int]
            Positions n of the rows.
        layers : Sequence[int], optional
            Layer numbers, from 1; all by default.

        Returns
        -------
        values : torch.Tensor
            (n, L, D), or (n, K, L, D) for chunks and (n, 6, L, D) for vowel
            classes, in float32.
        frames : torch.Tensor
            (n,), (n, K) or (n, 6) number of frames; 0 masks a segment, as all
            phones of a row without any.
        """
        rows, frames = [], []
        picked = None if layers is None else [layer - 1 for layer in layers]
        for index in indices:
            shard, position = self.places[index]
            row, count = shard.segment(name, position)
            rows.append(row if picked is None else row[..., picked, :])
            frames.append(count)
        return torch.stack(rows).float(), torch.stack(frames)

    def count(self, name: str) -> int:
        """Count the rows that have a segment.

        Arguments
        ---------
        name : str
            As in `gather`.

        Returns
        -------
        int
            Rows with frames in it.
        """
        return sum(
            bool(shard.segment(name, position)[1].any())
            for shard, position in self.places
        )


def _spans(row: Mapping) -> list[list]:
    return phone_spans(row["phones"], row["phone_set"])


def _keys(shard: Mapping) -> list[str]:
    return [key for batch in shard["batches"] for key in batch]


def _seconds(shard: Mapping, by_key: Mapping) -> float:
    return sum(by_key[k][1]["duration"] for k in _keys(shard))


def _progress_bar(
    todo: Sequence[Mapping], by_key: Mapping, progress: bool
) -> tqdm:
    return tqdm(
        total=sum(_seconds(s, by_key) for s in todo) / 3600,
        unit="h of speech",
        disable=not progress,
        bar_format="{l_bar}{bar}| {n:.2f}/{total:.2f}{unit} "
        "[{elapsed}<{remaining}]",
    )


def _shard_name(batches: Sequence[Sequence[str]]) -> str:
    return hashlib.sha256(json.dumps(batches).encode()).hexdigest()[:16]


@contextlib.contextmanager
def _exact_matmul() -> Iterator[None]:
    """Switch TF32 off, which SpeechBrain switches on, and back after."""
    before = (
        torch.backends.cuda.matmul.allow_tf32,
        (torch.backends.cudnn.allow_tf32),
    )
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before[0]
        torch.backends.cudnn.allow_tf32 = before[1]
