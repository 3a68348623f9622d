"""What every command line shares, through a command line of its own and through the real process."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
import typer

from codec.cli import run
from codec.errors import CodecError


def outcome_of(app: typer.Typer, *args: str) -> int | str | None:
    with pytest.raises(SystemExit) as ended:
        run(app, args)
    return ended.value.code


def app_that(function) -> typer.Typer:
    app = typer.Typer()
    app.command()(function)
    return app


def fails() -> None:
    raise CodecError("a.wav: first line\nsecond [red]line[/red] " + "long " * 100)


def test_a_mistake_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert outcome_of(app_that(fails)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "error: a.wav: first line second [red]line[/red] " + "long " * 100 + "\n"


def test_our_own_errors_keep_their_traceback() -> None:
    def broken() -> None:
        raise ZeroDivisionError("ours")

    with pytest.raises(ZeroDivisionError):
        run(app_that(broken), [])


def test_success_and_chosen_exit_codes() -> None:
    assert outcome_of(app_that(lambda: None)) == 0

    def chosen() -> None:
        raise typer.Exit(3)

    assert outcome_of(app_that(chosen)) == 3


def test_the_version_is_that_of_the_package(cli) -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    shown = cli("--version")
    assert (shown.code, shown.out, shown.err) == (0, f"codec {project['version']}\n", "")


def test_interruption_is_130(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    assert outcome_of(app_that(interrupted)) == 130
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(("signalled", "code"), [(SystemExit(143), 143), (KeyboardInterrupt(), 130)])
def test_a_signal_during_compiled_code_is_one_too(signalled: BaseException, code: int) -> None:
    """As Python says it of numba's, which returns a result although the handler has raised."""

    def compiled() -> None:
        raise SystemError("CPUDispatcher(...) returned a result with an exception set") from signalled

    assert outcome_of(app_that(compiled)) == code

    def broken() -> None:
        raise SystemError("ours")

    with pytest.raises(SystemError, match="ours"):
        run(app_that(broken), [])


def test_logging_lasts_as_long_as_the_command(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "codec")

    def talks() -> None:
        logging.getLogger("codec.audio").info("a.wav: resampled %d Hz", 8000)
        logging.getLogger("codec.audio").warning("a.wav: clipped")
        logging.getLogger("codec.audio").debug("not said")
        logging.getLogger("somebody.else").info("not said")
        logging.getLogger("somebody.else").error("broken")

    def state() -> tuple[list[logging.Handler], int]:
        return list(logging.getLogger().handlers), logging.getLogger("codec").level

    before = state()
    assert outcome_of(app_that(talks)) == 0
    assert state() == before
    assert capsys.readouterr().err == "a.wav: resampled 8000 Hz\nwarning: a.wav: clipped\nerror: broken\n"


@pytest.mark.parametrize("args", [("encode",), ("encode", "a.wav", "-o", "a.svq"), ("--nonsense",), ("fly",)])
def test_usage_errors_exit_with_2(cli, args: tuple[str, ...]) -> None:
    outcome = cli(*args)
    assert outcome.code == 2
    assert "Traceback" not in outcome.err


def test_help_names_every_command(cli) -> None:
    outcome = cli("--help")
    assert outcome.code == 0
    for command in ("encode", "decode", "info", "convert"):
        assert command in outcome.out


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_that_others_care_for_are_left_to_them(number: signal.Signals) -> None:
    def of(handler: object, *, world: str = "1") -> object:
        found: list[object] = []
        before = signal.signal(number, handler)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("WORLD_SIZE", world)
            assert outcome_of(app_that(lambda: found.append(signal.getsignal(number)))) == 0
        assert signal.signal(number, before) is handler
        return found[0]

    def own(*_: object) -> None: ...

    assert of(signal.SIG_IGN) is signal.SIG_IGN  # nohup
    assert of(own) is own
    assert of(signal.SIG_DFL, world="2") is signal.SIG_DFL
    assert callable(of(signal.SIG_DFL))


def test_a_signal_is_heard_once_and_never_by_forks_in_our_name(tmp_path: Path) -> None:
    def command() -> None:
        ready, tell = os.pipe()
        child = os.fork()
        if not child:
            os.write(tell, b"1")
            while True:
                time.sleep(0.01)
        os.read(ready, 1)
        os.kill(child, signal.SIGTERM)
        (tmp_path / "child").write_text(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            os.kill(os.getpid(), signal.SIGHUP)
            (tmp_path / "cleared").touch()

    assert outcome_of(app_that(command)) == 128 + signal.SIGTERM
    assert (tmp_path / "child").read_text() == str(-signal.SIGTERM)
    assert (tmp_path / "cleared").exists()


# -- the real process -------------------------------------------------------------------------------------------------


def process(*args: object) -> subprocess.CompletedProcess[str]:
    code = "from codec.cli import main; main()"
    return subprocess.run([sys.executable, "-c", code, *map(str, args)], capture_output=True, text=True, check=False)


def test_the_process_ends_a_mistake_with_one_line(tmp_path: Path) -> None:
    ended = process("info", tmp_path / "missing.wav")
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.startswith("error: ")
    assert ended.stderr.count("\n") == 1


def test_the_process_encodes(tmp_path: Path, stereo_path: Path, tiny_model_dir: Path) -> None:
    ended = process("encode", stereo_path, "-o", tmp_path / "a.svq", "--model", tiny_model_dir, "--device", "cpu")
    assert ended.returncode == 0
    assert ended.stdout.startswith(f"{tmp_path / 'a.svq'}: 2.00 s, 150 tokens, ")
    assert ended.stderr == f"{stereo_path}: down-mixed 2 channels to mono, resampled 8000 Hz to 24000 Hz\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("command", ["tokens", "info", "encode"])
def test_the_process_says_that_its_output_takes_no_more(
    tmp_path: Path, stereo_path: Path, cli, tiny_model_dir: Path, command: str
) -> None:
    cli("encode", stereo_path, "-o", tmp_path / "a.svq", "--model", tiny_model_dir)
    encode = f"encode {stereo_path} -o {tmp_path / 'b.svq'} --model {tiny_model_dir}"
    args = encode if command == "encode" else f"{command} {tmp_path / 'a.svq'}"
    code = f"{sys.executable} -c 'from codec.cli import main; main()' {args} > /dev/full"
    ended = subprocess.run(code, shell=True, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    said = "error: standard output: writing failed (No space left on device); what was sent is not whole\n"
    assert ended.stderr.endswith(said) and "Traceback" not in ended.stderr


def test_an_error_that_is_not_of_the_output_is_ours() -> None:
    def broken() -> None:
        raise OSError(28, "of something else")

    with pytest.raises(OSError, match="of something else"):
        run(app_that(broken), [])
