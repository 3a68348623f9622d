"""The code search and the bottleneck's training pass, beside the naive twin and a plain float32 search.

    python benchmarks/search.py                                   # search alone, K = 262,144, N = 750
    python benchmarks/search.py --training --latents 1500         # forward and backward of the bottleneck
    python benchmarks/search.py --directions 30                   # a W as training leaves it: few strong directions
    python benchmarks/search.py --kind isotropic                  # latents that are near no code
    python benchmarks/search.py --equality 1000000 --device cuda  # tokens against plain float32, on so many latents
    python benchmarks/search.py --latents 4500 --device cuda --tune   # other tiles of the fused search beside ours
    python benchmarks/search.py --latents 4500 --device cuda --profile ours.txt   # and where our time goes
    python benchmarks/search.py --screens                         # every kind of screen that processors have

On a GPU ``ours`` is the fused search, if Triton is there, and the screened one stands beside it as ``screened``.

All in one process and in turn, medians with quartiles. The floors are the products z.c alone at the measured rates of
the machine; ``matrix_mb`` is what N x K distances would take. ``--equality`` counts latents whose token is not that of
plain float32, how far apart the distances of the two codes are, and whether ours is ever the farther one in float64.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from enum import StrEnum
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import torch
import typer
from naive import bottleneck
from torch import Tensor

from codec.benchmarking.machine import matrix_rate, with_threads
from codec.benchmarking.profiling import profiled
from codec.benchmarking.timing import Work, measure
from codec.cli import run
from codec.config import SimVQConfig
from codec.devices import pick_device
from codec.files import write_text
from codec.precision import full_float32
from codec.quantizers.search import (
    CodeSearch,
    IntegerScreen,
    LinearCodes,
    Screen,
    fused,
    half_squared_norms,
    nearest_codes,
    nearest_linear_codes,
)
from codec.quantizers.search.fused import Tiles
from codec.quantizers.simvq import SimVQ

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
CHUNK = 4096
PIECE = 8192  # latents compared at once
TUNED = (  # ways to cut the fused search
    *(Tiles(128, 256, 64, 8, stages) for stages in (3, 4)),
    *(Tiles(128, 128, 64, warps, stages) for warps in (4, 8) for stages in (3, 4)),
    Tiles(64, 256, 64, 4, 4),
    Tiles(256, 128, 64, 8, 3),
)


class Kind(StrEnum):
    """Where latents lie."""

    NEAR = "near"  # a code plus noise of 0.7 its length along the codes' own directions
    ISOTROPIC = "isotropic"  # anywhere


@app.command()
def main(
    codebook: Annotated[int, typer.Option(min=1, help="K.")] = 262_144,
    width: Annotated[int, typer.Option(min=1, help="D.")] = 512,
    latents: Annotated[int, typer.Option(min=1, help="N.")] = 750,
    training: Annotated[bool, typer.Option(help="Forward and backward instead of the search.")] = False,
    kind: Annotated[Kind, typer.Option(help="Where latents lie.")] = Kind.NEAR,
    directions: Annotated[float, typer.Option(help="Strong directions of W; 0: W as it starts.")] = 0.0,
    equality: Annotated[int, typer.Option(min=0, help="Compare tokens on so many latents instead of timing.")] = 0,
    threads: Annotated[int, typer.Option(min=0, help="0: as torch chooses.")] = 0,
    tune: Annotated[bool, typer.Option(help="Also with other tiles of the fused search (GPU).")] = False,
    profile: Annotated[Path | None, typer.Option(help="Text file: where one of our searches spends its time.")] = None,
    screens: Annotated[bool, typer.Option(help="Also with every kind of screen (processors), ours or not.")] = False,
    runs: Annotated[int, typer.Option(min=1)] = 7,
    device: Annotated[str, typer.Option()] = "auto",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="JSON file.")] = None,
) -> None:
    """Time the search, or compare its tokens."""
    target = pick_device(device)
    count = threads or torch.get_num_threads()

    def work() -> dict[str, object]:
        torch.manual_seed(0)
        quantizer = make_quantizer(codebook, width, directions).to(target).train(training)
        if equality:
            return compare(quantizer, equality, kind, target)
        return time_them(quantizer, latents, kind, target, runs, tune, profile, screens)

    result = with_threads(count, work)
    facts = {"device": str(target), "threads": count, "K": codebook, "D": width, "training": training}
    result = {**facts, "kind": str(kind), "directions": directions, **result}
    if output:
        write_text(output, json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


def make_quantizer(codebook: int, width: int, directions: float) -> SimVQ:
    """SimVQ with random weights; ``directions`` > 0: W's variances fall by e every so many directions."""
    quantizer = SimVQ(width, SimVQConfig(codebook_size=codebook))
    if directions:
        turn = torch.linalg.qr(torch.randn(width, width)).Q
        strengths = torch.exp(-torch.arange(width) / directions)
        with torch.no_grad():
            quantizer.projection.weight.copy_(turn * (width * strengths / strengths.sum()).sqrt() @ turn.T)
    return quantizer


def draw_latents(quantizer: SimVQ, count: int, kind: Kind, device: torch.device) -> Tensor:
    """(1, D, N)."""
    with torch.no_grad():
        if kind is Kind.ISOTROPIC:
            rows = torch.randn(count, quantizer.dim, device=device) / math.sqrt(quantizer.dim)
        else:
            one, other = (
                quantizer.look_up(torch.randint(quantizer.codebook_size, (count,), device=device)) for _ in range(2)
            )
            rows = one + 0.7 * (other - quantizer.projection.bias)
    return rows.T.unsqueeze(0).contiguous()


def time_them(
    quantizer: SimVQ,
    count: int,
    kind: Kind,
    device: torch.device,
    runs: int,
    tune: bool,
    profile: Path | None,
    screens: bool,
) -> dict[str, object]:
    """Medians, ratios, memory and floors."""
    latent = draw_latents(quantizer, count, kind, device)
    contestants = training_passes(quantizer, latent) if quantizer.training else searches(quantizer, latent)
    if tune and device.type == "cuda" and not quantizer.training:
        contestants |= {" ".join(map(str, tiles)): _with_tiles(tiles, contestants["ours"]) for tiles in TUNED}
    if screens and device.type == "cpu" and not quantizer.training:
        contestants |= every_screen(quantizer, latent)
    contestants["ours"]()  # what is kept from call to call is there before
    for name in [name for name in contestants if name != "ours"]:
        if reason := _fails(contestants[name]):
            print(f"{name} is left out: {reason}")
            del contestants[name]
    timings = measure(contestants, device, runs=runs)
    operations = 2 * count * quantizer.codebook_size * quantizer.dim
    ours = timings["ours"]
    floors = {
        str(dtype).removeprefix("torch."): operations / matrix_rate(device, dtype) / 1e9
        for dtype in (torch.float32, torch.bfloat16)
    }
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
        floors["tf32"] = operations / matrix_rate(device, torch.float32) / 1e9
        torch.set_float32_matmul_precision("highest")
    for name, timing in timings.items():
        print(
            f"{name:8} {timing.median_s:8.4f} s ({timing.low_s:.4f} to {timing.high_s:.4f})  peak {timing.peak_mb} MB"
            f"  {timing.median_s / ours.median_s:6.2f} times ours"
        )
    if profile:
        write_text(profile, profiled(contestants["ours"], device))
    print("floor of z.c: " + ", ".join(f"{value:.4f} s in {name}" for name, value in floors.items()))
    return {
        "N": count,
        "fused": fused.unavailable(device) is None,
        "matrix_mb": 4 * count * quantizer.codebook_size / 1e6,
        "contestants": {name: vars(timing) for name, timing in timings.items()},
        "twin_over_ours": timings["twin"].median_s / ours.median_s if "twin" in timings else None,
        "ours_over_floor": {name: ours.median_s / value for name, value in floors.items()},
        "floor_s": floors,
    }


def searches(quantizer: SimVQ, latent: Tensor) -> dict[str, Work]:
    """Search alone, weights unchanged from call to call."""
    table = quantizer.projected_codebook()
    chunks = [(part, half_squared_norms(part)) for part in table.split(CHUNK)]
    rows = latent[0].T.contiguous()

    contestants: dict[str, Work] = {
        "twin": torch.no_grad()(lambda: bottleneck.search(quantizer, latent)),
        "plain": lambda: nearest_codes(rows, chunks),
        "ours": lambda: quantizer.encode(latent),
    }
    if latent.is_cuda:
        search = screened(quantizer)
        contestants["screened"] = lambda: search(latent)
    return contestants


def _fails(work: Work) -> str:
    """Why a contestant cannot be timed here (memory, tiles that do not compile); empty where it can."""
    failures: tuple[type[Exception], ...] = (RuntimeError, AssertionError)
    if find_spec("triton") is not None:
        from triton.compiler import CompilationError
        from triton.runtime.errors import TritonError

        failures += (CompilationError, TritonError)
    try:
        work()
    except failures as error:
        return str(error).splitlines()[0] if str(error) else type(error).__name__
    return ""


def _with_tiles(tiles: Tiles, work: Work) -> Work:
    def cut() -> object:
        before, fused.TILES = fused.TILES, (tiles,)
        try:
            return work()
        finally:
            fused.TILES = before

    return cut


def screened(quantizer: SimVQ) -> Callable[[Tensor], Tensor]:
    """The screened search, also where the package does not choose it: (1, D, N) -> (N,)."""
    search, projection = CodeSearch(screened=("cpu", "cuda"), fused=()), quantizer.projection
    codes = LinearCodes(quantizer.codebook, projection.weight.detach(), projection.bias.detach())

    @torch.no_grad()
    def tokens(latent: Tensor) -> Tensor:
        return search.nearest(latent[0].T.contiguous(), codes, keep=not quantizer.training, frozen=True)

    return tokens


def every_screen(quantizer: SimVQ, latent: Tensor) -> dict[str, Work]:
    """Searches by each kind of screen that processors have, made here, which is said with its time."""
    projection, rows = quantizer.projection, latent[0].T.contiguous()
    codes = LinearCodes(quantizer.codebook, projection.weight.detach(), projection.bias.detach())
    make: dict[str, Callable[[], Screen | IntegerScreen]] = {
        "float32": lambda: Screen.of(codes, torch.float32, dims=quantizer.dim),
        "bfloat16": lambda: Screen.of(codes, torch.bfloat16, dims=quantizer.dim),
        "integers": lambda: IntegerScreen.of(codes),
    }
    contestants: dict[str, Work] = {}
    for name, made in make.items():
        started = time.perf_counter()
        contestants[name] = torch.no_grad()(partial(nearest_linear_codes, rows, codes, made()))
        print(f"{name}: the screen is made in {time.perf_counter() - started:.2f} s")
    return contestants


def training_passes(quantizer: SimVQ, latent: Tensor) -> dict[str, Work]:
    """Forward and backward, with gradient to the latents."""
    latent = latent.requires_grad_()
    weights = torch.randn_like(latent)

    def ours() -> None:
        out = quantizer(latent)
        ((out.quantized * weights).sum() + out.loss).backward()
        _forget()

    def twin() -> None:
        out = bottleneck.quantize(quantizer, latent)
        ((out.quantized * weights).sum() + out.loss).backward()
        _forget()

    def _forget() -> None:
        latent.grad = None
        quantizer.zero_grad()

    return {"twin": twin, "ours": ours}


def compare(quantizer: SimVQ, count: int, kind: Kind, device: torch.device) -> dict[str, object]:
    """How many tokens are not those of plain float32, and the largest relative difference of their distances."""
    differ, farther, largest = 0, 0, 0.0
    for latent in _pieces(quantizer, count, kind, device):
        rows = latent[0].T.contiguous()
        ours, plain = quantizer.encode(latent).flatten(), nearest_codes(rows, _chunks(quantizer))
        where = (ours != plain).nonzero().flatten()
        differ += len(where)
        if len(where):
            near, far = (_distances(quantizer, rows[where], tokens[where]) for tokens in (ours, plain))
            largest = max(largest, float((far - near).abs().div(near).max()))
            farther += int((near > far * (1 + 2.0**-38)).sum())  # where ours is wrong: ties go by index
    print(
        f"{differ} of {count} tokens differ from plain float32; squared distances by at most {largest:.2e} of them; "
        f"ours is farther away {farther} times"
    )
    return {"latents": count, "differ": differ, "farther": farther, "largest_relative_difference": largest}


def _pieces(quantizer: SimVQ, count: int, kind: Kind, device: torch.device) -> Iterator[Tensor]:
    for start in range(0, count, PIECE):
        yield draw_latents(quantizer, min(PIECE, count - start), kind, device)


def _chunks(quantizer: SimVQ) -> Iterator[tuple[Tensor, Tensor]]:
    with torch.no_grad(), full_float32():
        for part in quantizer.codebook.split(CHUNK):
            codes = quantizer.projection(part)
            yield codes, half_squared_norms(codes)


def _distances(quantizer: SimVQ, rows: Tensor, tokens: Tensor) -> Tensor:
    projection = quantizer.projection
    codes = quantizer.codebook[tokens].double() @ projection.weight.double().T + projection.bias.double()
    return (rows.double() - codes).square().sum(dim=1)


if __name__ == "__main__":
    run(app)
