"""Reading features from the shards of a store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from lam_sb.features.segments import PHONE_SEGMENTS

Shard = dict[str, torch.Tensor]  # memory-mapped tensors of one file


class FeatureRows:
    """Features of an ordered set of rows, read when asked for.

    Arguments
    ---------
    locations : Sequence[tuple[Shard, int]]
        Shard and position of each row.
    keys : Sequence[str]
        Identity of each row's features, `lam_sb.features.plan.row_key`.
    """

    def __init__(
        self,
        locations: Sequence[tuple[Shard, int]],
        keys: Sequence[str] = (),
    ):
        self.locations = list(locations)
        self.keys = list(keys)
        self.device = torch.device("cpu")  # where `fill` writes
        self._frames: dict[str, torch.Tensor] = {}
        self._held: dict[tuple, torch.Tensor] = {}  # see `hold`
        self._slots = torch.empty(0, dtype=torch.long)

    def __len__(self) -> int:
        return len(self.locations)

    def move(self, device: torch.device) -> None:
        """Let `fill` write, and `frames` lie, on a device."""
        self.device = device
        self._frames = {n: f.to(device) for n, f in self._frames.items()}

    def shape(
        self, name: str, layers: Sequence[int] | None = None
    ) -> torch.Size:
        """Shape (K, M, D) of a row's segment; K is 1 for a single vector."""
        return _read(*self.locations[0], name, layers).shape

    def frames(
        self, name: str, indices: Sequence[int] | None = None
    ) -> torch.Tensor:
        """Count the frames (n, K) of some rows, or all; 0 masks a segment.

        As all segments of phones of a row without any.
        """
        if name not in self._frames:
            rows = [_count_frames(*place, name) for place in self.locations]
            frames = torch.stack(rows).reshape(len(rows), -1)
            self._frames[name] = frames.to(self.device)
        if indices is None:
            return self._frames[name]
        return self._frames[name][self._on_device(torch.tensor(indices))]

    def _on_device(self, index: torch.Tensor) -> torch.Tensor:
        """Copy an index there, without waiting for the device's work."""
        return index.to(self.device, non_blocking=True)

    def fill(
        self,
        out: torch.Tensor,
        name: str,
        indices: Sequence[int],
        layers: Sequence[int] | None = None,
    ) -> None:
        """Read one segment of some rows.

        Arguments
        ---------
        out : torch.Tensor
            (n, K, M, D) float32 on ``device``, is written over.
        name : str
            ``utterance``, ``chunks``, ``vowels``, ``consonants`` or
            ``vowel_classes``.
        indices : Sequence[int]
            Positions n of the rows.
        layers : Sequence[int], optional
            Layer numbers, from 1; all by default.
        """
        held = self._held.get(_request(name, layers))
        if held is None:
            for row, index in zip(out, indices, strict=True):
                row.copy_(_read(*self.locations[index], name, layers))
            return
        slots = self._slots[list(indices)]
        if held.is_cuda:
            out.copy_(held[self._on_device(slots)])
            return
        for row, slot in zip(out, slots.tolist(), strict=True):
            row.copy_(held[slot])

    def gather(
        self,
        name: str,
        indices: Sequence[int],
        layers: Sequence[int] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Give one segment of some rows, as `fill` reads it, and its frames.

        Returns
        -------
        values : torch.Tensor
            (n, L, D), or (n, K, L, D) for chunks and (n, 6, L, D) for vowel
            classes, in float32.
        frames : torch.Tensor
            (n,), (n, K) or (n, 6).
        """
        shape = len(indices), *self.shape(name, layers)
        values = torch.empty(shape, device=self.device)
        self.fill(values, name, indices, layers)
        frames = self.frames(name, indices)
        if name in ("chunks", "vowel_classes"):
            return values, frames
        return values[:, 0], frames[:, 0]

    def count(self, name: str) -> int:
        """Count the rows that have frames in a segment."""
        return int(self.frames(name).any(1).sum())


def hold(
    parts: Iterable[FeatureRows],
    names: Iterable[str],
    layers: Sequence[int],
    device: str | torch.device,
) -> None:
    """Copy some segments and layers into a tensor that the parts share.

    They are read from there afterwards. Rows of several parts are held once.

    Arguments
    ---------
    parts : Iterable[FeatureRows]
        Rows of one store.
    names : Iterable[str]
        Segments; a tensor each.
    layers : Sequence[int]
        Layer numbers, from 1.
    device : str | torch.device
        Where the tensors lie.
    """
    parts = list(parts)
    places = _distinct(parts)
    slots = {key: slot for slot, key in enumerate(places)}
    for part in parts:
        part._slots = torch.tensor([slots[_key(p)] for p in part.locations])
    for name in names:
        first = _read(*next(iter(places.values())), name, layers)
        held = first.new_empty(len(places), *first.shape, device=device)
        for row, place in zip(held, places.values(), strict=True):
            row.copy_(_read(*place, name, layers))
        for part in parts:
            part._held[_request(name, layers)] = held


def held_bytes(
    parts: Iterable[FeatureRows], names: Iterable[str], layers: Sequence[int]
) -> int:
    """Bytes that `hold` would take."""
    places = _distinct(parts)
    shard, position = next(iter(places.values()))
    rows = [_read(shard, position, name, layers) for name in names]
    return len(places) * sum(r.numel() * r.element_size() for r in rows)


def _key(place: tuple[Shard, int]) -> tuple[int, int]:
    return id(place[0]), place[1]


def _distinct(parts: Iterable[FeatureRows]) -> dict[tuple, tuple[Shard, int]]:
    """Places of the rows of all parts, each once, shard by shard."""
    places = {_key(place): place for part in parts for place in part.locations}
    return dict(sorted(places.items(), key=lambda item: item[0]))


def _request(name: str, layers: Sequence[int] | None) -> tuple:
    return name, None if layers is None else tuple(layers)


def _read(
    shard: Shard, position: int, name: str, layers: Sequence[int] | None
) -> torch.Tensor:
    """Values (K, M, D) of one row's segment; zeros without phones."""
    if name in shard:
        values = shard[name][position]
    else:
        whole = shard["utterance"][position]
        values = whole.new_zeros(*PHONE_SEGMENTS[name], *whole.shape)
    if values.ndim == 2:
        values = values[None]
    if layers is None or list(layers) == list(range(1, values.shape[1] + 1)):
        return values
    return values[:, [layer - 1 for layer in layers]]


def _count_frames(shard: Shard, position: int, name: str) -> torch.Tensor:
    if name in shard:
        return shard[f"{name}.frames"][position]
    return torch.zeros(PHONE_SEGMENTS[name], dtype=torch.int32)
