"""The paper's two-dimensional example with points few enough for paper: train only C, only W, or both.

    python egs/collapse/toy.py                                # figure, film and numbers into exp/collapse/toy
    python egs/collapse/toy.py --write egs/collapse/TOY.md    # put the numbers into the page

The bottlenecks are those of the codec (``codec.quantizers``) with W = 1 at first and without bias; latents stand still.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from pydantic import Field
from torch import Tensor
from toy_figures import draw_film, draw_paths
from toy_page import MARKS, page

from codec.cli import run
from codec.config import Settings, SimVQConfig, VQConfig, build
from codec.config.base import Positive, PositiveFloat
from codec.config.loading import read_yaml
from codec.documents import find_place
from codec.errors import CodecError
from codec.files import replacing, write_text
from codec.quantizers import VQ, Quantizer, SimVQ

CONF = Path("egs/collapse/conf/toy.yaml")
OUT = Path("exp/collapse/toy")
TRAINED = {"C": "only C (plain vector quantisation)", "W": "only W (SimVQ)", "both": "C and W"}

app = typer.Typer(add_completion=False)


class ToySettings(Settings):
    """The example (``conf/toy.yaml``)."""

    codes: list[list[float | int]] = Field(min_length=1)
    latents: list[list[float | int]] = Field(min_length=1)
    lr: PositiveFloat
    steps: Positive
    draws: Positive
    draw_codes: Positive
    draw_latents: Positive
    draw_lr: PositiveFloat
    draw_steps: Positive
    seed: int


@dataclass(frozen=True)
class Moment:
    """Where everything stands before an update."""

    C: Tensor  # (K, 2)
    W: Tensor  # (2, 2): codes are the rows of C W^T
    tokens: Tensor  # (N,)
    error: float  # mean over latents of |q - z|^2

    @property
    def codes(self) -> Tensor:
        """C W^T, (K, 2)."""
        return self.C @ self.W.T

    @property
    def used(self) -> int:
        """Codes that some latent chose."""
        return len(self.tokens.unique())

    @property
    def norm(self) -> float:
        """Frobenius norm of W."""
        return float(self.W.norm())

    @property
    def rank(self) -> int:
        """Numerical rank of W."""
        return int(torch.linalg.matrix_rank(self.W))


def bottleneck(trained: str, codes: Tensor) -> Quantizer[Any]:
    """The codec's own, started at ``codes`` (K, 2): ``C`` plain, ``W`` SimVQ, ``both`` SimVQ with trainable C."""
    size = len(codes)
    quantizer: VQ | SimVQ
    if trained == "C":
        quantizer = VQ(2, VQConfig(codebook_size=size))
    else:
        settings = SimVQConfig(codebook_size=size, bias=False, trainable_codebook=trained == "both")
        quantizer = SimVQ(2, settings)
        with torch.no_grad():
            quantizer.projection.weight.copy_(torch.eye(2))
    with torch.no_grad():
        quantizer.codebook.copy_(codes)
    return quantizer


def follow(trained: str, codes: Tensor, latents: Tensor, lr: float, steps: int) -> list[Moment]:
    """Gradient descent step by step: ``steps`` updates, so ``steps`` + 1 moments.

    Args:
        trained: ``C``, ``W`` or ``both``.
        codes: C at first, (K, 2).
        latents: (N, 2), all of them in every step.
        lr: learning rate.
        steps: updates.
    """
    quantizer = bottleneck(trained, codes)
    optimizer = torch.optim.SGD([p for p in quantizer.parameters() if p.requires_grad], lr=lr)
    batch = latents.T.unsqueeze(0)  # (1, 2, N)
    moments = []
    for _ in range(steps + 1):
        out = quantizer(batch)
        matrix = torch.eye(2) if isinstance(quantizer, VQ) else quantizer.projection.weight.detach().clone()
        error = float((quantizer.decode(out.tokens).detach() - batch).square().sum(dim=1).mean())
        moments.append(Moment(quantizer.codebook.detach().clone(), matrix, out.tokens[0], error))
        optimizer.zero_grad()
        out.loss.backward()  # the latents are constants: of the loss, the codebook's term alone moves something
        optimizer.step()
    return moments


def crowd(settings: ToySettings) -> dict[str, dict[str, float]]:
    """Means over random draws: codes ~ N(0, 1/2), latents around a point at distance 2, standard deviation 0.5."""
    generator = torch.Generator().manual_seed(settings.seed)
    found: dict[str, list[list[float]]] = {trained: [] for trained in TRAINED}
    for _ in range(settings.draws):
        codes = torch.randn(settings.draw_codes, 2, generator=generator) * 0.5**0.5
        angle = 2 * torch.pi * torch.rand((), generator=generator)
        centre = 2 * torch.stack([angle.cos(), angle.sin()])
        latents = centre + 0.5 * torch.randn(settings.draw_latents, 2, generator=generator)
        for trained, results in found.items():
            moments = follow(trained, codes, latents, settings.draw_lr, settings.draw_steps)
            results.append([moments[0].used, moments[-1].used, moments[-1].error, moments[-1].norm])
    names = ("used_at_first", "used", "error", "norm")
    return {t: dict(zip(names, torch.tensor(r).mean(0).tolist(), strict=True)) for t, r in found.items()}


def example(settings: ToySettings) -> dict[str, list[Moment]]:
    """The hand-picked points under each way to train."""
    codes, latents = (torch.tensor(rows, dtype=torch.float32) for rows in (settings.codes, settings.latents))
    return {trained: follow(trained, codes, latents, settings.lr, settings.steps) for trained in TRAINED}


@app.command()
def main(
    config: Annotated[Path, typer.Option(help="Settings.")] = CONF,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of figure, film and numbers.")] = OUT,
    write: Annotated[Path | None, typer.Option(help="Markdown page with the toy's marks; figures beside it.")] = None,
    draws: Annotated[bool, typer.Option(help="Random draws too.")] = True,
) -> None:
    """Run the example, draw it, and work its first update through in numbers."""
    settings = build(ToySettings, read_yaml(config), str(config))
    latents = torch.tensor(settings.latents, dtype=torch.float32)
    runs = example(settings)
    lines = [
        {"trained": trained, "step": step, "C": m.C.tolist(), "W": m.W.tolist(), "codes": m.codes.tolist(),
         "tokens": m.tokens.tolist(), "error": m.error, "codes_used": m.used, "norm": m.norm, "rank": m.rank}
        for trained, moments in runs.items() for step, m in enumerate(moments)
    ]  # fmt: skip
    write_text(output / "steps.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    draw_paths(output / "toy.png", runs, latents, TRAINED)
    draw_film(output / "toy.gif", runs, latents, TRAINED)
    random = None
    if draws:
        random = crowd(settings)
        write_text(output / "draws.json", json.dumps(random, indent=1) + "\n")
    text = page(runs, latents, settings.lr, random)
    print(text)
    if write is not None:
        if random is None:
            raise CodecError(f"{write}: the page has the random draws too; leave --no-draws away")
        find_place(write, MARKS).fill(text)
        for picture in ("toy.png", "toy.gif"):
            with replacing(write.parent / "figures" / picture) as temporary:
                shutil.copyfile(output / picture, temporary)


if __name__ == "__main__":
    run(app)
