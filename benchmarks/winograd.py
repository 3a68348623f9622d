"""The decoder's convolutions in Winograd's form (codec/inference/winograd.py) beside the library's, in turn.

python benchmarks/winograd.py --threads 1 --threads 2
"""

from __future__ import annotations

from functools import partial
from typing import Annotated

import torch
import typer
from torch import Tensor, nn
from torch.nn import functional as F

from codec.benchmarking.machine import with_threads
from codec.benchmarking.timing import measure
from codec.cli import run
from codec.inference.winograd import WinogradConv

LAYERS = ((768, 768, 3), (512, 768, 7), (384, 384, 3), (256, 384, 7))  # published, and of the model that ships
FRAMES = ((1, 113), (1, 225), (1, 750), (1, 2250), (8, 225))  # rows and frames of each

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    threads: Annotated[list[int] | None, typer.Option(help="Several times for several; default: 1.")] = None,
    runs: Annotated[int, typer.Option(min=1)] = 15,
) -> None:
    """Print medians, their ratio and both errors beside float64, relative to the outputs."""
    print("| layer | rows x frames | threads | library ms | Winograd ms | ratio | error, library | error, Winograd |")
    print("|---|---|--:|--:|--:|--:|--:|--:|")
    for count in threads or [1]:
        for in_channels, out_channels, size in LAYERS:
            torch.manual_seed(0)
            layer = nn.Conv1d(in_channels, out_channels, size, padding=size // 2).requires_grad_(False)
            for rows, frames in FRAMES:
                x = torch.randn(rows, frames, in_channels)
                line = with_threads(count, partial(_compare, layer, x, runs))
                print(f"| {in_channels} to {out_channels}, {size} | {rows} x {frames} | {count} | {line}", flush=True)


@torch.no_grad()
def _compare(layer: nn.Conv1d, x: Tensor, runs: int) -> str:
    kernel = layer.weight.unsqueeze(2).contiguous(memory_format=torch.channels_last)
    winograd = WinogradConv(layer)

    def library() -> Tensor:
        columns = x.transpose(1, 2).unsqueeze(2)
        return F.conv2d(columns, kernel, layer.bias, padding=(0, kernel.shape[-1] // 2)).squeeze(2).transpose(1, 2)

    bias = layer.bias
    assert bias is not None
    exact = F.conv1d(x.transpose(1, 2).double(), layer.weight.double(), bias.double(), padding=kernel.shape[-1] // 2)
    errors = [float((found.transpose(1, 2) - exact).norm() / exact.norm()) for found in (library(), winograd(x))]
    timings = measure({"library": library, "winograd": lambda: winograd(x)}, x.device, runs=runs)
    one, other = timings["library"].median_s, timings["winograd"].median_s
    return f"{1000 * one:.2f} | {1000 * other:.2f} | **{one / other:.2f}** | {errors[0]:.0e} | {errors[1]:.0e} |"


if __name__ == "__main__":
    run(app)
