"""Stand-ins for command-line codecs: lossless, but as late and as formal as the real ones."""

from __future__ import annotations

import sys
from pathlib import Path

_PAGE = "b'OggS' + bytes(22) + bytes([1, {size}]) + bytes({size})"

# name -> body; every call is noted in NAME.calls beside the program.
BODIES = {
    # One page where the input is short, two where it is longer than a second; the waveform lies beside the file.
    "speexenc": f"""
source, coded = map(Path, sys.argv[-2:])
pages = 3 if source.stat().st_size < 32_044 else 4
coded.write_bytes(b"".join({_PAGE.format(size=9)} for _ in range(pages)))
coded.with_suffix(".kept").write_bytes(source.read_bytes())
""",
    "speexdec": """
import wave
coded, decoded = map(Path, sys.argv[-2:])
with wave.open(str(coded.with_suffix(".kept"))) as file:
    rate = file.getframerate()
    assert (file.getsampwidth(), file.getnchannels()) == (2, 1)
    samples = file.readframes(file.getnframes())
late = bytes(2 * {16_000: 223, 8_000: 80}[rate]) if coded.stat().st_size == 3 * 37 else b""
with wave.open(str(decoded), "wb") as file:
    file.setnchannels(1), file.setsampwidth(2), file.setframerate(rate)
    file.writeframes(late + samples)
""",
    # Whole frames only; 8 bytes a frame.
    "c2enc": """
mode, source, coded = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
frame = {"3200": 160, "2400": 160, "1300": 320, "700C": 320}[mode]
frames = source.stat().st_size // (2 * frame)
coded.write_bytes(bytes(8 * frames))
coded.with_suffix(".kept").write_bytes(source.read_bytes()[: 2 * frame * frames])
""",
    "c2dec": """
mode, coded, decoded = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
late = 240 if mode == "700C" else 160
samples = coded.with_suffix(".kept").read_bytes()
decoded.write_bytes((bytes(2 * late) + samples)[: len(samples)])
""",
    "opusenc": """
Path(sys.argv[-1]).write_bytes(Path(sys.argv[-2]).read_bytes())
""",
    "opusdec": """
assert sys.argv[2:4] == ["--rate", "24000"], sys.argv
Path(sys.argv[-1]).write_bytes(Path(sys.argv[-2]).read_bytes())
""",
    "broken": "sys.exit('first line\\nno such bit rate')",
}


def install(folder: Path, *names: str, broken: tuple[str, ...] = ()) -> None:
    """Write the programs ``names`` into ``folder``; those in ``broken`` fail."""
    for name in names:
        program = folder / name
        body = BODIES["broken" if name in broken else name]
        program.write_text(
            f"#!{sys.executable} -S\nimport sys\nfrom pathlib import Path\n"
            f"if sys.argv[1] == '--version':\n    sys.exit('{name} of the tests')\n"
            f"with open({str(folder / (name + '.calls'))!r}, 'a') as log:\n    print(*sys.argv[1:], file=log)\n{body}"
        )
        program.chmod(0o755)
