"""The recipe through Accelerate, as people start it."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from doubles import RATE

from codec import CodecError
from codec.evaluation import (
    MetricOptions,
    SystemOptions,
    build_metrics,
    build_system,
    evaluate,
    summarize,
    write_report,
)
from codec.evaluation.test_sets import find_test_sets, read_test_set
from codec.evaluation.unavailable import read_unavailable
from codec.manifest import Utterance, read_manifest, write_manifest

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "recipes" / "evaluate.py"
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


def _run(
    before: list[str], *arguments: str | Path, script: Path = RECIPE, **environment: str
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *before, str(script), *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, env={**ENVIRONMENT, **environment}, cwd=ROOT, check=False
    )


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
    # Without the first of each process.
    assert speed["utterances"] == 2 and speed["encode_rtf"] > 0 and speed["decode_rtf"] > 0
    assert speed["conditions"] == "cpu, processes: 2, one thread each, scoring workers: 0"
    assert summary["rate"]["tokens"] == sum(-(-n // 320) for n in (26_000, 22_123, 33_001, 30_017))
    assert sorted(path.name for path in (one / "audio").iterdir()) == ["u0.wav", "u1.wav", "u2.wav", "u4.wav"]


def test_killed_in_two_processes_and_resumed_in_four(
    tiny_model_dir: Path, utterances: list[Utterance], tmp_path: Path
) -> None:
    data = tmp_path / "data"
    write_manifest(data / "some.jsonl", utterances)
    options = ["--model", tiny_model_dir, "--test-set", "some", "--data", data, "--metrics", "stoi,mel,si-sdr"]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    dying = _run([*torchrun, "2"], *options, "-o", tmp_path / "out", script=Path(__file__).with_name("dying.py"))
    assert dying.returncode != 0
    parts = sorted((tmp_path / "out" / "some" / "parts").glob("*.jsonl"))
    scored = [json.loads(line)["id"] for part in parts for line in part.read_text().splitlines()]
    assert 2 <= len(scored) <= 5 and len(set(scored)) == len(scored)
    assert not (tmp_path / "out" / "some" / "summary.json").exists()

    done = _run([*torchrun, "4"], *options, "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out" / "some" / "speed.json").read_text())["utterances"] == 6 - len(scored)
    # In one process, undisturbed.
    system = build_system(str(tiny_model_dir), SystemOptions(device="cpu"))
    metrics = build_metrics(["stoi", "mel", "si-sdr"], MetricOptions(RATE))
    whole = evaluate(system, utterances, metrics, tmp_path / "whole")
    write_report(tmp_path / "whole", summarize(system, whole, "some"))
    for name in ("utterances.jsonl", "summary.json", "summary.csv", "summary.md"):
        assert (tmp_path / "out" / "some" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_ids_that_lead_out_of_the_output_end_all_sets_at_once(utterances: list[Utterance], tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_manifest(data / "test-clean.jsonl", utterances[:1])
    write_manifest(data / "test-other.jsonl", [dataclasses.replace(utterances[1], id="../../../outside")])
    done = _run(
        *([], "--ground-truth", "--test-set", "test-clean,test-other", "--data", data),
        *("-o", tmp_path / "out", "--metrics", "mel", "--save-audio"),
    )
    assert done.returncode == 2 and "'../../../outside': expected one that names a file in" in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


def test_test_sets_by_name(manifest: Path, utterances: list[Utterance], tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_manifest(data / "test-clean.jsonl", utterances[:3])
    write_manifest(data / "test-other.jsonl", utterances[2:])
    done = _run(
        *([], "--ground-truth", "--test-set", "test-other, test-clean", "--data", data),
        *("-o", tmp_path / "out", "--metrics", "mel", "--limit", "2"),
    )
    assert done.returncode == 0, done.stderr
    for name, ids in (("test-clean", ["u0", "u1"]), ("test-other", ["u2", "u3"])):
        lines = (tmp_path / "out" / name / "utterances.jsonl").read_text().splitlines()
        assert [json.loads(line)["id"] for line in lines] == ids
        assert json.loads((tmp_path / "out" / name / "summary.json").read_text())["test_set"] == name
    with pytest.raises(CodecError, match=r"unknown test set 'test-cleen'.*did you mean test-clean\?"):
        find_test_sets(["test-other", "test-cleen"], data)
    with pytest.raises(CodecError, match=r"no dev\.jsonl in .*; there are test-clean, test-other"):
        find_test_sets(["dev"], data)
    with pytest.raises(CodecError, match=r"no prepared test sets; run recipes/prepare_libritts\.py CORPUS -o"):
        find_test_sets(["test-clean"], tmp_path / "none")
    with pytest.raises(CodecError, match="no test set named"):
        find_test_sets([], data)


def test_a_program_that_is_not_installed_is_a_note_and_no_failure(manifest: Path, tmp_path: Path) -> None:
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    options = ["--system", "opus:6", "--manifest", manifest, "-o", tmp_path / "out"]
    done = _run(torchrun, *options, PATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    reason = "the program opusenc is not installed; it is in the package opus-tools (apt-get install opus-tools)"
    assert done.stdout.splitlines() == [f"opus:6: not available: {reason}"]
    assert "opusenc" not in done.stderr and "Traceback" not in done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["not_available.json"]
    assert read_unavailable(tmp_path / "out") == ("opus:6", reason)


def test_lines_that_repeat_an_id_are_left_out_and_counted(manifest: Path, tmp_path: Path) -> None:
    lines = manifest.read_text().splitlines()[:2]
    entries = [
        {**json.loads(line), "path": str(u.path)} for line, u in zip(lines, read_manifest(manifest), strict=False)
    ]
    again = [{**entries[1], "id": "u0"}, {**entries[0], "id": "u1"}]
    twice = tmp_path / "twice.jsonl"
    twice.write_text("".join(json.dumps(entry) + "\n" for entry in entries + again))
    done = _run([], "--ground-truth", "--manifest", twice, "-o", tmp_path / "out", "--metrics", "mel")
    assert done.returncode == 0, done.stderr
    assert "warning: twice: line 3: id 'u0' stands in line 1 already, and 1 more; not scored" in done.stderr
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    reasons = ["line 3: id 'u0' stands in line 1 already", "line 4: id 'u1' stands in line 2 already"]
    assert (summary["utterances"], summary["left_out"], summary["metrics"]["mel_distance"]["n_ok"]) == (2, reasons, 2)
    assert f"- not scored: {reasons[1]}" in (tmp_path / "out" / "summary.md").read_text()
    utterances, left_out = read_test_set(twice)
    assert utterances == read_manifest(manifest)[:2] and left_out == reasons


def test_any_other_mistake_in_a_test_set_is_said_as_ever(tmp_path: Path) -> None:
    (tmp_path / "none.jsonl").write_text("\n")
    (tmp_path / "torn.jsonl").write_text('{"id": "a"')
    (tmp_path / "bytes.jsonl").write_bytes(b"\xff\xfe")
    for name, message in (
        ("none", "the manifest has no utterances"),
        ("torn", r"torn\.jsonl:1: not a JSON object"),
        ("bytes", "not a manifest"),
        ("gone", "cannot read the manifest"),
    ):
        with pytest.raises(CodecError, match=message):
            read_test_set(tmp_path / f"{name}.jsonl")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--ground-truth", "--metrics", "pesk"], "unknown metric 'pesk'; did you mean pesq?"),
        (["--ground-truth", "--model", "x"], "what is to be scored? give one --system"),
        (["--ground-truth", "--test-set", "test-clean"], "what is it scored on? give one of --manifest"),
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


def test_reconstructions_that_are_missing_are_said_and_none_at_all_is_a_mistake(
    manifest: Path, utterances: list[Utterance], tmp_path: Path
) -> None:
    made = tmp_path / "made"
    made.mkdir()
    arguments = ("--files", made, "--manifest", manifest, "--metrics", "mel", "-o", tmp_path / "out")
    done = _run([], *arguments)
    assert done.returncode == 2
    missing = f"no reconstruction of {utterances[0].id} and {len(utterances) - 1} more: no file of this id"
    assert missing in done.stderr
    assert f"error: {manifest.stem}: not one of {len(utterances)} utterances could be scored" in done.stderr
    shutil.copy(utterances[0].path, made / f"{utterances[0].id}{utterances[0].path.suffix}")
    done = _run([], *arguments, "--overwrite")
    assert done.returncode == 0, done.stderr
    assert f"no reconstruction of {utterances[1].id} and {len(utterances) - 2} more" in done.stderr
