"""The peers: what is fed to the programs and what is made of what they give, with stand-ins for the programs."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from doubles import RATE
from programs import install
from torch import Tensor

from codec import CodecError, audio
from codec.evaluation import Outcome, SystemOptions, build_system, score_utterance, summarize
from codec.evaluation.peers import Codec2, NarrowSpeex, Opus, Speex, ogg_pages
from codec.evaluation.programs import ProgramSystem
from codec.evaluation.records import Record
from codec.evaluation.stoi import STOI
from codec.evaluation.versions import versions
from codec.manifest import Utterance

PROGRAMS = ("opusenc", "opusdec", "c2enc", "c2dec", "speexenc", "speexdec")


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the whole PATH, empty."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def expected(clip: Tensor, rate: int) -> Tensor:
    """What a codec without loss or delay gives back."""
    narrow = audio.resample_sharply(clip, RATE, rate)
    return audio.resample_sharply(narrow, rate, RATE)[: len(clip)]


@pytest.mark.parametrize("mode", [3200, 2400, 1300, 700])
def test_codec2_comes_back_aligned_and_whole(
    mode: int, programs: Path, utterances: list[Utterance], clips: list[Tensor]
) -> None:
    install(programs, "c2enc", "c2dec")
    system = Codec2(mode, RATE)
    result = system.reconstruct(utterances[0], clips[0])
    torch.testing.assert_close(result.audio, expected(clips[0], 8000), atol=2e-4, rtol=0)
    frame, late = (160, 160) if mode > 1300 else (320, 160 if mode == 1300 else 240)
    assert result.file_bytes == 8 * -(-(-(-len(clips[0]) // 3) + late) // frame)
    assert (programs / "c2enc.calls").read_text().split()[0] == ("700C" if mode == 700 else str(mode))
    assert system.rate.bitrate_bps == mode and system.rate.codebook_size is None
    assert result.encode_s is not None and result.encode_s > 0
    assert result.decode_s is not None and result.decode_s > 0


@pytest.mark.parametrize("length", [18_000, 30_000])
def test_speex_look_ahead_goes_from_single_page_files_alone(
    length: int, programs: Path, utterances: list[Utterance], clips: list[Tensor]
) -> None:
    install(programs, "speexenc", "speexdec")
    clip = clips[2][:length]
    system = Speex(1, RATE)
    result = system.reconstruct(utterances[2], clip)
    torch.testing.assert_close(result.audio, expected(clip, 16_000), atol=2e-4, rtol=0)
    assert result.file_bytes == (3 if length == 18_000 else 4) * 37
    assert "--wideband --quality 1" in (programs / "speexenc.calls").read_text()
    assert system.rate.bitrate_bps == 5750


@pytest.mark.parametrize("length", [18_000, 50_000])
def test_narrow_band_speex_has_its_own_rate_and_look_ahead(
    length: int, programs: Path, utterances: list[Utterance], clips: list[Tensor]
) -> None:
    install(programs, "speexenc", "speexdec")
    clip = clips[2].repeat(2)[:length]
    system = NarrowSpeex(0, RATE)
    result = system.reconstruct(utterances[2], clip)
    torch.testing.assert_close(result.audio, expected(clip, 8_000), atol=2e-4, rtol=0)
    assert "--narrowband --quality 0" in (programs / "speexenc.calls").read_text()
    assert system.rate.bitrate_bps == 2150 and system.name == "speex-nb:0"


def test_opus_is_given_the_references_own_rate(
    programs: Path, utterances: list[Utterance], clips: list[Tensor]
) -> None:
    install(programs, "opusenc", "opusdec")
    system = Opus(6, RATE)
    result = system.reconstruct(utterances[0], clips[0])
    torch.testing.assert_close(result.audio, clips[0], atol=2e-4, rtol=0)
    assert "--padding 0 --bitrate 6" in (programs / "opusenc.calls").read_text()
    assert system.rate.bitrate_bps == 6000
    assert system.identity == "opus:6, opusenc of the tests"


@pytest.mark.parametrize(
    ("spec", "program", "package"),
    [("opus:6", "opusenc", "opus-tools"), ("codec2:1300", "c2enc", "codec2"), ("speex:1", "speexenc", "speex")],
)
def test_a_missing_program_names_its_package(spec: str, program: str, package: str, programs: Path) -> None:
    message = f"{spec}: the program {program} is not installed; it is in the package {package}"
    with pytest.raises(CodecError, match=message):
        build_system(spec, SystemOptions())


def test_a_failing_program_is_counted_with_its_last_line(programs: Path, utterances: list[Utterance]) -> None:
    install(programs, "opusenc", "opusdec", broken=("opusdec",))
    record = score_utterance(Opus(8, RATE), utterances[0], [STOI(RATE)])
    assert record.error == "opusdec failed with exit code 1: no such bit rate"
    assert record.scores == {}


def test_the_version_of_a_package_stands_in_the_summary(programs: Path, utterances: list[Utterance]) -> None:
    install(programs, "c2enc", "c2dec")
    system = Codec2(3200, RATE)
    assert system.identity == "codec2:3200, mode 3200"  # as ever: scores of earlier runs are of the same system
    assert system.versions == {"codec2": "unknown"}
    query = programs / "dpkg-query"
    query.write_text(
        "#!/bin/sh\n"
        f'[ "$1 $2" = "--search {programs}/c2enc" ] && echo "codec2: $2" && exit\n'
        '[ "$1 $4" = "--show codec2" ] && printf "1.0.5-1"\n'
    )
    query.chmod(0o755)
    record = Record("u0", "s", 1.0, file_bytes=400)
    summary = summarize(system, Outcome({"u0": record}, {}, {}, versions(system)), "one")
    assert summary["versions"]["codec2"] == "1.0.5-1" and "torch" in summary["versions"]


def test_ogg_pages() -> None:
    page = b"OggS" + bytes(22) + bytes([2, 255, 3]) + bytes(258)
    assert ogg_pages(page * 3) == 3
    with pytest.raises(CodecError, match="not an Ogg page at byte 287"):
        ogg_pages(page + b"RIFF")


@pytest.mark.parametrize(
    ("spec", "late_ms", "least"),
    [("opus:12", 1, 0.9), ("speex:5", 1, 0.85), ("speex-nb:8", 1, 0.85), ("codec2:3200", None, 0.8)],
)
def test_the_real_programs(
    spec: str, late_ms: float | None, least: float, utterances: list[Utterance], clips: list[Tensor]
) -> None:
    """Aligned to a millisecond where the waveform is kept, and near enough for STOI where only its spectrum is."""
    kind = {"opus": Opus, "speex": Speex, "speex-nb": NarrowSpeex, "codec2": Codec2}[spec.split(":")[0]]
    if shutil.which(kind.encoder) is None:
        pytest.skip(f"{kind.encoder} is not installed (package {kind.package})")
    system = build_system(spec, SystemOptions(RATE))
    assert isinstance(system, ProgramSystem)
    result = system.reconstruct(utterances[2], clips[2])
    assert len(result.audio) == len(clips[2])
    if late_ms is not None:
        size = 2 * len(clips[2])
        spectrum = np.fft.rfft(result.audio.numpy(), size) * np.conj(np.fft.rfft(clips[2].numpy(), size))
        lag = int(np.argmax(np.fft.irfft(spectrum, size)))
        assert min(lag, size - lag) <= late_ms * RATE / 1000
    assert STOI(RATE).score(clips[2], result.audio)["stoi"] > least
