"""Speak with a language model: from nothing, or on from a recording.

python recipes/generate.py --model exp/lm/simvq/run/best --codec exp/mini/tiny/best -o exp/lm/simvq/samples
python recipes/generate.py --model LM --codec CODEC --prompt speech.wav --prompt-s 3 --seconds 10 -o out/
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codec.cli import console, run
from codec.errors import CodecError

if TYPE_CHECKING:
    from torch import Tensor

    from codec import Codec

app = typer.Typer(add_completion=False)
FACTS_FILE = "samples.json"


@app.command()
def generate(
    model: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the language model.")],
    codec_dir: Annotated[str, typer.Option("--codec", metavar="DIR", help="The codec whose tokens it speaks.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for audio and tokens.")],
    count: Annotated[int, typer.Option(min=1, help="Recordings to make.")] = 4,
    seconds: Annotated[float, typer.Option(min=0.02, help="New speech at most; the model may end earlier.")] = 5.0,
    prompt: Annotated[Path | None, typer.Option(help="Audio to go on from.")] = None,
    prompt_s: Annotated[float | None, typer.Option(min=0.02, help="Only its first seconds.")] = None,
    temperature: Annotated[
        float, typer.Option(help="Below 1: likelier tokens more often; 0: always the likeliest.")
    ] = 1.0,
    top_k: Annotated[int, typer.Option(min=0, help="Only the k likeliest tokens; 0: all.")] = 0,
    top_p: Annotated[float, typer.Option(help="Only the likeliest tokens of this probability together.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 0,
    device: console.Device = "auto",
    force: console.Force = False,
) -> None:
    """Sample recordings: OUTPUT/000.wav, its tokens 000.svq, ..., and samples.json; the prompt is their beginning."""
    import torch

    from codec import Codec, audio, bitstream
    from codec.config import build
    from codec.files import write_text
    from codec.lm.network import LanguageModel
    from codec.lm.sampling import SamplingConfig, sample

    settings = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": seed}
    config = build(SamplingConfig, settings, "sampling")
    if prompt_s is not None and prompt is None:
        raise CodecError(f"--prompt-s {prompt_s} says how much of a prompt to take; give one with --prompt")
    for number in range(count):
        console.check_output(output / f"{number:03}.wav", force)
    lm, codec = LanguageModel.from_pretrained(model, device), Codec.from_pretrained(codec_dir, device)
    fingerprint = codec.token_fingerprint
    if not codec.decodes(lm.codec.fingerprint):
        raise CodecError(
            f"{codec_dir}: is codec {fingerprint}, but {model} speaks the tokens of {lm.codec.fingerprint} "
            f"({lm.codec.name}); give that one with --codec"
        )
    beginning = torch.zeros(0, dtype=torch.int64) if prompt is None else read_prompt(prompt, prompt_s, codec)
    samples = sample(lm, beginning, count, max(1, round(seconds * codec.frame_rate)), config)
    facts = []
    for number, (tokens, ended) in enumerate(samples):
        num_samples = len(tokens) * codec.hop_length
        header = bitstream.Header(fingerprint, codec.sample_rate, codec.hop_length, codec.codebook_size, num_samples)
        name = f"{number:03}"
        bitstream.write_tokens(output / f"{name}.svq", header, tokens.numpy())
        audio.write(output / f"{name}.wav", codec.decode(tokens)[0].cpu(), codec.sample_rate)
        facts.append({"file": f"{name}.wav", "prompt_tokens": len(beginning), "tokens": len(tokens), "ended": ended})
        print(f"{output / name}.wav: {num_samples / codec.sample_rate:.2f} s{', ended by the model' if ended else ''}")
    described = {"model": str(model), "codec": codec_dir, "prompt": str(prompt) if prompt else None}
    write_text(output / FACTS_FILE, json.dumps({**described, **settings, "samples": facts}, indent=2) + "\n")


def read_prompt(path: Path, seconds: float | None, codec: Codec) -> Tensor:
    """Tokens (P,) of a recording, or of its first seconds."""
    from codec import audio

    speech = audio.load(path, codec.sample_rate)
    if seconds is not None:
        speech = speech[: round(seconds * codec.sample_rate)]
    return codec.encode(speech).tokens[0].cpu()


if __name__ == "__main__":
    run(app)
