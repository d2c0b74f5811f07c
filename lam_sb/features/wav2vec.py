"""wav2vec 2.0, HuBERT and WavLM, whose layers do not depend on the padding."""

from __future__ import annotations

from collections.abc import Callable

import torch
from speechbrain.dataio.dataio import length_to_mask
from torch import nn


class RowGroupNorm(nn.GroupNorm):
    """The group norm of a convolutional front end, over each row's own frames.

    wav2vec 2.0's first convolution is followed by a norm of each channel over
    time; taken over a padded row it would depend on the padding, and with it
    every feature of the utterance.
    """

    frames: torch.Tensor  # (B,), set before each forward

    @classmethod
    def replace_first(cls, conv_layer: nn.Module) -> None:
        """Put this norm in the place of a channel-wise GroupNorm."""
        old = getattr(conv_layer, "layer_norm", None)
        if isinstance(old, nn.GroupNorm):
            new = cls(old.num_groups, old.num_channels, old.eps)
            new.load_state_dict(old.state_dict())
            conv_layer.layer_norm = new

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise x (B, C, T) over each row's first ``frames`` frames."""
        inside = length_to_mask(self.frames, x.shape[2], torch.bool)[:, None]
        count = self.frames[:, None, None]
        mean = (x * inside).sum(-1, keepdim=True) / count
        centred = (x - mean) * inside
        variance = centred.square().sum(-1, keepdim=True) / count
        normed = centred * torch.rsqrt(variance + self.eps)
        return normed * self.weight[:, None] + self.bias[:, None]


def encode(
    model: nn.Module,
    wavs: torch.Tensor,
    lens: torch.Tensor,
    standardise: bool,
    final_norm: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Encode a batch, as `FrozenEncoder.forward`.

    The model's first norm is a `RowGroupNorm`; ``standardise`` is the
    checkpoint's ``do_normalize``.
    """
    frames = frame_counts(model.config, lens)
    if frames.min() < 1:
        return wavs, frames
    inside = length_to_mask(lens, wavs.shape[1], torch.bool)
    if standardise:
        wavs = _standardise_rows(wavs, lens, inside)
    first = model.feature_extractor.conv_layers[0]
    norm = getattr(first, "layer_norm", None)
    if isinstance(norm, RowGroupNorm):
        kernel, stride = first.conv.kernel_size[0], first.conv.stride[0]
        norm.frames = (lens - kernel) // stride + 1
    outputs: list[torch.Tensor] = []
    hooks = [
        block.register_forward_hook(
            lambda _block, _inputs, out: outputs.append(
                out[0] if isinstance(out, tuple) else out
            )
        )
        for block in model.encoder.layers
    ]
    position = model.encoder.pos_conv_embed.conv
    hooks.append(position.register_forward_pre_hook(_zeroing(frames)))
    try:
        model(wavs, attention_mask=inside.long())
    finally:
        for hook in hooks:
            hook.remove()
    if final_norm and model.config.do_stable_layer_norm:
        outputs[-1] = model.encoder.layer_norm(outputs[-1])
    return torch.stack(outputs, dim=1).float(), frames


def frame_counts(config: object, samples: torch.Tensor) -> torch.Tensor:
    """Count the frames that the transformer's blocks see of so many samples.

    Transformers' own count may be that of an adapter behind the blocks.
    """
    for kernel, stride in zip(
        config.conv_kernel, config.conv_stride, strict=True
    ):
        samples = (samples - kernel) // stride + 1
    return samples


def frame_geometry(config: object) -> tuple[int, int]:
    """Give the samples between two frames, and those that a frame sees."""
    shift = width = 1
    for kernel, stride in zip(
        config.conv_kernel, config.conv_stride, strict=True
    ):
        width += (kernel - 1) * shift
        shift *= stride
    return shift, width


def _standardise_rows(
    wavs: torch.Tensor, lens: torch.Tensor, inside: torch.Tensor
) -> torch.Tensor:
    """Zero mean, unit variance over each row's own samples."""
    mean = wavs.sum(1, keepdim=True) / lens[:, None]
    centred = (wavs - mean) * inside
    variance = centred.square().sum(1, keepdim=True) / lens[:, None]
    return centred * torch.rsqrt(variance + 1e-7)


def _zeroing(frames: torch.Tensor) -> Callable:
    """Give a hook that zeroes a module's input (B, C, T) after each row's end.

    A batch norm before the positional convolution (some HuBERTs have one)
    shifts the zeros that transformers puts there.
    """

    def hook(_module: nn.Module, inputs: tuple) -> torch.Tensor:
        (x,) = inputs
        return x * length_to_mask(frames, x.shape[2], torch.bool)[:, None]

    return hook
