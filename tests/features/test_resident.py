"""Features that a run holds, and where."""

from __future__ import annotations

import pytest
import torch

from lam_sb.errors import UserError
from lam_sb.features import resident
from lam_sb.features.resident import free_memory, place_features
from lam_sb.features.shards import FeatureRows, held_bytes, hold

LAYERS, DIM = 4, 3


def shard(seed: int, rows: int, phones: bool) -> dict[str, torch.Tensor]:
    """Shard of a store, with alignments or without."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"chunks": (2,), "utterance": ()}
    if phones:
        shapes |= {"vowels": (), "vowel_classes": (6,)}
    tensors = {}
    for name, shape in shapes.items():
        values = torch.randn(rows, *shape, LAYERS, DIM, generator=generator)
        tensors[name] = values.half()
        frames = torch.ones(rows, *shape, dtype=torch.int32)
        tensors[f"{name}.frames"] = frames
    return tensors


@pytest.fixture
def parts() -> list[FeatureRows]:
    """Two parts of a store that share a row."""
    first, second = shard(0, 3, phones=True), shard(1, 4, phones=False)
    one = FeatureRows([(second, 2), (first, 0), (second, 0)])
    two = FeatureRows([(first, 2), (second, 2)])
    return [one, two]


def read(part: FeatureRows, name: str, layers) -> torch.Tensor:
    out = torch.empty(2, *part.shape(name, layers))
    part.fill(out, name, [1, 0], layers)
    return out


@pytest.mark.parametrize("layers", [[1, 2, 3, 4], [4, 2]])
@pytest.mark.parametrize("name", ["chunks", "utterance", "vowel_classes"])
def test_rows_that_are_held_are_those_of_the_store(parts, name, layers):
    before = [read(part, name, layers) for part in parts]
    place = place_features(parts, [name], layers, "memory", "cpu")
    assert place == "memory"
    for part in parts:
        for tensors, _ in part.locations:
            tensors.clear()  # nothing is read from there
    for part, expected in zip(parts, before, strict=True):
        part.shape = lambda name, layers, shape=expected.shape: shape[1:]
        assert torch.equal(read(part, name, layers), expected)


def test_a_row_of_two_parts_is_held_once(parts):
    hold(parts, ["chunks", "vowels"], [2], "cpu")
    held = parts[0]._held
    assert held.keys() == {("chunks", (2,)), ("vowels", (2,))}
    assert held["chunks", (2,)].shape == (4, 2, 1, DIM)
    assert held["chunks", (2,)].dtype == torch.float16
    assert held["chunks", (2,)] is parts[1]._held["chunks", (2,)]
    size = sum(values.numel() * 2 for values in held.values())
    assert held_bytes(parts, ["chunks", "vowels"], [2]) == size


def test_on_disk_nothing_is_held(parts):
    assert place_features(parts, ["chunks"], [1], "disk", "cpu") == "disk"
    assert not parts[0]._held


def test_auto_takes_memory_as_long_as_three_quarters_stay_free(
    parts, monkeypatch
):
    size = held_bytes(parts, ["chunks"], [1, 3])
    for free, place in ((4 * size, "memory"), (4 * size - 1, "disk")):
        monkeypatch.setattr(resident, "free_memory", lambda n=free: n)
        assert place == place_features(parts, ["chunks"], [1, 3], "auto", "cpu")


def test_a_place_that_is_not_there_or_too_small_is_named(parts, monkeypatch):
    with pytest.raises(UserError, match="run is on cpu; use --features_on"):
        place_features(parts, ["chunks"], [1], "gpu", "cpu")

    def full(*_):
        raise RuntimeError("can't allocate memory")

    monkeypatch.setattr(resident, "hold", full)
    message = r"memory has no room for 0\.00 GB; use --features_on disk"
    with pytest.raises(UserError, match=message):
        place_features(parts, ["chunks"], [1], "memory", "cpu")


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, 5000 * 1024),
        ({"job": "max", "job/step": "2048000"}, 2048000),
        ({"job": "1024", "job/step": "2048000"}, 1024),
        ({"job/step": "999999999"}, 5000 * 1024),
    ],
)
def test_a_jobs_own_limit_counts(limits, expected, tmp_path):
    proc, groups = tmp_path / "proc", tmp_path / "groups"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text(
        "MemTotal:  9000 kB\nMemAvailable:   5000 kB\n"
    )
    (proc / "self" / "cgroup").write_text("4:memory:/old\n0::/job/step\n")
    for name, limit in limits.items():
        (groups / name).mkdir(parents=True, exist_ok=True)
        (groups / name / "memory.max").write_text(limit + "\n")
    assert free_memory(proc, groups) == expected


def test_all_that_was_read_moves_with_the_rows(parts):
    parts[1].frames("chunks")
    for part in parts:
        part.move(torch.device("meta"))  # stands for a GPU
        assert part.frames("chunks").device.type == "meta"
        assert part.frames("vowels").device.type == "meta"
