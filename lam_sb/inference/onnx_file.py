"""What classifies the layers, as an ONNX file."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from lam_sb.errors import UserError
from lam_sb.inference.model import EmotionModel, VotingModel

NAME = "model.onnx"
INPUTS = ("layers", "mask")
TOLERANCE = 1e-4  # of a posterior, between PyTorch and onnxruntime
ROWS = (1, 2, 5)  # batches that are compared


def write_onnx(
    model: EmotionModel, folder: Path, chunks: int, num_layers: int, dim: int
) -> Path:
    """Write model.onnx, and compare it with the model.

    Its inputs are ``layers`` (B, K, L, D), float32, and ``mask`` (B, K), bool,
    as for `EmotionModel`; its output is ``posteriors`` (B, 4), float64; B is
    free. The encoder is not in it.

    Arguments
    ---------
    model : EmotionModel
        The model.
    folder : Path
        Gets the file.
    chunks, num_layers, dim : int
        K, L and D.

    Raises
    ------
    UserError
        An ensemble of scikit-learn, packages that are not installed, or a file
        whose posteriors are others.
    """
    if isinstance(model, VotingModel):
        raise UserError(
            "--onnx: an ensemble of scikit-learn is no network; leave it out."
        )
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  the exporter needs it
    except ImportError as error:
        raise UserError(
            f'--onnx needs {error.name}: pip install -e ".[onnx]"'
        ) from None
    path, shape = folder / NAME, (chunks, num_layers, dim)
    batch = torch.export.Dim("batch", min=1, max=2**16)
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            model,
            _example(2, *shape),
            dynamo=True,
            dynamic_shapes={"x": {0: batch}, "mask": {0: batch}},
            input_names=INPUTS,
            output_names=["posteriors"],
            verbose=False,
        )
        program.save(path)
        session = onnxruntime.InferenceSession(path)
        for rows in ROWS:
            x, mask = _example(rows, *shape)
            given = {"layers": x.numpy(), "mask": mask.numpy()}
            (found,) = session.run(None, given)
            if not np.allclose(found, model(x, mask), atol=TOLERANCE, rtol=0):
                path.unlink()
                raise UserError(
                    "--onnx: onnxruntime gives other posteriors than PyTorch; "
                    "leave it out, and report this with your versions."
                )
    return path


def _example(
    rows: int, chunks: int, num_layers: int, dim: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Random layers, and in a row only the first chunk with frames."""
    generator = torch.Generator().manual_seed(rows)
    x = torch.randn(rows, chunks, num_layers, dim, generator=generator)
    mask = torch.ones(rows, chunks, dtype=torch.bool)
    mask[0, 1:] = False
    return x, mask


@contextmanager
def _quiet() -> Iterator[None]:
    """Export attention as it is written, without fused kernels or warnings."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
