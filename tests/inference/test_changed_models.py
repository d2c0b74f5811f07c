"""Models and runs whose files were changed, and exports that were killed."""

from __future__ import annotations

from pathlib import Path

import pytest
from models import export, finished_run, load
from speechbrain.utils.fetching import LocalStrategy

from lam_sb.__main__ import main
from lam_sb.errors import UserError
from lam_sb.files import one_writer
from lam_sb.inference import EmotionClassifier
from lam_sb.tensors import opened_tensors, save_tensors


@pytest.fixture
def run(train_on, three, tmp_path):
    return finished_run(train_on, three, tmp_path)


def load_changed(folder, wavlm, place, name, before, after):
    """Load a model, one of whose files was changed, there or in its copy."""
    given = {"source": folder, "overrides": {"encoder_source": str(wavlm)}}
    if place == "copied":
        given |= {"savedir": f"{folder}_copy"}
        given["local_strategy"] = LocalStrategy.COPY
        EmotionClassifier.from_hparams(**given)
        folder = Path(given["savedir"])
        name = name.replace(".txt", ".ckpt")  # as SpeechBrain calls them
    text = (folder / name).read_text()
    assert before in text
    (folder / name).write_text(text.replace(before, after))
    EmotionClassifier.from_hparams(**given)


@pytest.mark.parametrize("place", ["there", "copied"])
@pytest.mark.parametrize(
    ("name", "before", "after", "message"),
    [
        ("hyperparams.yaml", "num_heads: 2", "num_heads: 4", "num_heads is 4"),
        (
            *("hyperparams.yaml", "temperatures: [1.0]", "temperatures: [3.0]"),
            r"temperatures is \[3.0\], but the model was exported with \[1.0\]",
        ),
        ("hyperparams.yaml", "normalise: domain", "normalise: x", "normalise"),
        ("label_encoder.txt", "'happy'", "'glad'", "label_encoder.txt names"),
    ],
)
def test_a_file_that_was_changed_since_is_refused(
    place, name, before, after, message, run, wavlm, tmp_path
):
    folder = export(tmp_path, run)
    with pytest.raises(UserError, match=f"^{message}"):
        load_changed(folder, wavlm, place, name, before, after)


def test_line_ends_and_comments_may_change(run, wavlm, tmp_path):
    folder = export(tmp_path, run)
    path = folder / "hyperparams.yaml"
    text = "# Mine.\n" + path.read_text().replace("\n", "  # so\n", 1)
    path.write_bytes(text.replace("\n", "\r\n").encode())
    load(folder, wavlm)


def test_a_model_of_before_is_to_be_exported_again(run, wavlm, tmp_path):
    path = export(tmp_path, run) / "model.safetensors"
    with opened_tensors(path) as file:
        tensors, content = file.tensors(), file.content
    save_tensors(path, tensors, {k: content[k] for k in content if "/" in k})
    with pytest.raises(UserError, match=r"is of an older lam_sb: export it ag"):
        load(path.parent, wavlm)


def test_a_run_is_exported_as_it_was_tested(run, wavlm, tmp_path):
    """Whatever has become of its hyperparams.yaml."""
    before = export(tmp_path / "one", run)
    (run / "hyperparams.yaml").write_bytes(b"\xff num_heads: 4")
    (run / "settings.yaml").touch()
    after = export(tmp_path / "two", run)
    for path in before.iterdir():
        assert path.read_bytes() == (after / path.name).read_bytes(), path.name
    load(after, wavlm)


def test_what_a_killed_export_left_goes(run, tmp_path):
    left = tmp_path / ".exported.lam_sb.tmp"
    others = [tmp_path / ".exported.v2.lam_sb.tmp", tmp_path / ".exported.tmp"]
    for folder in (left, *others):
        folder.mkdir()
        (folder / "hyperparams.yaml").write_text("half")
    export(tmp_path, run)
    assert not left.exists()
    assert all(folder.exists() for folder in others)
    assert not list(tmp_path.glob("*.lock"))


def test_one_export_at_a_time_writes_a_folder(run, tmp_path):
    message = "Another command is writing"
    with (
        one_writer(tmp_path / "exported"),
        pytest.raises(UserError, match=message),
    ):
        export(tmp_path, run)


def test_a_name_may_be_relative(run, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    main(["export", str(run), "."])
    assert (tmp_path / "here/model.safetensors").is_file()
