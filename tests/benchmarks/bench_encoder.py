"""How near encoders come to the plain matrix products of their own shapes.

    python tests/benchmarks/bench_encoder.py [family ...] [--device cuda]

For WavLM base and wav2vec 2.0 base (or ``hubert``) of random weights, on one
batch and, on a CPU, one thread: time of the convolutions and matrix products
alone over that of the encoder, in turns, 5 pairs. With bf16 where the device
multiplies in it, float32 over bf16 too.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch import nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parents[2]))

from lam_sb.features.audio import SAMPLE_RATE
from lam_sb.features.encoders import FrozenEncoder

ROUNDS = 5
SECONDS = (4.0, 4.5, 5.0)  # of the rows of the batch
CLASSES = {"wavlm": "WavLM", "wav2vec2": "Wav2Vec2", "hubert": "Hubert"}


def make_base(family: str, folder: Path) -> FrozenEncoder:
    """Save and load a base encoder of random weights."""
    import transformers

    name = CLASSES[family]
    config = getattr(transformers, f"{name}Config")()  # that of base
    torch.manual_seed(0)
    getattr(transformers, f"{name}Model")(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text('{"do_normalize": false}')
    return FrozenEncoder(str(folder))


def plain_products(
    model: nn.Module, wavs: torch.Tensor, device: str
) -> list[Callable]:
    """Give the products of a forward on wavs (B, N), on random tensors."""
    calls, x = [], wavs[:, None].to(device)
    convs = [layer.conv for layer in model.feature_extractor.conv_layers]
    for conv in convs:
        x = torch.randn(len(x), conv.in_channels, x.shape[2], device=device)
        calls.append(lambda conv=conv, x=x: conv(x))
        x = conv(x)
    batch, _, frames = x.shape
    position = model.encoder.pos_conv_embed.conv
    weight = position.weight.clone()  # without its weight norm
    x = torch.randn(batch, position.in_channels, frames, device=device)
    options = {"padding": position.padding, "groups": position.groups}
    calls.append(
        lambda x=x: F.conv1d(x, weight, position.bias, **options),
    )
    for name, linear in model.named_modules():
        if isinstance(linear, nn.Linear) and "gru_rel_pos" not in name:
            x = torch.randn(batch, frames, linear.in_features, device=device)
            calls.append(lambda linear=linear, x=x: linear(x))
    heads = model.config.num_attention_heads
    size = model.config.hidden_size // heads
    for _ in model.encoder.layers:
        q, k, v = torch.randn(3, batch * heads, frames, size, device=device)
        p = torch.randn(batch * heads, frames, frames, device=device)
        calls.append(lambda q=q, k=k: q @ k.transpose(1, 2))
        calls.append(lambda p=p, v=v: p @ v)
    return calls


def seconds(calls: list[Callable], device: str) -> float:
    """Time of some calls, one after the other; on a CPU the processor's."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    start = clock()
    for call in calls:
        call()
    if device != "cpu":
        torch.cuda.synchronize()
    return clock() - start


def ratios(ours: list[Callable], theirs: list[Callable], device: str) -> str:
    """Time of the first over that of the second, in turns."""
    for calls in (ours, theirs):
        seconds(calls, device)
    found = [
        seconds(ours, device) / seconds(theirs, device) for _ in range(ROUNDS)
    ]
    return f"{' '.join(f'{r:.2f}' for r in found)}; median {median(found):.2f}"


def multiplies_in_bf16(device: str) -> bool:
    """Whether bf16 is more than a way to store float32."""
    if device != "cpu":
        return torch.cuda.is_bf16_supported()
    flags = Path("/proc/cpuinfo").read_text()
    return "avx512_bf16" in flags or "amx_bf16" in flags


@torch.inference_mode()
def main() -> None:
    """Print the ratios of each family."""
    parser = argparse.ArgumentParser()
    parser.add_argument("families", nargs="*", default=["wavlm", "wav2vec2"])
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    torch.set_num_threads(1)
    lens = torch.tensor([int(s * SAMPLE_RATE) for s in SECONDS])
    wavs = torch.randn(len(lens), int(lens.max())) * 0.1
    wavs, lens = wavs.to(given.device), lens.to(given.device)
    for family in given.families:
        with tempfile.TemporaryDirectory() as folder:
            encoder = make_base(family, Path(folder))
            encoder.load()
        encoder.model.to(given.device)
        plain = plain_products(encoder.model, wavs, given.device)
        whole = [lambda encoder=encoder: encoder(wavs, lens)]
        text = ratios(plain, whole, given.device)
        print(f"{family}: plain products / encoder: {text}")
        if not multiplies_in_bf16(given.device):
            print("bf16: this device has no instructions for it")
            continue
        reduced = [lambda whole=whole: in_bf16(whole[0], given.device)]
        text = ratios(whole, reduced, given.device)
        print(f"{family}: float32 / bf16: {text}")


def in_bf16(call: Callable, device: str) -> None:
    """Call under autocast, as ``extract_precision: bf16`` does."""
    with torch.autocast(torch.device(device).type, dtype=torch.bfloat16):
        call()


if __name__ == "__main__":
    main()
