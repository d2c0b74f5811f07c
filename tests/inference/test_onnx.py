"""model.onnx: the same posteriors as the model's."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from models import export, load, posteriors_of

from lam_sb.errors import UserError
from lam_sb.features.audio import load_audio
from lam_sb.inference import onnx_file


def test_it_gives_what_the_run_was_tested_with(
    train_on, three, wavlm, tmp_path
):
    keys = {"storage_dtype": "float32", "num_blocks": 1}
    keys["average_last_steps"] = 1  # one epoch: exporting takes seconds each
    run = train_on("left", "right", "few_shot", target_shots=0, **keys)
    folder = export(tmp_path, run, onnx="True")
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    model, known = load(folder, wavlm), posteriors_of(run, three, "right")
    wavs = [load_audio(path) for path in known]
    x, mask = model.encode(wavs, list(known))
    given = {"layers": x.numpy(), "mask": mask.numpy()}
    (found,) = session.run(["posteriors"], given)
    assert np.abs(found - np.stack(list(known.values()))).max() < 1e-5


def test_a_file_that_differs_is_not_left(
    train_on, wavlm, tmp_path, monkeypatch
):
    run = train_on("left", "right", num_blocks=1, average_last_steps=1)
    forward = onnx_file.EmotionModel.forward

    def other(self, x, mask):
        return forward(self, x, mask) + (not torch.compiler.is_exporting())

    monkeypatch.setattr(onnx_file.EmotionModel, "forward", other)
    with pytest.raises(UserError, match="other posteriors than PyTorch"):
        export(tmp_path, run, onnx="True")
    assert not (tmp_path / "exported").exists()


def test_an_ensemble_is_none(train_on, tmp_path):
    run = train_on("left", "right", "ensemble")
    with pytest.raises(UserError, match="ensemble of scikit-learn is no netw"):
        export(tmp_path, run, onnx="True")
