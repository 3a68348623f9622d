"""The toy in numbers: its first update worked through, and what each way to train ends with, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from toy import Moment

MARKS = ("<!-- numbers: python egs/collapse/toy.py --write egs/collapse/TOY.md -->", "<!-- end of numbers -->")
SHOWN = (0, 1, 2, 5, 10, 20, 40)  # steps of the table


def page(
    runs: Mapping[str, Sequence[Moment]],
    latents: Tensor,
    lr: float,
    draws: Mapping[str, Mapping[str, float]] | None,
) -> str:
    """What stands between the marks of TOY.md.

    Args:
        runs: way to train -> moments.
        latents: (N, 2).
        lr: learning rate.
        draws: way to train -> means over random draws.
    """
    parts = [_choice(runs["W"][0], latents), _only_c(runs["C"], latents, lr), _only_w(runs["W"], latents, lr)]
    parts += [_both(runs["both"]), _table(runs)]
    if draws is not None:
        parts.append(_draws(draws))
    return "\n".join(parts)


def _choice(first: Moment, latents: Tensor) -> str:
    distances = torch.cdist(latents, first.codes).square()
    lines = ["### Who chooses whom\n", "Squared distances before the first update; each latent takes the smallest.\n"]
    lines.append("| latent | " + " | ".join(f"to c{k} = {point(code)}" for k, code in enumerate(first.codes)) + " |")
    lines.append("|---|" + "---:|" * len(first.codes))
    for n, row in enumerate(distances):
        cells = [f"**{number(d)}**" if k == first.tokens[n] else number(d) for k, d in enumerate(row)]
        lines.append(f"| z{n} = {point(latents[n])} | " + " | ".join(cells) + " |")
    unused = [f"c{k}" for k in range(len(first.C)) if k not in first.tokens]
    chosen = ", ".join(f"z{n} takes c{k}" for n, k in enumerate(first.tokens.tolist()))
    lines.append(f"\n{chosen}. Nobody takes {' and '.join(unused)}. Mean squared distance: {number(first.error)}.\n")
    return "\n".join(lines)


def _errors(first: Moment, latents: Tensor) -> list[str]:
    """e_n = q_n - z_n, one line each."""
    lines = []
    for n, k in enumerate(first.tokens.tolist()):
        e = first.codes[k] - latents[n]
        lines.append(f"    e{n} = c{k} - z{n} = {point(first.codes[k])} - {point(latents[n])} = {point(e)}")
    return lines


def _only_c(moments: Sequence[Moment], latents: Tensor, lr: float) -> str:
    """dL/dc_k = 2 / (N D) * sum of the e_n that chose k."""
    first, after = moments[:2]
    share = 2 / latents.numel()
    lines = ["### One update of C alone\n", *_errors(first, latents), ""]
    for k in range(len(first.C)):
        mine = [n for n, token in enumerate(first.tokens.tolist()) if token == k]
        if not mine:
            lines.append(f"    dL/dc{k} = 0: c{k} stays at {point(after.C[k])}")
            continue
        gradient = share * sum(first.codes[k] - latents[n] for n in mine)
        named = " + ".join(f"e{n}" for n in mine)
        lines.append(f"    dL/dc{k} = {number(share)} ({named}) = {point(gradient)}")
        lines.append(f"    c{k} <- {point(first.C[k])} - {number(lr)} {point(gradient)} = {point(after.C[k])}")
    return "\n".join(lines) + "\n"


def _only_w(moments: Sequence[Moment], latents: Tensor, lr: float) -> str:
    """dL/dW = 2 / (N D) * sum of e_n c_(k_n)^T."""
    first, after = moments[:2]
    share = 2 / latents.numel()
    lines = ["### One update of W alone\n", "Codes are W c. Every latent's error moves W by an outer product:\n"]
    total = torch.zeros(2, 2)
    for n, k in enumerate(first.tokens.tolist()):
        e = first.codes[k] - latents[n]
        outer = torch.outer(e, first.C[k])
        total += outer
        lines.append(f"    e{n} c{k}^T = {point(e)}^T {point(first.C[k])} = {matrix(outer)}")
    lines.append(f"    dL/dW = {number(share)} {matrix(total)} = {matrix(share * total)}")
    lines.append(f"    W <- {matrix(first.W)} - {number(lr)} {matrix(share * total)} = {matrix(after.W)}\n")
    lines.append("and with W every code moves, chosen or not:\n")
    for k in range(len(first.C)):
        lines.append(f"    W c{k}: {point(first.codes[k])} -> {point(after.codes[k])}")
    lines.append(f"\n{after.used} codes are now the nearest of some latent, where {first.used} were.\n")
    return "\n".join(lines)


def _both(moments: Sequence[Moment]) -> str:
    """The two gradients are those above, since W is the identity before the first update."""
    first, after = moments[:2]
    lines = ["### One update of both\n", "W is the identity at first, so that both gradients are those above:\n"]
    for k in range(len(first.C)):
        lines.append(f"    W c{k}: {matrix(after.W)} {point(after.C[k])}^T = {point(after.codes[k])}")
    lines.append(f"\nThe chosen codes are moved twice: the mean squared distance is now {number(after.error)}.\n")
    return "\n".join(lines)


def _table(runs: Mapping[str, Sequence[Moment]]) -> str:
    lines = ["### What becomes of it\n", "Mean squared distance, codes used, Frobenius norm and rank of W:\n"]
    lines.append("| step | " + " | ".join(f"{name}: error | used | norm | rank" for name in runs) + " |")
    lines.append("|---:|" + "---:|" * (4 * len(runs)))
    for step in SHOWN:
        cells = []
        for moments in runs.values():
            if step >= len(moments):
                break
            m = moments[step]
            cells += [f"{m.error:.3f}", str(m.used), f"{m.norm:.2f}", str(m.rank)]
        if cells:
            lines.append(f"| {step} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _draws(draws: Mapping[str, Mapping[str, float]]) -> str:
    lines = ["### Random draws\n"]
    lines.append("| trained | codes used at first | codes used at the end | mean squared distance | norm of W |")
    lines.append("|---|---:|---:|---:|---:|")
    for trained, m in draws.items():
        lines.append(f"| {trained} | {m['used_at_first']:.2f} | {m['used']:.2f} | {m['error']:.3f} | {m['norm']:.2f} |")
    return "\n".join(lines) + "\n"


def number(value: float | Tensor) -> str:
    """Up to five decimals, no more than it takes."""
    return f"{round(float(value), 5) + 0.0:g}" if abs(float(value)) < 1e5 else f"{float(value):.3e}"


def point(values: Tensor) -> str:
    """(1, -2)."""
    return f"({', '.join(number(value) for value in values)})"


def matrix(values: Tensor) -> str:
    """[[1, 0], [0, 1]]."""
    return "[" + ", ".join(f"[{', '.join(number(value) for value in row)}]" for row in values) + "]"
