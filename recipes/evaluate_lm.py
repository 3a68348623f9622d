"""Bits a token of a language model on recordings that it has not seen.

    python recipes/evaluate_lm.py --model exp/lm/simvq/run/best --tokens exp/lm/simvq/tokens/test \
        --train exp/lm/simvq/tokens/train -o exp/lm/simvq/score.json
    python recipes/evaluate_lm.py --table exp/lm/simvq/score.json --table exp/lm/ema/score.json
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from codec.cli import console, run
from codec.errors import CodecError

app = typer.Typer(add_completion=False)
COLUMNS = {
    "uniform_bits": "log2 K",
    "entropy_bits": "order-0 entropy",
    "order0_bits": "order-0 coder",
    "order1_bits": "order-1 coder",
    "bits_a_token": "language model",
}


@app.command()
def evaluate(
    model: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of the language model.")] = None,
    tokens: Annotated[list[Path] | None, typer.Option(help="Held-out token dataset; may be given again.")] = None,
    train: Annotated[list[Path] | None, typer.Option(help="What it was trained on; may be given again.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="JSON file for the figures.")] = None,
    table: Annotated[list[Path] | None, typer.Option(help="Only print such files as a table.")] = None,
    device: console.Device = "auto",
) -> None:
    """Print (and write) what held-out tokens cost: nothing known, how often each code comes, and the past."""
    if table:
        print_table(table)
        return
    if not (model and tokens and train):
        raise CodecError("expected --model, --tokens and --train; or --table with files of earlier scores")
    scores = score(model, tokens, train, device)
    if output is not None:
        from codec.files import write_text

        write_text(output, json.dumps(scores, indent=2) + "\n")
    print(json.dumps(scores, indent=2))


def score(model: Path, tokens: list[Path], train: list[Path], device: str) -> dict[str, Any]:
    """All figures of a model."""
    from codec.lm.corpus import TokenCorpus
    from codec.lm.network import LanguageModel
    from codec.lm.scoring import entropy_bits, measure_likelihood, order0_bits, order1_bits

    lm = LanguageModel.from_pretrained(model, device)
    held_out, training = TokenCorpus(tokens), TokenCorpus(train)
    for corpus in (held_out, training):
        corpus.check_model(lm.codec, str(model))
    found = measure_likelihood(lm, held_out)
    return {
        "model": str(model),
        "codec": asdict(lm.codec),
        "parameters": sum(parameter.numel() for parameter in lm.parameters()),
        "training_tokens": training.num_tokens,
        "recordings": found.recordings,
        "tokens": found.tokens,
        "uniform_bits": math.log2(lm.codec.codebook_size),
        "entropy_bits": entropy_bits(held_out),
        "order0_bits": order0_bits(held_out, training),
        "order1_bits": order1_bits(held_out, training),
        "bits_a_token": found.bits_a_token,
        "end_bits_a_recording": found.end_bits / found.recordings,
        "bits_per_second": found.bits_a_token * lm.codec.frame_rate,
    }


def print_table(paths: list[Path]) -> None:
    """Markdown, a codec a row, bits a token."""
    rows = []
    for path in paths:
        try:
            scores = json.loads(path.read_text(encoding="utf-8"))
            values = [f"{scores[name]:.3f}" for name in COLUMNS]
            facts = [scores["codec"]["name"], scores["codec"]["codebook_size"], scores["tokens"]]
        except OSError as error:
            raise CodecError(f"{path}: cannot be read ({error.strerror}); score the model first") from None
        except (ValueError, KeyError, TypeError):
            raise CodecError(f"{path}: no scores of recipes/evaluate_lm.py; score the model again") from None
        rows.append([path.resolve().parent.name, *facts, *values])
    head = ["system", "codec", "codes", "held-out tokens", *COLUMNS.values()]
    for row in (head, ["---"] * len(head), *rows):
        print("| " + " | ".join(map(str, row)) + " |")


if __name__ == "__main__":
    run(app)
