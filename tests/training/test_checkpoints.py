"""Checkpoints that count are complete, whenever a run was killed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from speechbrain.utils.checkpoints import METAFNAME

from lam_sb.errors import UserError
from lam_sb.training.checkpoints import CHECKSUMS, SafeCheckpointer


class Killed(Exception):
    """Stands for the end of the process."""


class Fragile:
    """A recoverable whose saver can be told to fail."""

    def __init__(self):
        self.fails = False
        self.seen: list[set[str]] = []

    def save(self, path: Path) -> None:
        """Save nothing, but note what lies there already."""
        self.seen.append({p.name for p in path.parent.iterdir()})
        if self.fails:
            raise Killed
        path.write_text("saved")


@pytest.fixture
def model() -> torch.nn.Linear:
    return torch.nn.Linear(1, 1)


@pytest.fixture
def fragile() -> Fragile:
    return Fragile()


@pytest.fixture
def checkpointer(tmp_path, model, fragile) -> SafeCheckpointer:
    return make_checkpointer(tmp_path, model, fragile)


def make_checkpointer(folder: Path, model, fragile) -> SafeCheckpointer:
    return SafeCheckpointer(
        folder,
        {"model": model, "fragile": fragile},
        custom_save_hooks={"fragile": lambda obj, path: obj.save(path)},
        custom_load_hooks={"fragile": lambda obj, path, end: None},
    )


def save(checkpointer: SafeCheckpointer, weight: float, **options):
    torch.nn.init.constant_(checkpointer.recoverables["model"].weight, weight)
    meta = {"loss": weight, **options.pop("meta", {})}
    return checkpointer.save_checkpoint(meta=meta, **options)


def save_and_die(checkpointer: SafeCheckpointer, weight: float, **options):
    fragile = checkpointer.recoverables["fragile"]
    fragile.fails = True
    with pytest.raises(Killed):
        save(checkpointer, weight, **options)
    fragile.fails = False


def folders(path: Path) -> list[str]:
    return sorted(p.name for p in path.iterdir() if p.is_dir())


def test_a_checkpoint_brings_back_what_was_saved(checkpointer, model):
    save(checkpointer, 3.0)
    torch.nn.init.constant_(model.weight, 7.0)
    assert checkpointer.recover_if_possible().meta["loss"] == 3.0
    assert model.weight.item() == 3.0


def test_the_meta_file_comes_last(checkpointer, fragile):
    checkpoint = save(checkpointer, 1.0)
    assert METAFNAME not in fragile.seen[0]
    assert "model.ckpt" in fragile.seen[0]
    names = sorted(p.name for p in Path(checkpoint.path).iterdir())
    assert names == [METAFNAME, CHECKSUMS, "fragile.ckpt", "model.ckpt"]


def test_a_run_killed_while_saving_resumes_from_the_one_before(
    checkpointer, model, fragile, tmp_path
):
    save(checkpointer, 1.0)
    save_and_die(checkpointer, 2.0)
    assert len(folders(tmp_path)) == 2
    again = make_checkpointer(tmp_path, model, fragile)
    assert len(again.list_checkpoints()) == 1
    assert again.recover_if_possible().meta["loss"] == 1.0
    assert model.weight.item() == 1.0


def test_a_run_killed_in_its_first_save_starts_anew(
    checkpointer, model, fragile, tmp_path
):
    save_and_die(checkpointer, 2.0)
    again = make_checkpointer(tmp_path, model, fragile)
    assert again.find_checkpoint() is None
    assert again.recover_if_possible() is None
    assert model.weight.item() == 2.0


def test_the_next_save_removes_the_leftover(checkpointer, tmp_path):
    first = save(checkpointer, 1.0)
    save_and_die(checkpointer, 2.0)
    second = save(checkpointer, 3.0)
    left = sorted([Path(first.path).name, Path(second.path).name])
    assert folders(tmp_path) == left
    assert checkpointer.find_checkpoint().meta["loss"] == 3.0


def test_a_leftover_is_removed_alone(checkpointer, tmp_path):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/00001.safetensors").write_text("w")
    (tmp_path / "CKPT-notes.txt").write_text("n")
    save_and_die(checkpointer, 2.0)
    save(checkpointer, 3.0)
    assert (tmp_path / "weights/00001.safetensors").read_text() == "w"
    assert (tmp_path / "CKPT-notes.txt").read_text() == "n"
    assert len(folders(tmp_path)) == 2


def test_a_named_checkpoint_half_written_over_does_not_count(checkpointer):
    save(checkpointer, 1.0)
    save(checkpointer, 2.0, name="best")
    save_and_die(checkpointer, 3.0, name="best")
    assert [c.meta["loss"] for c in checkpointer.list_checkpoints()] == [1.0]


def test_a_named_checkpoint_can_be_written_over(checkpointer, model):
    for weight in (1.0, 2.0):
        save(checkpointer, weight, name="best")
    assert len(checkpointer.list_checkpoints()) == 1
    torch.nn.init.zeros_(model.weight)
    assert checkpointer.recover_if_possible().meta["loss"] == 2.0
    assert model.weight.item() == 2.0


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (torch.tensor(0.5), 0.5),
        (torch.tensor(3), 3),
        (np.float32(0.25), 0.25),
        (np.float64(0.1), 0.1),
        (np.int64(7), 7),
        (np.array(1.5), 1.5),
        (np.bool_(True), True),
        (2.5, 2.5),
        ("text", "text"),
        (None, None),
        ([1, 2], [1, 2]),
    ],
)
def test_scalars_in_the_meta_are_read_back_as_plain_values(
    value, plain, checkpointer
):
    save(checkpointer, 1.0, meta={"value": value})
    found = checkpointer.find_checkpoint().meta["value"]
    assert found == plain
    assert type(found) is type(plain)


def test_the_meta_says_when_and_whether_an_epoch_ended(checkpointer):
    checkpoint = save(checkpointer, 1.0, end_of_epoch=False)
    meta = yaml.safe_load((Path(checkpoint.path) / METAFNAME).read_text())
    assert meta["end-of-epoch"] is False
    assert meta == checkpointer.find_checkpoint().meta == checkpoint.meta
    assert isinstance(meta["unixtime"], float)


def test_a_meta_that_cannot_be_read_back_fails_while_saving(checkpointer):
    save(checkpointer, 1.0)
    for value in (torch.ones(2), [torch.tensor(1)]):
        with pytest.raises(
            (RuntimeError, yaml.YAMLError), match=r"Tensor|represent"
        ):
            save(checkpointer, 2.0, meta={"value": value})
    assert [c.meta["loss"] for c in checkpointer.list_checkpoints()] == [1.0]


def test_the_best_by_a_tensor_is_found(checkpointer):
    for loss in (0.5, 0.25, 0.75):
        save(checkpointer, loss, meta={"valid": torch.tensor(loss)})
    assert checkpointer.find_checkpoint(min_key="valid").meta["loss"] == 0.25
    assert checkpointer.find_checkpoint(max_key="valid").meta["loss"] == 0.75


def test_old_checkpoints_are_deleted(checkpointer, tmp_path):
    for weight in (1.0, 2.0, 3.0):
        torch.nn.init.constant_(
            checkpointer.recoverables["model"].weight, weight
        )
        checkpointer.save_and_keep_only(meta={"loss": weight}, num_to_keep=1)
        assert len(folders(tmp_path)) == 1
        assert checkpointer.find_checkpoint().meta["loss"] == weight


def test_the_best_is_kept_beside_the_newest(checkpointer):
    for loss in (0.5, 0.25, 0.75, 1.0):
        checkpointer.save_and_keep_only(
            meta={"loss": torch.tensor(loss)},
            num_to_keep=1,
            min_keys=["loss"],
        )
    left = [c.meta["loss"] for c in checkpointer.list_checkpoints()]
    assert sorted(left) == [0.25, 1.0]


def test_a_checkpoint_half_deleted_does_no_harm(checkpointer, model):
    old = save(checkpointer, 1.0)
    save(checkpointer, 2.0)
    (Path(old.path) / "model.ckpt").unlink()
    assert checkpointer.recover_if_possible().meta["loss"] == 2.0
    assert model.weight.item() == 2.0
    checkpointer.save_and_keep_only(meta={"loss": 3.0}, num_to_keep=1)
    assert [c.meta["loss"] for c in checkpointer.list_checkpoints()] == [3.0]


def test_a_late_save_looks_for_checkpoints_as_often_as_an_early_one(
    model, tmp_path, monkeypatch
):
    looked = []
    find = SafeCheckpointer.list_checkpoints
    monkeypatch.setattr(
        SafeCheckpointer,
        "list_checkpoints",
        lambda self: looked.append(1) or find(self),
    )
    checkpointer = SafeCheckpointer(tmp_path, {"model": model})
    counts = []
    for epoch in range(5):
        looked.clear()
        checkpointer.save_and_keep_only(meta={"loss": epoch}, num_to_keep=1)
        counts.append(len(looked))
        assert [c.meta["loss"] for c in find(checkpointer)] == [epoch]
    assert counts[-1] == counts[0] > 0


def test_a_full_disk_is_said_in_a_sentence(model, tmp_path, monkeypatch):
    def full(*args):
        raise RuntimeError("unexpected pos 64 vs 0\nException raised from ...")

    checkpointer = SafeCheckpointer(tmp_path, {"model": model})
    checkpointer.save_checkpoint()
    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(UserError, match=r"vs 0\). Is the disk full\?"):
        checkpointer.save_checkpoint()
    assert len(checkpointer.list_checkpoints()) == 1


def test_files_of_others_beside_a_checkpoint_are_no_damage(
    checkpointer, model, fragile, tmp_path
):
    checkpoint = save(checkpointer, 1.0)
    (Path(checkpoint.path) / ".DS_Store").write_text("of a file browser")
    again = make_checkpointer(tmp_path, model, fragile)
    assert again.recover_if_possible().meta["loss"] == 1.0
