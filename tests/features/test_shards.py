from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from stores import (
    extract,
    fresh,
    make_store,
    shard_files,
    spoken,
    visible_files,
)

pytestmark = pytest.mark.usefixtures("small_shards")


def test_gather_keeps_the_order_of_the_rows_and_counts_layers_from_1(
    unbroken, clips
):
    order = list(clips)[::-1]
    kept = unbroken.rows({i: clips[i] for i in order})
    backwards, frames = kept.gather("utterance", range(12))
    forwards, expected = unbroken.rows(clips).gather("utterance", range(12))
    assert torch.equal(backwards, forwards.flip(0))
    assert torch.equal(frames, expected.flip(0))
    assert len(frames.unique()) > 6

    picked, counts = kept.gather("utterance", [7, 0, 7], layers=[4, 1])
    assert torch.equal(picked, backwards[[7, 0, 7]][:, [3, 0]])
    assert torch.equal(counts, frames[[7, 0, 7]])
    chunks, counts = kept.gather("chunks", [7, 0], layers=[2])
    every, _ = kept.gather("chunks", [7, 0])
    assert torch.equal(chunks, every[:, :, [1]])
    assert chunks.shape == (2, 8, 1, 32)
    assert counts.shape == (2, 8)


def test_rows_without_phones_are_masked_beside_others(encoder, clips, tmp_path):
    rows = dict(list(clips.items())[:3])
    pairs = zip(rows.items(), spoken(rows).items(), strict=True)
    both = dict(row for pair in pairs for row in pair)
    store = make_store(tmp_path, encoder)
    extract(store, both)
    kept = store.rows(both)
    for segment, shape in (
        ("vowels", ()),
        ("consonants", ()),
        ("vowel_classes", (6,)),
    ):
        values, frames = kept.gather(segment, range(6))
        assert values.shape == (6, *shape, 4, 32)
        assert values.dtype == torch.float32
        assert frames.shape == (6, *shape)
        assert not frames[::2].any()
        assert not values[::2].any()
        assert (frames[1::2].reshape(3, -1).sum(1) > 0).all()
        picked, counts = kept.gather(segment, [1, 0], layers=[4, 2])
        assert torch.equal(picked, values[[1, 0]][..., [3, 1], :])
        assert torch.equal(counts, frames[[1, 0]])


def test_an_unknown_segment_is_an_error(unbroken, clips):
    with pytest.raises(KeyError, match="vowel"):
        unbroken.rows(clips).gather("vowel", [0])


def test_rows_with_phones_lie_in_shards_of_their_own(unbroken, clips, tmp_path):
    store = make_store(tmp_path, unbroken.encoder)
    extract(store, spoken(clips) | clips)
    files = shard_files(store)
    # Those without phones are the same as alone, byte by byte.
    alone = shard_files(unbroken)
    assert alone.items() < files.items()
    whole = {"utterance", "chunks"}
    of_phones = {"vowels", "consonants", "vowel_classes"}
    for name in files:
        tensors = load_file(store.path / name)
        segments = {n.removesuffix(".frames") for n in tensors}
        assert segments == (whole if name in alone else whole | of_phones)
        assert len(tensors) == 2 * len(segments)
    assert visible_files(store)["store.json"] == (
        (unbroken.path / "store.json").read_bytes()
    )
    # Both kinds are read again without encoding.
    extract(fresh(store), clips | spoken(clips))
    assert shard_files(store) == files
