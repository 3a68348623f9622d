"""Results of the study in the codec, for ``codec compare-quantizers``: one JSON line a run.

    python egs/collapse/codec_results.py exp/collapse/codec                # exp/collapse/codec/results.jsonl
    python egs/collapse/codec_results.py exp/collapse/codec_random --source "test-mini, random start"
    codec compare-quantizers exp/collapse/codec/results.jsonl exp/collapse/codec_random/results.jsonl \\
        -o exp/collapse/report

The folder is one of ``egs/mini/study.py``: ``NAME/seed_N`` with a run and its scores, or with what made it fail. Scores
and use are those of the test set; effective dimensions those of the last validation. Maps of codes are made of the
lowest seed of each row.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from codec import Codec
from codec.cli import run
from codec.config import ModelConfig, build, load_run_config
from codec.errors import CodecError
from codec.evaluation.bottlenecks.maps import code_map
from codec.evaluation.records import RECORDS_FILE
from codec.files import read_json, write_text
from codec.pretrained import CONFIG_FILE
from codec.quantizers import build_quantizer

SCORES = {"pesq": "pesq_wb", "stoi": "stoi", "mel": "mel_distance"}  # of a line: of a summary
USAGE = ("codes_used", "perplexity", "entropy_bits")
DIMENSIONS = {"effective_dimension": "effective_dimension/codebook", "latent_dimension": "effective_dimension/latents"}

app = typer.Typer(add_completion=False)


def line(folder: Path, *, with_map: bool) -> dict[str, Any] | None:
    """What a run says of itself; None where it is neither scored nor failed."""
    summary, failed = folder / "scores/summary.json", folder / "failed.txt"
    if not summary.exists() and not failed.exists():
        return None
    seed = folder.name.removeprefix("seed_")
    found: dict[str, Any] = {"system": folder.parent.name, "seed": int(seed)}
    if not summary.exists():
        return found | {"codebook_size": _size(folder), "failed": failed.read_text(encoding="utf-8").strip()}
    scores = read_json(summary, "score the run again")
    found |= {"codebook_size": scores["rate"]["codebook_size"], "source": scores["test_set"]}
    means = {key: scores["metrics"][name]["mean"] for key, name in SCORES.items()}
    found |= {key: mean for key, mean in means.items() if mean is not None}  # None: no utterance could be scored
    found |= {key: scores["rate"][key] for key in USAGE}
    metrics = [json.loads(text) for text in (folder / "run/metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    last = [entry for entry in metrics if entry["kind"] == "validation"][-1]
    found |= {key: last[name] for key, name in DIMENSIONS.items()}
    trained = [entry for entry in metrics if entry["kind"] == "train" and "codes_used" in entry]
    found |= _numbers(folder)
    found["use"] = [[entry["step"], entry["codes_used"]] for entry in trained]
    if with_map:
        codec = Codec.from_pretrained(folder / "run/last", device="cpu")
        found["map"] = code_map(codec.quantizer, _tokens(folder / "scores" / RECORDS_FILE)).to_json()
    return found


def _numbers(folder: Path) -> dict[str, int]:
    """What the bottleneck consists of."""
    config = build(ModelConfig, read_json(folder / "run/last" / CONFIG_FILE, "train the run again"))
    quantizer = build_quantizer(config.encoder.latent_dim, config.quantizer)
    learned = sum(weight.numel() for weight in quantizer.parameters() if weight.requires_grad)
    total = sum(value.numel() for value in quantizer.state_dict().values())
    return {"learned": learned, "held": total - learned}


def _size(folder: Path) -> int:
    config = folder / "run/config.yaml"
    if not config.exists():
        raise CodecError(f"{folder}: failed before it had settings; run egs/mini/study.py again")
    return load_run_config(config).model.quantizer.codebook_size


def _tokens(records: Path) -> torch.Tensor:
    lines = records.read_text(encoding="utf-8").split("\n")
    return torch.tensor([token for text in filter(None, lines) for token in json.loads(text)["tokens"] or []])


def lines(folder: Path) -> list[dict[str, Any]]:
    """Of all runs, row by row."""
    found = []
    for row in sorted(path for path in folder.iterdir() if path.is_dir()):
        mapped = False
        for run_folder in sorted(row.glob("seed_*"), key=lambda path: int(path.name.removeprefix("seed_"))):
            entry = line(run_folder, with_map=not mapped)
            if entry is not None:
                mapped = mapped or "map" in entry
                found.append(entry)
    sources = {entry["source"] for entry in found if "source" in entry}
    for entry in found:  # a run that failed belongs to the table of those that did not
        entry.setdefault("source", min(sources, default=""))
    return found


@app.command()
def main(
    folder: Annotated[Path, typer.Argument(metavar="RUNS", help="Folder of egs/mini/study.py.")],
    source: Annotated[str | None, typer.Option(help="Name of the report's table. [default: the test set's]")] = None,
) -> None:
    """Write results.jsonl into the folder."""
    found = lines(folder) if folder.is_dir() else []
    if source is not None:
        found = [entry | {"source": source} for entry in found]
    if not found:
        raise CodecError(f"{folder}: has no run that is scored; run egs/mini/study.py --study ... -o {folder} first")
    write_text(folder / "results.jsonl", "".join(json.dumps(entry) + "\n" for entry in found))
    failed = sum("failed" in entry for entry in found)
    print(f"{folder / 'results.jsonl'}: {len(found)} runs, {failed} of them failed")


if __name__ == "__main__":
    run(app)
