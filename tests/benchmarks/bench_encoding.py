"""How fast speech is encoded: batches against single files, and from the disk.

    python tests/benchmarks/bench_encoding.py [--device cuda]
        [--extract_precision bf16] [--batch_seconds 120] [--minutes 8]

WavLM base of random weights, on noise of 2 to 8 seconds a file. Prints, as
medians of 5 pairs in turns, files encoded one by one over the same in batches
of one length, as ``extract`` makes them; on a GPU also what share of a large
matrix product's speed the batches reach, in float32 and in bf16. Then times
``extract``, with audio from the disk, and says how many hours of speech it
encodes in an hour and what MSP-Podcast would take.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

import torch
from bench_encoder import make_base
from bench_ranks import make_corpus, seconds
from torch.nn.utils.rnn import pad_sequence
from torch.utils.flop_counter import FlopCounterMode

from lam_sb.features.audio import SAMPLE_RATE
from lam_sb.features.encoders import FrozenEncoder
from lam_sb.features.encoding import PRECISIONS, exact_matmul
from lam_sb.features.segments import segment_means

ROUNDS = 5
SIDE = 8192  # of the matrices that show the device's speed
MSP_PODCAST = 166  # hours


class Timed:
    """Encodes lists of waveforms, and says how long it took."""

    def __init__(self, encoder: FrozenEncoder, device: str, precision: str):
        self.encoder = encoder
        self.device = device
        dtype = PRECISIONS[precision]
        self.autocast = torch.autocast(
            torch.device(device).type, dtype=dtype, enabled=dtype is not None
        )

    def encode(self, batch: list[torch.Tensor]) -> None:
        """Encode a batch, and bring its means back."""
        lens = torch.tensor([len(w) for w in batch]).to(self.device)
        wavs = pad_sequence(batch, batch_first=True).to(self.device)
        with self.autocast:
            layers, frames = self.encoder(wavs, lens)
        segment_means(layers, frames.tolist(), 8)[0].half().cpu()

    def seconds(self, batches: list[list[torch.Tensor]]) -> float:
        """Time of some batches."""
        start = time.perf_counter()
        for batch in batches:
            self.encode(batch)
        return time.perf_counter() - start


def in_batches(
    wavs: list[torch.Tensor], batch_seconds: float
) -> list[list[torch.Tensor]]:
    """Batches of waveforms of like length, of so many padded seconds."""
    batches: list[list[torch.Tensor]] = [[]]
    for wav in sorted(wavs, key=len):
        padded = len(wav) * (len(batches[-1]) + 1)
        if batches[-1] and padded > batch_seconds * SAMPLE_RATE:
            batches.append([])
        batches[-1].append(wav)
    return batches


def device_speed(device: str, dtype: torch.dtype) -> float:
    """Operations a second of a large product of random matrices."""
    a, b = torch.randn(2, SIDE, SIDE, device=device, dtype=dtype)
    times = []
    for _ in range(ROUNDS + 1):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(5):
            a @ b
        torch.cuda.synchronize()
        times.append((time.perf_counter() - start) / 5)
    return 2 * SIDE**3 / median(times[1:])


def encode_from_memory(timed: Timed, batch_seconds: float, rows: int) -> None:
    """Print single files over batches, and the share of the device's speed."""
    lengths = torch.linspace(2, 8, rows).mul(SAMPLE_RATE).int().tolist()
    wavs = [0.1 * torch.randn(n) for n in lengths]
    batches = in_batches(wavs, batch_seconds)
    timed.seconds(batches)  # loads the weights
    pairs = []
    for _ in range(ROUNDS):
        alone = timed.seconds([[wav] for wav in wavs])
        pairs.append((alone, timed.seconds(batches)))
    ratios = [alone / batched for alone, batched in pairs]
    print("one by one / batched:", " ".join(f"{r:.2f}" for r in ratios))
    print(f"median {median(ratios):.2f}")
    if not timed.device.startswith("cuda"):
        return
    with FlopCounterMode(display=False) as counter:
        timed.seconds(batches)
    spent = median(batched for _, batched in pairs)
    speed = counter.get_total_flops() / spent
    heard = sum(lengths) / SAMPLE_RATE / spent
    print(f"{speed / 1e12:.1f} TFLOP/s, {heard:.0f} hours an hour")
    for dtype in (torch.float32, torch.bfloat16):
        peak = device_speed(timed.device, dtype)
        share = f"{speed / peak:.3f} of {peak / 1e12:.0f} TFLOP/s"
        print(f"{share}, a large product in {dtype}")


def encode_from_disk(folder: Path, minutes: float, keys: dict) -> None:
    """Print how long ``extract`` takes, without its start."""
    for seed, corpus in enumerate(("one", "two")):
        make_corpus(folder / corpus, minutes / 2, seed)
    spent = seconds(folder, 1, keys)
    rate = 60 * minutes / spent
    print(f"extract: {spent:.1f} s for {minutes:.0f} minutes of speech,")
    print(
        f"{rate:.0f} hours an hour: MSP-Podcast in {MSP_PODCAST / rate:.2f} h"
    )


def main() -> None:
    """Print the ratios and the rate."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--extract_precision", default="fp32")
    parser.add_argument("--batch_seconds", type=float, default=120)
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--rows", type=int, default=48, help="from memory")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        encoder = make_base("wavlm", Path(name) / "wavlm")
        timed = Timed(encoder, args.device, args.extract_precision)
        with exact_matmul():
            encode_from_memory(timed, args.batch_seconds, args.rows)
        keys = {
            "device": args.device,
            "extract_precision": args.extract_precision,
            "extract_batch_seconds": args.batch_seconds,
        }
        encode_from_disk(Path(name), args.minutes, keys)


if __name__ == "__main__":
    main()
