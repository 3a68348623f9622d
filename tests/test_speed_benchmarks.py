"""The naive twins do what ours does, and the speed benchmarks run and write what they say."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from accelerate.state import AcceleratorState, GradientState, PartialState
from torch import Tensor

from codec import Codec, CodecError
from codec.benchmarking.cases import CODEBOOKS, Case, Subject, standard_cases, untrained
from codec.benchmarking.machine import describe
from codec.benchmarking.operations import count_operations
from codec.benchmarking.report import heading, read_json, table, write_json
from codec.benchmarking.timing import measure
from codec.benchmarking.training import make_trainer
from codec.cli.bench import select_cases
from codec.config import RunConfig, build

ROOT = Path(__file__).parents[1]
CPU = torch.device("cpu")
SMALL = {
    "model": {
        "encoder": {"channels": 4, "strides": [8, 5, 4, 2], "latent_dim": 16, "lstm_layers": 1, "init_gain": 1.3},
        "quantizer": {"codebook_size": 64},
        "decoder": {"dim": 32, "hidden_dim": 48, "layers": 1, "group_norm_groups": 8, "dropout": 0.0},
    },
    "discriminators": {
        "periods": [2, 3],
        "period_channels": [2, 4],
        "resolutions": [[256, 64, 256]],
        "resolution_channels": 2,
        "dac_periods": [2, 5],
        "dac_period_channels": [2, 4],
        "dac_fft_sizes": [256],
        "dac_channels": 2,
    },
}


@pytest.fixture
def naive(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """The modules of benchmarks/naive, as the scripts there import them."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from naive import bottleneck, network, training

    yield SimpleNamespace(bottleneck=bottleneck, network=network, training=training)
    for name in [name for name in sys.modules if name.split(".")[0] == "naive"]:
        del sys.modules[name]


@pytest.fixture(autouse=True)
def fresh_accelerate() -> Iterator[None]:
    """Accelerate keeps its settings in global state."""
    yield
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()


@torch.no_grad()
def test_the_twin_codes_what_ours_codes(naive: SimpleNamespace, tiny_codec: Codec, speech: Tensor) -> None:
    audio = speech.view(1, 1, -1)
    tokens = naive.bottleneck.search(tiny_codec.quantizer, naive.network.encode_latents(tiny_codec.encoder, audio))
    ours = tiny_codec.encode(speech)
    assert len(ours.tokens.unique()) > 5
    assert torch.equal(ours.tokens, tokens)
    decoded = naive.network.decode_audio(tiny_codec.decoder, tiny_codec.quantizer.decode(tokens))
    assert torch.allclose(tiny_codec.decode(ours), decoded[..., : len(speech)], atol=1e-4)


def test_the_twins_bottleneck_has_our_loss_and_gradient(naive: SimpleNamespace, tiny_codec: Codec) -> None:
    latent = torch.randn(2, 16, 9, requires_grad=True)
    quantizer = tiny_codec.quantizer.train()
    ours, theirs = quantizer(latent), naive.bottleneck.quantize(quantizer, latent)
    assert torch.equal(ours.tokens, theirs.tokens)
    assert torch.allclose(ours.quantized, theirs.quantized, atol=1e-6)
    weights = [latent, quantizer.projection.weight, quantizer.projection.bias]
    for a, b in zip(torch.autograd.grad(ours.loss, weights), torch.autograd.grad(theirs.loss, weights), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_the_twins_step_is_ours(naive: SimpleNamespace, tmp_path: Path, speech: Tensor) -> None:
    """One step from the same weights on the same audio: the same gradients on both sides, and every weight moves.

    Gradients are read from Adam's first moment; the weights themselves would differ where a gradient is zero but for
    rounding, because Adam's first step is as long as its rate whatever the gradient's size.
    """
    config = build(RunConfig, SMALL)
    trainers = []
    for name in ("ours", "theirs"):
        (tmp_path / name).mkdir()
        trainers.append(make_trainer(config, tmp_path / name, 2, 0.2, cpu=True))
    ours, other = trainers
    start = [parameter.detach().clone() for parameter in ours.plain_codec.parameters()]
    twin = naive.training.NaiveTraining(other.plain_codec, other.plain_discriminators, other.config)
    # Speech: of noise, an untrained encoder makes one code, and group norm blows up what hardly varies.
    audio = speech[8000:].unfold(0, 4800, 9600).unsqueeze(1)[:4]  # (4, 1, T)
    ours.step([audio])
    twin.step(audio)
    assert all((a - b).abs().max() > 0 for a, b in zip(ours.plain_codec.parameters(), start, strict=True))
    sides = [
        (ours.optimizers[0], twin.optimizer, ours.plain_codec, other.plain_codec),
        (ours.discriminator_optimizer, twin.discriminator_optimizer, ours.plain_discriminators, twin.discriminators),
    ]
    for mine, theirs, module, their_module in sides:
        largest = max(float(state["exp_avg"].norm()) for state in theirs.state.values())
        for (name, a), b in zip(module.named_parameters(), their_module.parameters(), strict=True):
            first, second = mine.optimizer.state[a]["exp_avg"], theirs.state[b]["exp_avg"]
            assert (first - second).norm() <= 1e-2 * second.norm() + 1e-5 * largest, name


def test_cases_cover_what_they_should() -> None:
    cases = list(standard_cases([1, 2]))
    assert {case.threads for case in cases} == {1, 2}
    assert {case.codebook_size for case in cases if case.stage == "search"} == set(CODEBOOKS)
    assert {case.size for case in cases if case.stage == "train_step"} == {"tiny", "reference"}
    assert len(list(standard_cases([1], quick=True))) < len(cases) / 3


def test_cases_are_chosen_by_what_is_asked_for() -> None:
    chosen = select_cases([1], ["decode"], ["tiny"], None, None, None, quick=True)
    assert [(case.stage, case.size) for case in chosen] == [("decode", "tiny")]
    (only,) = select_cases([1], ["encode"], ["tiny"], [8], [0.5], [3], quick=False)
    assert only == Case("encode", "tiny", 8, 3, 0.5, 1)
    with pytest.raises(CodecError, match="stage 'encoding' is not known; stages are encode, search"):
        select_cases([1], ["encoding"], None, None, None, None, quick=True)
    with pytest.raises(CodecError, match="no standard case is left"):
        select_cases([1], ["search"], ["tiny"], [7], None, None, quick=True)


@pytest.mark.parametrize("stage", ["encode", "search", "decode", "round_trip"])
def test_operations_of_a_stage(stage: str) -> None:
    """Twice the length, twice the operations, but for the attention."""
    subject = Subject(untrained("tiny", 16), CPU)
    short, long = (subject.operations(Case(stage, "tiny", 16, 1, seconds, 1)) for seconds in (0.8, 1.6))  # type: ignore[arg-type]
    assert 2 * short <= long < 2.1 * short


def test_lstms_are_counted() -> None:
    lstm = torch.nn.Sequential(torch.nn.LSTM(4, 8, 2, batch_first=True))
    work = count_operations(lambda: lstm(torch.zeros(1, 10, 4)), lstm)
    assert work == 2 * 10 * 4 * 8 * ((4 + 8) + (8 + 8))


def test_contestants_are_called_in_turn() -> None:
    calls: list[str] = []
    timings = measure({name: lambda n=name: calls.append(n) for name in "ab"}, CPU, runs=3)  # type: ignore[misc]
    assert calls == ["a", "a", "b", "b"] + ["a", "b"] * 3
    assert timings["a"].runs == 3 and timings["a"].low_s <= timings["a"].median_s <= timings["a"].high_s


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from the kernel")
def test_peak_memory_is_that_of_the_call() -> None:
    work = {"large": lambda: torch.ones(25_000_000).sum(), "small": lambda: None}
    timings = measure(work, CPU, runs=1)
    large, small = timings["large"].peak_mb, timings["small"].peak_mb
    assert large is not None and small is not None
    assert 95 < large < 130 and small < 30


def test_untrained_codecs_use_many_codes(speech: Tensor) -> None:
    assert len(untrained("tiny", 256).encode(speech).tokens.unique()) > 20


def test_the_script_times_the_twin_and_writes_it_down(tmp_path: Path, speech_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    script = [sys.executable, str(ROOT / "benchmarks" / "speed.py")]
    result, document = tmp_path / "a.json", tmp_path / "speed.md"
    options = ["--size", "tiny", "--codebook", "64", "--seconds", "0.4", "--runs", "1", "--threads", "1"]
    options += ["--device", "cpu", "--speech", str(speech_path), "-o", str(result)]
    subprocess.run([*script, *options], check=True, env=environment, stdout=subprocess.DEVNULL)
    records = json.loads(result.read_text())["records"]
    assert [record["stage"] for record in records] == ["encode", "search", "decode", "round_trip"] + ["train_step"] * 2
    assert all(record["ratio"] > 0 and record["floor_s"] > 0 for record in records)
    document.write_text("before\n<!-- measured: begin -->\nold\n<!-- measured: end -->\nafter\n")
    subprocess.run([*script, "--write", str(document), str(result)], check=True, env=environment)
    text = document.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert text.count("| 64 | 1 x 0.4 | 1 |") == 6
    assert (tmp_path / "speed_0.png").stat().st_size > 1000


def test_json_and_back(tmp_path: Path) -> None:
    machine = describe(CPU, [1])
    write_json(tmp_path / "a.json", machine, [])
    found, records = read_json(tmp_path / "a.json")
    assert records == [] and found == machine.as_dict()
    assert "GFLOP/s" in heading(found) and table([]).count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["smoke", "60", "trian", "60"], "unknown step trian; steps are smoke throughput search inference tests train"),
        (["search", "1h"], "1h: expected seconds for search"),
    ],
)
def test_the_gpu_script_reads_its_whole_plan_first(arguments: list[str], says: str, tmp_path: Path) -> None:
    """A slip in the last step must not show when the machine has been paid for."""
    script = tmp_path / "benchmarks" / "gpu.sh"
    script.parent.mkdir()
    script.write_bytes((ROOT / "benchmarks" / "gpu.sh").read_bytes())
    ended = subprocess.run(["bash", str(script), *arguments], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2 and ended.stderr == f"error: {says}\n" and ended.stdout == ""


def test_the_gpu_script_measures_nothing_without_a_gpu_and_in_a_call_that_is_too_long(tmp_path: Path) -> None:
    def run(*plan: str, **more: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHON": sys.executable, "CUDA_VISIBLE_DEVICES": "", **more}
        command = ["bash", str(tmp_path / "benchmarks/gpu.sh"), *plan]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)

    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks/gpu.sh").write_bytes((ROOT / "benchmarks" / "gpu.sh").read_bytes())
    long = run("throughput", "420", "tests", "121", OUT=str(tmp_path))
    assert long.returncode == 2 and long.stderr.startswith("error: 541 s; a call with OUT has 540")
    blind = run("tests", "120")
    assert blind.returncode == 3 and "no GPU is seen" in blind.stderr and "error: not ready" in blind.stderr


def test_the_gpu_script_brings_back_what_a_killed_call_had(tmp_path: Path) -> None:
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks/gpu.sh").write_bytes((ROOT / "benchmarks" / "gpu.sh").read_bytes())
    fake = tmp_path / "python"
    fake.write_text("""#!/usr/bin/env bash
[[ $1 == -c ]] && exit
[[ $1 == -m ]] && sleep 120
while (($#)); do
  if [[ $1 == -o ]]; then echo "{}" >"$2"; fi
  shift
done
""")
    fake.chmod(0o755)
    out = tmp_path / "out"
    out.mkdir()
    call = subprocess.Popen(
        ["bash", "benchmarks/gpu.sh", "inference", "60", "tests", "100"],
        cwd=tmp_path,
        env={**os.environ, "PYTHON": str(fake), "OUT": str(out)},
        start_new_session=True,
    )
    try:
        for _ in range(600):
            if list(out.iterdir()):
                break
            time.sleep(0.1)
    finally:
        os.killpg(call.pid, signal.SIGKILL)
        call.wait()
    (piece,) = out.iterdir()
    with tarfile.open(piece) as results:
        names = {Path(name).name for name in results.getnames()}
    assert {"speed_bfloat16.json", "speed_float32.json", "speed_compiled.json"} <= names


def test_the_gpu_script_trains_in_the_layout_that_was_faster_and_keeps_to_it(tmp_path: Path) -> None:
    """All calls are one run, so that what the first has chosen holds for those to come."""
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "exp/pretrained/speech/manifests").mkdir(parents=True)
    (tmp_path / "benchmarks/gpu.sh").write_bytes((ROOT / "benchmarks" / "gpu.sh").read_bytes())
    fake = tmp_path / "python"
    fake.write_text(f"""#!/usr/bin/env bash
[[ $1 == -c && $2 == *is_available* ]] && exit
[[ $1 == -c ]] && exec {sys.executable} "$@"
[[ $1 == recipes/train.py ]] && echo "$@"
while (($#)); do
  if [[ $1 == -o ]]; then
    [[ $2 == *true* ]] || FASTER=0.1
    echo '{{"ours_step": {{"median_s": '$FASTER'}}}}' >"$2"
  fi
  shift
done
""")
    fake.chmod(0o755)
    environment = {**os.environ, "PYTHON": str(fake), "TRAIN_S": "1200"}
    for faster in ("0.08", "0.2"):
        ended = subprocess.run(
            ["bash", "benchmarks/gpu.sh", "train", "100"],
            cwd=tmp_path,
            env={**environment, "FASTER": faster},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert "training.channels_last=true training.steps=13000\n" in ended.stdout, ended
