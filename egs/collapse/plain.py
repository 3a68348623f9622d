"""Plain vector quantisation by every bottleneck alone: no encoder, no decoder, latents that stand still.

    python egs/collapse/plain.py --quick     # conf/quick.yaml into exp/collapse/quick
    python egs/collapse/plain.py             # conf/grid.yaml into exp/collapse/grid
    python egs/collapse/plain.py --systems simvq,vq --sources speech --sizes 65536 --seeds 0

One line of ``results.jsonl`` a run; what is there already is not run again. Each system starts as it is made, without a
look at the latents (those called ``-kmeans``: from k-means centres), and is trained with Adam on its own loss plus the
error of what it gives, on random batches.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import typer
from bounds import distortion, kmeans_codes, one_sparse, shannon_lower_bound, water_filling
from pydantic import Field
from sources import Source, load
from torch import Tensor
from torch.nn import functional as F

from codec.cli import run
from codec.cli.console import comma_separated
from codec.config import ModelConfig, Settings, build
from codec.config.base import Positive
from codec.config.loading import read_yaml
from codec.errors import CodecError
from codec.files import write_text
from codec.quantizers import Quantizer, SimVQ, build_quantizer
from codec.quantizers.codebook import nearest_rows
from codec.quantizers.usage import CodeUsage
from codec.training.dimensions import codebook_sample, effective_dimension

CONF = Path("egs/collapse/conf")
OUT = Path("exp/collapse")
LR = 1e-2
KMEANS_ITERATIONS = 20
START_LATENTS = 8192
REFERENCES = ("kmeans", "dictionary")  # beside the systems; the bounds are on every line

app = typer.Typer(add_completion=False)


class SystemRow(Settings):
    """One line of ``conf/systems.yaml``."""

    name: str
    quantizer: dict[str, Any]
    start: Literal["kmeans", "covariance"] | None = None  # from latents, before training
    max_codes: Positive | None = None  # larger codebooks are not tried


class Systems(Settings):
    """All of them."""

    systems: list[SystemRow] = Field(min_length=1)


class Grid(Settings):
    """What is crossed with the systems (``conf/grid.yaml``, ``conf/quick.yaml``)."""

    sources: list[str]
    codebook_sizes: list[Positive]
    seeds: list[int]
    steps: Positive
    batch: Positive


def read_systems(path: Path = CONF / "systems.yaml") -> dict[str, SystemRow]:
    """By name, in the order of the tables."""
    return {row.name: row for row in build(Systems, read_yaml(path), str(path)).systems}


def make(row: SystemRow, dim: int, size: int, seed: int) -> Quantizer[Any]:
    """The system as its class makes it."""
    config = build(ModelConfig, {"quantizer": {"codebook_size": size, **row.quantizer}}).quantizer
    torch.manual_seed(seed)
    return build_quantizer(dim, config)


def start(quantizer: Quantizer[Any], rows: Tensor, method: str, seed: int) -> None:
    """The codebook from random ones of the latents (N, D), as after a warm-up in the codec."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(rows), generator=generator)[:START_LATENTS]
    quantizer.initialize(rows[chosen], method, generator)


def train(quantizer: Quantizer[Any], rows: Tensor, steps: int, batch: int, seed: int) -> None:
    """Adam on the bottleneck's loss and the error of what it gives, over random batches of (N, D)."""
    generator = torch.Generator().manual_seed(seed)
    parameters = [p for p in quantizer.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=LR) if parameters else None
    quantizer.train()
    for step in range(steps):
        latent = rows[torch.randint(len(rows), (batch,), generator=generator)].T.unsqueeze(0)  # (1, D, batch)
        out = quantizer(latent)
        if optimizer is None:
            continue  # moving averages: the forward pass was the step
        for group in optimizer.param_groups:
            group["lr"] = LR * 0.5 * (1 + math.cos(math.pi * step / steps))
        # Straight-through, this error reaches only what lies behind the choice of a code, such as a map outwards.
        loss = out.loss + F.mse_loss(out.quantized, latent)
        optimizer.zero_grad()
        if loss.requires_grad:
            loss.backward()
            optimizer.step()
    quantizer.eval()


@torch.no_grad()
def measure(quantizer: Quantizer[Any], source: Source) -> dict[str, Any]:
    """Error and use on the test latents, whatever their rank."""
    tokens = quantizer.encode(source.test)
    found: dict[str, Any] = {"distortion": float(F.mse_loss(quantizer.decode(tokens), source.test))}
    found |= _usage(tokens, quantizer.codebook_size)
    found["effective_dimension"] = effective_dimension(codebook_sample(quantizer, torch.device("cpu")))
    if isinstance(quantizer, SimVQ):
        # The same latents against C itself, and how many different vectors the used rows of CW still are.
        found["codes_used_on_c"] = len(nearest_rows(source.rows("test"), quantizer.codebook).unique())
        used = quantizer.look_up(tokens.flatten().unique())
        scale = used.square().mean().sqrt().clamp(min=1e-12)
        found["different_codes"] = len((used / scale * 1e4).round().unique(dim=0))
        found |= quantizer.describe()
    return found


def _usage(tokens: Tensor, size: int) -> dict[str, Any]:
    usage = CodeUsage(size)
    usage.update(tokens)
    return dict(usage.summary())


def reference(name: str, source: Source, size: int, seed: int) -> dict[str, Any]:
    """k-means, or a 1-sparse dictionary."""
    rows, test = source.rows(), source.rows("test")
    if name == "kmeans":
        error, tokens = distortion(test, kmeans_codes(rows, size, KMEANS_ITERATIONS, seed))
        return {"distortion": error, **_usage(tokens, size)}
    real, coded, tokens = one_sparse(rows, test, size, KMEANS_ITERATIONS, seed)
    return {"distortion": coded, "real_coefficient": real, **_usage(tokens, size)}


def bounds(source: Source, size: int) -> dict[str, float]:
    """Of theory, at log2 K bits a latent."""
    bits = math.log2(size)
    found = {"water_filling": water_filling(source.rows("test"), bits)}
    if source.entropy_bits is not None:
        found["shannon_lower_bound"] = shannon_lower_bound(source.entropy_bits, source.dim, bits)
    return found


def jobs(grid: Grid, names: list[str], systems: dict[str, SystemRow]) -> Iterator[tuple[str, str, int, int]]:
    """(source, system, K, seed): seed by seed and small codebooks first, so that an early stop leaves whole tables."""
    for seed in grid.seeds:
        for size in grid.codebook_sizes:
            for source in grid.sources:
                for name in names:
                    limit = systems[name].max_codes if name in systems else None
                    if limit is None or size <= limit:
                        yield source, name, size, seed


def read_results(path: Path) -> list[dict[str, Any]]:
    """Lines that are whole; a run that was killed may have left half a last one."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines[:-1]]


def run_grid(grid: Grid, names: list[str], path: Path, say: Callable[[str], None] = print) -> None:
    """Every run that ``path`` does not have yet, each added to it when done.

    Raises:
        CodecError: ``path`` has runs of another number of steps or batch size.
    """
    systems = read_systems()
    results = read_results(path)
    budget = {"steps": grid.steps, "batch": grid.batch}
    if any({key: line[key] for key in budget} != budget for line in results):
        raise CodecError(f"{path}: has runs of other steps or batches than {budget}; take another --output")
    write_text(path, "".join(json.dumps(line) + "\n" for line in results))
    done = {(line["source"], line["system"], line["codebook_size"], line["seed"]) for line in results}
    loaded = {name: load(name) for name in grid.sources}
    for job in jobs(grid, names, systems):
        if job in done:
            continue
        line = one(*job, grid, loaded[job[0]], systems)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        say(f"{job[0]:9} {job[1]:24} K={job[2]:<6} seed {job[3]}: distortion {line['distortion']:.4f}, "
            f"{line['codes_used']} codes, {line['cpu_s']:.1f} s")  # fmt: skip


def one(
    source_name: str, name: str, size: int, seed: int, grid: Grid, source: Source, systems: dict[str, SystemRow]
) -> dict[str, Any]:
    """A run and its facts."""
    begin = time.process_time()
    if name in REFERENCES:
        found = reference(name, source, size, seed)
    else:
        quantizer = make(systems[name], source.dim, size, seed)
        if (method := systems[name].start) is not None:
            start(quantizer, source.rows(), method, seed)
        train(quantizer, source.rows(), grid.steps, grid.batch, seed)
        found = measure(quantizer, source)
    job = {"source": source_name, "system": name, "codebook_size": size, "seed": seed}
    facts = {"test_latents": len(source.rows("test")), "train_latents": len(source.rows()), **bounds(source, size)}
    budget = {"steps": grid.steps, "batch": grid.batch, "cpu_s": round(time.process_time() - begin, 2)}
    return {**job, **budget, **facts, **found}


def split(text: str | None) -> list[str] | None:
    """Comma-separated words."""
    return None if text is None else comma_separated(text)


@app.command()
def main(
    quick: Annotated[bool, typer.Option("--quick", help="conf/quick.yaml instead of conf/grid.yaml.")] = False,
    systems: Annotated[str | None, typer.Option(help="Comma-separated names; default: all, and references.")] = None,
    sources: Annotated[str | None, typer.Option(help="Comma-separated names.")] = None,
    sizes: Annotated[str | None, typer.Option(help="Comma-separated codebook sizes.")] = None,
    seeds: Annotated[str | None, typer.Option(help="Comma-separated seeds.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder of results.jsonl.")] = None,
) -> None:
    """Train and measure what is not measured yet."""
    file = CONF / ("quick.yaml" if quick else "grid.yaml")
    settings = read_yaml(file)
    try:
        changes = {"sources": split(sources), "codebook_sizes": split(sizes), "seeds": split(seeds)}
        for key in ("codebook_sizes", "seeds"):
            changes[key] = changes[key] and [int(word) for word in changes[key]]  # type: ignore[misc]
    except ValueError as error:
        raise CodecError(f"--sizes and --seeds take whole numbers separated by commas: {error}") from None
    grid = build(Grid, {**settings, **{key: value for key, value in changes.items() if value}}, str(file))
    known = [*REFERENCES, *read_systems()]
    names = split(systems) or known
    if unknown := [name for name in names if name not in known]:
        raise CodecError(f"--systems: {', '.join(unknown)} not in conf/systems.yaml; known are {', '.join(known)}")
    run_grid(grid, names, (output or OUT / ("quick" if quick else "grid")) / "results.jsonl")


if __name__ == "__main__":
    run(app)
