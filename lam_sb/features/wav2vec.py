"""wav2vec 2.0, HuBERT and WavLM, whose layers do not depend on the padding."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from speechbrain.dataio.dataio import length_to_mask
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrize


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
        """Normalise x (B, C, T), in place, by each row's first ``frames``.

        A row at a time, which the cache of a CPU holds (the model has no larger
        tensor); all at once on a GPU, which starts a few large kernels sooner
        than many small ones. Statistics are in float32.
        """
        if x.is_cuda:
            return self._normalise_together(x)
        weight, bias = self.weight[:, None], self.bias[:, None]
        for row, count in zip(x, self.frames.tolist(), strict=True):
            own = row[:, :count]
            row.sub_(own.mean(1, keepdim=True, dtype=torch.float32))
            norms = torch.linalg.vector_norm(
                own, dim=1, keepdim=True, dtype=torch.float32
            )
            row.mul_(weight * torch.rsqrt(norms**2 / count + self.eps))
            row.add_(bias)
        return x

    def _normalise_together(self, x: torch.Tensor) -> torch.Tensor:
        count = self.frames[:, None, None]
        padding = torch.arange(x.shape[2], device=x.device) >= count
        total = x.masked_fill_(padding, 0).sum(2, True, dtype=torch.float32)
        x.sub_(total / count).masked_fill_(padding, 0)
        norms = torch.linalg.vector_norm(
            x, dim=2, keepdim=True, dtype=torch.float32
        )
        x.mul_(self.weight[:, None] * torch.rsqrt(norms**2 / count + self.eps))
        return x.add_(self.bias[:, None])


class PositionConv1d(nn.Conv1d):
    """The wide convolution that gives positions; on a GPU by Fourier transform.

    cuDNN has no fast kernel for its 128 taps in 16 groups: on an H200 it took
    7 to 16 times as long (0.9 against 6.8 ms in float32 and 15.5 in bfloat16,
    for 54 rows of 4.5 s), more than half of the whole encoder's time.
    """

    @classmethod
    def copy_of(cls, conv: nn.Conv1d) -> PositionConv1d:
        """Give the same convolution, with the same weights."""
        sizes = conv.in_channels, conv.out_channels, conv.kernel_size
        new = cls(*sizes, padding=conv.padding, groups=conv.groups)
        new.weight = nn.Parameter(conv.weight)
        new.bias = conv.bias
        return new

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve x (B, C, T)."""
        return self.transformed(x) if x.is_cuda else super().forward(x)

    def transformed(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve x (B, C, T) by its Fourier transform, in float32."""
        (pad,), (width,) = self.padding, self.kernel_size
        padded = nn.functional.pad(x.float(), (pad, pad))
        length = padded.shape[2]
        size = 1 << (length - 1).bit_length()
        signal = torch.fft.rfft(padded, size).unflatten(1, (self.groups, -1))
        weight = self.weight.float().unflatten(0, (self.groups, -1))
        taps = torch.fft.rfft(weight, size).conj()
        y = torch.einsum("bgcf,gocf->bgof", signal, taps).flatten(1, 2)
        y = torch.fft.irfft(y, size)[:, :, : length - width + 1]
        return (y + self.bias.float()[:, None]).to(x.dtype)


def attend(
    attention: nn.Module,
    hidden: torch.Tensor,
    inside: torch.Tensor | None,
    position_bias: torch.Tensor,
) -> tuple[torch.Tensor, None]:
    """Attend as WavLM does, by torch's fused attention.

    In the place of WavLM's own ``torch_multi_head_self_attention``, which asks
    for the weights too and so computes them one operation at a time.

    Arguments
    ---------
    attention : nn.Module
        Holds the projections.
    hidden : torch.Tensor
        (B, T, D) input.
    inside : torch.Tensor, optional
        (B, T) whether a frame is one of its row.
    position_bias : torch.Tensor
        (B * heads, T, T) what is added to queries times keys; overwritten.

    Returns
    -------
    tuple[torch.Tensor, None]
        (B, T, D) output, and no weights.
    """
    batch, frames, _ = hidden.shape
    bias = position_bias.view(batch, -1, frames, frames).to(hidden.dtype)
    if inside is not None:
        bias.masked_fill_(~inside[:, None, None].bool(), -torch.inf)
    q, k, v = (
        project(hidden).view(batch, frames, attention.num_heads, -1)
        for project in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    mixed = F.scaled_dot_product_attention(
        *(x.transpose(1, 2) for x in (q, k, v)), attn_mask=bias.to(q.dtype)
    )
    return attention.out_proj(mixed.transpose(1, 2).flatten(2)), None


def prepare_model(model: nn.Module) -> None:
    """Make a loaded model independent of padding, and fast.

    Its layers stay what they are, up to rounding.
    """
    RowGroupNorm.replace_first(model.feature_extractor.conv_layers[0])
    model.adapter = None  # behind the blocks
    position = model.encoder.pos_conv_embed.conv
    if parametrize.is_parametrized(position, "weight"):
        # Else its weight would be computed from its norm at each forward.
        parametrize.remove_parametrizations(position, "weight")
    model.encoder.pos_conv_embed.conv = PositionConv1d.copy_of(position)
    for block in model.encoder.layers:
        if hasattr(block.attention, "torch_multi_head_self_attention"):
            block.attention.torch_multi_head_self_attention = partial(
                attend, block.attention
            )


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
