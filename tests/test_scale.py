"""The plan of docs/scale.md: whatever follows from its measurements is what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from codec.corpora.libritts import KNOWN_SPLITS

PAGE = (Path(__file__).parents[1] / "docs" / "scale.md").read_text(encoding="utf-8")
HOURS, RECORDING_S, GPUS, NODES, READERS = 100_000, 10, 64, 8, 256
CROPS, STEPS_A_S, STEPS = 2_048, 5, 138_600  # crops a step


def row(name: str) -> list[float]:
    """The numbers of a table's first row that begins with ``name``, without their units."""
    line = next(line for line in PAGE.splitlines() if line.startswith(f"| {name} |"))
    cells = re.split(r"[|,](?!\d)", line.removeprefix(f"| {name} |"))
    return [float(found[0].replace(",", "")) for cell in cells if (found := re.search(r"\d[\d,.]*", cell))]


def says(text: str) -> None:
    assert text in re.sub(r"\s+", " ", PAGE), text


def three(number: float) -> float:
    return float(f"{number:.3g}")


@pytest.mark.parametrize("name", ["FLAC", "Opus"])
def test_storage(name: str) -> None:
    kbit_s, hour_mb, all_tb, shards, hours_each, recordings_each = row(name)
    hour = kbit_s * 1000 / 8 * 3600  # bytes
    assert hour_mb == round(hour / 1e6, 1)
    assert all_tb == round(HOURS * hour / 1e12, 1)
    assert shards == three(HOURS * hour / 1e9)
    assert hours_each == pytest.approx(1e9 / hour, abs=0.05)
    assert recordings_each == three(1e9 / hour * 3600 / RECORDING_S)


def test_bytes_and_processor_time() -> None:
    crops_s = CROPS * STEPS_A_S
    says(f"{CROPS:,} crops x {STEPS_A_S} steps = {crops_s:,} crops a second over all, {crops_s // GPUS} a GPU")
    flac_ms, _, flac = row("FLAC shards | 1 s")
    opus_ms, _, opus = row("Opus shards | 1 s")
    says(f"{crops_s * flac / 1e6:.0f} MB/s over all, {crops_s * flac / 1e6 / NODES:.0f} MB/s a node")
    says(f"Opus: {crops_s * opus / 1e6:.0f} MB/s and {crops_s * opus / 1e6 / NODES:.0f} MB/s")
    each = crops_s // GPUS
    says(f"FLAC {each} x {flac_ms} ms = {each * flac_ms / 1000:.2f} cores a GPU")
    says(f"Opus {each} x {opus_ms} ms = {each * opus_ms / 1000:.2f}")
    says(f"FLAC {crops_s / 3 * row('FLAC shards | 3 s')[-1] / 1e6:.0f} MB/s over all")
    flac_kb, opus_kb = (row(name)[0] * RECORDING_S / 8 for name in ("FLAC", "Opus"))
    says(f"10 s are {flac_kb:.0f} kB of FLAC, {crops_s * flac_kb / 1e6:.1f} GB/s over all; Opus {opus_kb:.0f} kB, ")
    says(f"{crops_s * opus_kb / 1e3:.0f} MB/s. So:")


def test_memory_of_the_loaders() -> None:
    utterances = sum(split.utterances for name, split in KNOWN_SPLITS.items() if name.startswith("train"))
    says(f"--utterances {utterances} ")
    says(f"({utterances:,}, a manifest of")
    shared_mb = row("flat tensors (as it is)")[-1]
    recordings = HOURS * 3600 // RECORDING_S
    gigabytes = shared_mb / utterances * recordings / 1e3
    says(f"{recordings // 10**6} million utterances as a manifest would be {gigabytes:.0f} GB")
    in_a_shard = row("FLAC")[-1]
    says(f"20 bytes a recording, {16 * in_a_shard * 20 / 1e6:.1f} MB, and the order of 8 of them, ")
    says(f"of them, {8 * in_a_shard * 8 / 1e6:.1f} MB")
    flac_kb, opus_kb = (row(name)[0] * RECORDING_S / 8 for name in ("FLAC", "Opus"))
    says(f"500 recordings of {opus_kb:.0f} kB (Opus) are {500 * round(opus_kb) / 1e3:.0f} MB")
    says(f"of {flac_kb:.0f} kB (FLAC) {500 * round(flac_kb) / 1e3:.0f} MB")


def test_time() -> None:
    epoch = HOURS * 3600 // RECORDING_S / CROPS
    says(f"= {epoch:,.0f} steps: {epoch / STEPS_A_S / 60:.0f} minutes")
    crops = STEPS * CROPS
    says(f"{STEPS:,} steps are {crops / 1e6:.0f} million crops, {STEPS / epoch:.1f} epochs, ")
    says(f"epochs, {STEPS / STEPS_A_S / 3600:.1f} hours")


def test_checkpoints_and_restarts() -> None:
    files = ("`model.safetensors`", "`model_1.safetensors`", "`custom_checkpoint_0.pkl`")
    sizes = [row(name)[-1] for name in files] + row("`optimizer.bin`, `optimizer_1.bin`")[-2:]
    assert row("all") == [round(sum(sizes) / 1000, 2)]
    every_s = 1000 / STEPS_A_S
    says(
        f"Every 1,000 steps ({every_s:.0f} s here) at 1 GB/s that is {100 * row('all')[0] / every_s:.0f} % of the time"
    )
    says(f"three kept are {3 * row('all')[0]:.1f} GB")
    says(f"With {READERS} readers and 1 GB that is {READERS // 2} GB; smaller shards (250 MB, ")
    says(f"make it {READERS * 0.25 / 2:.0f} GB")
