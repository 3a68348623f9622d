"""What the kernels of the fused search become on a GPU: registers, shared memory, spills, matrix instructions.

    python benchmarks/kernels.py                       # needs Triton and no GPU
    python benchmarks/kernels.py --capability 90       # of H100 and H200 only

A kernel that the interpreter runs may still not compile, or spill, or miss the matrix units. The compiler for every GPU
comes with Triton, so that this is known before a GPU is at hand.
"""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from codec.cli import run
from codec.files import write_text
from codec.quantizers.search.fused import FEW, GROUP, SLOTS, TILES, Tiles

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
CAPABILITIES = (80, 90, 100, 120)  # A100; H100 and H200; B200; consumer cards of the same year
PRODUCTS = ("wgmma.mma_async", "tcgen05.mma", "mma.sync")  # of whole warp groups, of a multiprocessor, of a warp


@dataclass(frozen=True)
class Compiled:
    """One kernel for one GPU."""

    kernel: str
    capability: int
    tiles: Tiles | None
    registers: int  # a thread
    spilled_bytes: int  # a thread: what did not fit into registers
    shared_bytes: int  # a block of threads
    product: str | None  # the matrix instruction that it uses


@app.command()
def main(
    capability: Annotated[list[int] | None, typer.Option(help="80, 90, ...; several times for several.")] = None,
    width: Annotated[int, typer.Option(min=1, help="D.")] = 512,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="JSON file.")] = None,
) -> None:
    """Compile all kernels and print what they take."""
    found = [one for each in capability or CAPABILITIES for one in compile_all(each, width)]
    print(f"{'GPU':>4} {'kernel':16} {'tiles':24} {'registers':>9} {'spilled':>7} {'shared':>7} product")
    for one in found:
        tiles = "" if one.tiles is None else " x ".join(map(str, one.tiles))
        print(
            f"{one.capability:4} {one.kernel:16} {tiles:24} {one.registers:9} {one.spilled_bytes:7}"
            f" {one.shared_bytes:7} {one.product or ''}"
        )
    if output:
        write_text(output, json.dumps([asdict(one) for one in found], indent=2) + "\n")


def compile_all(capability: int, width: int = 512, all_tiles: tuple[Tiles, ...] = (*TILES, FEW)) -> list[Compiled]:
    """The kernels as the search calls them at ``width`` columns, with pointers and strides that divide by 16."""
    from codec.quantizers.search import kernels

    rows = {"queries": "*bf16", "codes": "*bf16", "half": "*fp32", "minima": "*fp32"}
    strides = {"query_stride": "i32", "code_stride": "i32"}
    found = []
    for tiles in all_tiles:
        given = {**rows, "N": "i32", "K": "i32", **strides, "tiles_each": "i32"}
        sizes = {"BLOCK_N": tiles.queries, "BLOCK_K": tiles.codes, "BLOCK_D": tiles.columns}
        fixed = {"D": width, "GROUP": GROUP, **sizes, "WIDEN": False}
        options = {"num_warps": tiles.warps, "num_stages": tiles.stages}
        found.append(_compiled(kernels.group_minima, given, fixed, {"N", "tiles_each"}, capability, options, tiles))
    listed = {"limit": "*fp32", "found": "*i32", "count": "*i32", "offset": "i32", "groups": "i32"}
    fixed = {"D": width, "GROUP": GROUP, "SLOTS": SLOTS, "BLOCK_G": 1024, "BLOCK_D": 64}
    found.append(_compiled(kernels.list_candidates, {**rows, **listed, **strides}, fixed, set(), capability, {}))
    numbers = {"centered": "*fp64", "square": "*fp64", "table": "*fp32", "weight": "*fp32", "center": "*fp64"}
    given = {**numbers, "found": "*i32", "count": "*i32", "tokens": "*i64", "table_stride": "i32", "tie": "fp64"}
    block = 1 << (width - 1).bit_length()
    fixed = {"D": width, "WEIGHTED": True, "SLOTS": SLOTS, "BLOCK_D": block, "BLOCK_OUT": 8}
    found.append(_compiled(kernels.decide, given, fixed, {"tie"}, capability, {}))
    return found


def _compiled(
    kernel: Any,
    given: dict[str, str],
    fixed: dict[str, Any],
    odd: set[str],
    capability: int,
    options: dict[str, int],
    tiles: Tiles | None = None,
) -> Compiled:
    """``given`` are the types of the arguments, ``fixed`` the constants, ``odd`` what need not divide by 16."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource
    from triton.compiler import compile as compile_source

    names = list(kernel.arg_names)
    assert set(names) == {*given, *fixed}
    source = ASTSource(
        fn=kernel,
        signature={name: given.get(name, "constexpr") for name in names},
        constexprs={(names.index(name),): value for name, value in fixed.items()},
        attrs={(names.index(name),): [["tt.divisibility", 16]] for name in given if name not in odd},
    )
    made = compile_source(source, target=GPUTarget("cuda", capability, 32), options=options)
    registers, spilled = _resources(made.asm["cubin"])
    product = next((name for name in PRODUCTS if name in made.asm["ptx"]), None)
    return Compiled(kernel.__name__, capability, tiles, registers, spilled, made.metadata.shared, product)


def _resources(machine_code: bytes) -> tuple[int, int]:
    """Registers and spilled bytes of a thread, as the disassembler that comes with Triton tells."""
    import triton

    with TemporaryDirectory(prefix="codec-") as folder:
        file = Path(folder, "kernel.cubin")
        file.write_bytes(machine_code)
        tool = triton.knobs.nvidia.cuobjdump.path
        told = subprocess.run([tool, "--dump-resource-usage", file], capture_output=True, text=True, check=True).stdout
    counts = {name: int(value) for name, value in re.findall(r"(REG|STACK|LOCAL):(\d+)", told)}
    return counts["REG"], counts["STACK"] + counts["LOCAL"]


if __name__ == "__main__":
    run(app)
