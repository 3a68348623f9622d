"""The recipe through Accelerate, as people start it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from codec.manifest import read_manifest

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(ROOT),
    "OMP_NUM_THREADS": "1",
    "NO_COLOR": "1",
    "ACCELERATE_USE_CPU": "true",
    "CUDA_VISIBLE_DEVICES": "",
}


def launch(processes: int, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    # Only --multi_gpu makes the launcher start several processes; with --cpu it starts one, whatever it is asked for.
    several = ["--multi_gpu", "--main_process_port", "0"] if processes > 1 else ["--cpu"]
    launcher = ["-m", "accelerate.commands.launch", *several, "--num_processes", str(processes), "--num_machines", "1"]
    return _run([*launcher, "--mixed_precision", "no", "--dynamo_backend", "no"], *arguments)


def _run(before: list[str], *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *before, str(ROOT / "recipes" / "evaluate.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, cwd=ROOT, check=False)


@pytest.fixture
def with_failures(manifest: Path, tmp_path: Path) -> Path:
    """Five of the six utterances, one of which is missing."""
    lines = manifest.read_text().splitlines()[:5]
    entries = [
        {**json.loads(line), "path": str(u.path)} for line, u in zip(lines, read_manifest(manifest), strict=False)
    ]
    entries[3]["path"] = str(tmp_path / "gone.wav")
    path = tmp_path / "five.jsonl"
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return path


def test_one_and_two_processes_give_the_same_summary(tiny_model_dir: Path, with_failures: Path, tmp_path: Path) -> None:
    for processes in (1, 2):
        output = tmp_path / f"of-{processes}"
        done = launch(
            processes,
            *("--model", tiny_model_dir, "--manifest", with_failures, "-o", output, "--save-audio"),
            *("--cache", tmp_path / "cache"),  # the second run reads what the first computed
            *(["--workers", "1"] if processes == 1 else []),
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("log-mel") == 1  # one process reports
        assert "utmos: not available: no weights; run codec fetch utmos" in done.stdout
        assert ("share of process 1 of 2" in done.stderr) == (processes == 2)
    one, two = tmp_path / "of-1", tmp_path / "of-2"
    for name in ("summary.json", "summary.md", "utterances.jsonl"):
        assert (one / name).read_bytes() == (two / name).read_bytes()

    summary = json.loads((one / "summary.json").read_text())
    assert summary["utterances"] == 5
    assert summary["errors"].keys() == {"u3"}
    for value in ("pesq_wb", "stoi", "vuv_f1", "periodicity_rmse", "mel_distance"):
        result = summary["metrics"][value]
        assert (result["n_ok"], result["n_failed"]) == (4, 1)
        assert result["failures"] == {"no reconstruction": 1}
    assert summary["rate"]["bitrate_bps"] == 450
    assert 450 < summary["rate"]["file_bps"] < 2000  # a header for every second weighs
    speed = json.loads((two / "speed.json").read_text())
    assert speed["utterances"] == 4 and speed["encode_rtf"] > 0 and speed["decode_rtf"] > 0
    assert speed["conditions"] == "cpu, processes: 2, one thread each, scoring workers: 0"
    assert summary["rate"]["tokens"] == sum(-(-n // 320) for n in (26_000, 22_123, 33_001, 30_017))
    assert sorted(path.name for path in (one / "audio").iterdir()) == ["u0.wav", "u1.wav", "u2.wav", "u4.wav"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--ground-truth", "--metrics", "pesk"], "unknown metric 'pesk'; did you mean pesq?"),
        (["--ground-truth", "--model", "x"], "what is to be scored? give one --system"),
        (
            ["--system", "codec3:1300"],
            "unknown system 'codec3:1300', and no such folder or file; did you mean codec2:1300?",
        ),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], message: str, manifest: Path, tmp_path: Path) -> None:
    done = _run([], "--manifest", manifest, "-o", tmp_path / "out", *arguments)
    assert done.returncode == 2
    assert message in done.stderr and len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()
