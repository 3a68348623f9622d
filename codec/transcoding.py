"""Audio files to token files and back, of any length in bounded memory; pipes too."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import groupby
from pathlib import Path
from threading import Event
from typing import BinaryIO, NamedTuple, ParamSpec, TypeVar

import torch
from torch import Tensor

from codec import audio as audio_io
from codec.audio.blocks import AudioReader, reading, writing
from codec.audio.files import counted
from codec.audio.resampling import resampled_length
from codec.bitstream import Condition, Header, TokenReader, TokenWriter, read_tokens, reading_tokens
from codec.errors import CodecError
from codec.files import refuse_pipe, writing_bytes
from codec.folders import Task
from codec.model import Codec, Tokens
from codec.streaming import DEFAULT_WINDOWS, Windows, decode_chunks, encode_chunks

logger = logging.getLogger(__name__)
P = ParamSpec("P")
Result = TypeVar("Result")


class Transcoded(NamedTuple):
    """What went through."""

    duration_s: float
    tokens: int
    num_bytes: int  # of the token file


Outcome = Transcoded | CodecError  # of one file among others


class Stopped(Exception):  # noqa: N818 - no error
    """The end of a file's work that :meth:`Transcoder.stop` asked for."""


class Transcoder:
    """A codec for files. It asks for the fingerprint of the model's tokens once, which reads all weights."""

    def __init__(
        self,
        codec: Codec,
        name: str = "the model given",
        windows: Windows = DEFAULT_WINDOWS,
        channel: int | None = None,
    ) -> None:
        """``name``: what errors call the model; ``channel``: of audio that is encoded, None for the mean of all."""
        self.codec, self.name, self.windows, self.channel = codec, name, windows, channel
        self.token_fingerprint = codec.token_fingerprint
        self._decodes = cache(codec.decodes)
        self._stopped = Event()

    def stop(self) -> None:
        """End what other threads have in work at its next piece, with :class:`Stopped`; files of it are not written."""
        self._stopped.set()

    def decodes(self, fingerprint: str) -> bool:
        """As :meth:`codec.Codec.decodes`, without a look at the weights for every file."""
        return fingerprint == self.token_fingerprint or self._decodes(fingerprint)

    def check_stopped(self) -> None:
        """Raises :class:`Stopped` after :meth:`stop`."""
        if self._stopped.is_set():
            raise Stopped

    # -- encoding -----------------------------------------------------------------------------------------------------

    def encode_file(self, source: Path, output: Path) -> Transcoded:
        """Encode an audio file into a ``.svq`` file, which is written at once or not at all.

        Raises:
            CodecError: audio that cannot be read, or a place that cannot be written.
        """
        with reading(source, self.codec.sample_rate, self.channel) as reader, writing_bytes(output) as file:
            return self.encode(reader, file)

    def encode(self, reader: AudioReader, file: BinaryIO) -> Transcoded:
        """Encode open audio into an open file, from start to end."""
        codec = self.codec
        header = Header(
            self.token_fingerprint, codec.sample_rate, codec.hop_length, codec.codebook_size, reader.num_samples
        )
        writer = TokenWriter(file, header)
        for tokens in encode_chunks(codec, reader.blocks()):
            self.check_stopped()
            writer.write(tokens.cpu().numpy())
        writer.finish(reader.num_given)
        return Transcoded(reader.num_given / codec.sample_rate, writer.num_frames, writer.num_bytes)

    def encode_files(self, tasks: Sequence[Task]) -> list[Outcome]:
        """Encode whole recordings together; each file is what :meth:`encode_file` makes of it.

        Returns:
            What went through, or why it did not, for each task.
        """
        loaded = [_attempt(audio_io.load, task.source, self.codec.sample_rate, self.channel) for task in tasks]
        recordings = [recording for recording in loaded if isinstance(recording, Tensor)]
        if not recordings:
            return [recording for recording in loaded if isinstance(recording, CodecError)]
        padded = torch.nn.utils.rnn.pad_sequence(recordings, batch_first=True)
        tokens = self.codec.encode(padded, lengths=torch.tensor([len(recording) for recording in recordings]))
        rows = iter(tokens.tokens.cpu())
        return [
            recording
            if isinstance(recording, CodecError)
            else _attempt(self._write_tokens, next(rows), len(recording), task.output)
            for task, recording in zip(tasks, loaded, strict=True)
        ]

    def _write_tokens(self, tokens: Tensor, num_samples: int, output: Path) -> Transcoded:
        """Write the first of ``tokens`` (F,), those of ``num_samples``."""
        codec = self.codec
        header = Header(self.token_fingerprint, codec.sample_rate, codec.hop_length, codec.codebook_size, num_samples)
        with writing_bytes(output) as file:
            writer = TokenWriter(file, header)
            writer.write(tokens[: -(-num_samples // codec.hop_length)].numpy())
            writer.finish(num_samples)
        return Transcoded(num_samples / codec.sample_rate, writer.num_frames, writer.num_bytes)

    def encoding_durations_s(self, tasks: Sequence[Task]) -> list[float]:
        """Lengths by the headers of audio files; infinite where that cannot be read."""
        infos = [_attempt(audio_io.info, task.source) for task in tasks]
        return [math.inf if isinstance(info, CodecError) else info.duration_s for info in infos]

    def check_kept(self, tasks: Sequence[Task]) -> None:
        """Refuse token files that are there already, and that encoding these recordings now would not give.

        Only headers are read: a recording that was replaced by one of the same length is not noticed. A token file that
        cannot be read is warned of and stays as it is, and so does one whose recording cannot be read.

        Args:
            tasks: whose outputs are there, and are to be kept.

        Raises:
            CodecError: a token file of another model, or of another number of samples than its recording has.
        """
        kept: list[tuple[Task, int | None]] = []
        of_others: list[tuple[Path, str]] = []
        for task in tasks:
            found = _attempt(_maker_and_length, task.output)
            if isinstance(found, CodecError):
                logger.warning("%s; it is there already and stays as it is, --force makes it again", found)
            elif not self.decodes(found[0]):
                of_others.append((task.output, found[0]))
            else:
                kept.append((task, found[1]))
        if of_others:
            path, maker = of_others[0]
            more = f" (and {len(of_others) - 1} more)" if len(of_others) > 1 else ""
            raise CodecError(
                f"{path}{more}: is there already, made by encoder {maker}, but {self.name} has encoder "
                f"{self.token_fingerprint}; give --force to make all files again, another folder with -o, or --model "
                "with the model that made it"
            )
        for task, num_samples in kept:
            expected = _attempt(self._encoded_length, task.source, num_samples)
            if not isinstance(expected, CodecError) and num_samples not in (None, expected):
                raise CodecError(
                    f"{task.output}: is there already with {num_samples} samples, but of {task.source} as it is now "
                    f"there would be {expected}; remove it, or give --force to make all files again"
                )

    def _encoded_length(self, source: Path, told: int | None) -> int:
        """Samples that a token file of a recording has; ``told``: what they are believed to be."""
        facts = audio_io.info(source)
        length = resampled_length(facts.num_samples, facts.sample_rate, self.codec.sample_rate)
        if length != told:  # a header may be wrong, and only then is it worth while to look through the file
            length = resampled_length(counted(source).num_samples, facts.sample_rate, self.codec.sample_rate)
        return length

    # -- decoding -----------------------------------------------------------------------------------------------------

    def decode_file(self, source: Path, output: Path, *, partial: bool = False) -> Transcoded:
        """Decode a ``.svq`` file into an audio file, which is written at once or not at all.

        Args:
            source: the token file.
            output: wave, FLAC or Ogg by its suffix.
            partial: of a damaged file, decode what is whole; lost frames become silence, a warning names them.

        Raises:
            CodecError: a file that cannot be read, is damaged (without ``partial``) or made by another model, or a
                place that cannot be written.
        """
        check_tokens(source, partial=partial)
        with reading_tokens(source) as reader, writing(output, self.codec.sample_rate) as writer:
            return self.decode(reader, writer.write, partial=partial)

    def decode_files(self, tasks: Sequence[Task], *, partial: bool = False) -> list[Outcome]:
        """Decode recordings together; the audio is that of :meth:`decode_file` up to rounding.

        What is damaged, or longer than one window, goes through by itself.

        Returns:
            What went through, or why it did not, for each task.
        """
        files = [_attempt(read_tokens, task.source) for task in tasks]
        window = self.windows.sizes(self.codec)[0]
        together = [
            file
            for file in files
            if not isinstance(file, CodecError)
            and file.is_whole
            and 0 < len(file.tokens) <= window
            and self.decodes(file.header.fingerprint)
        ]
        if len(together) < 2:
            return [_attempt(self.decode_file, *task, partial=partial) for task in tasks]
        ids = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(file.tokens) for file in together], batch_first=True)
        lengths = [file.num_samples or 0 for file in together]  # a whole file of frames has samples
        rows = iter(zip(self.codec.decode(Tokens(ids, torch.tensor(lengths))).cpu(), lengths, strict=True))
        outcomes: list[Outcome] = []
        for task, file in zip(tasks, files, strict=True):
            if not isinstance(file, CodecError) and any(file is other for other in together):
                waveform, num_samples = next(rows)
                written = _attempt(audio_io.write, task.output, waveform[:, :num_samples], self.codec.sample_rate)
                if file.rest():
                    logger.warning("%s: %s", task.source, file.rest())
                frames = -(-num_samples // self.codec.hop_length)
                facts = Transcoded(num_samples / self.codec.sample_rate, frames, file.num_bytes)
                outcomes.append(written if isinstance(written, CodecError) else facts)
            else:
                outcomes.append(_attempt(self.decode_file, *task, partial=partial))
        return outcomes

    def decoding_durations_s(self, tasks: Sequence[Task]) -> list[float]:
        """Lengths by the headers of token files; infinite where that cannot be read or is not told."""

        def duration_s(source: Path) -> float:
            with reading_tokens(source) as reader:
                return math.inf if reader.num_samples is None else reader.num_samples / reader.header.sample_rate

        lengths = [_attempt(duration_s, task.source) for task in tasks]
        return [math.inf if isinstance(length, CodecError) else length for length in lengths]

    def decode(self, reader: TokenReader, write: Callable[[Tensor], None], *, partial: bool = False) -> Transcoded:
        """Decode an open token file, from start to end; ``write`` gets the audio (T,) piece by piece.

        Raises:
            CodecError: as :meth:`decode_file`; but damage is found on the way, when audio has gone out already.
        """
        if not self.decodes(reader.header.fingerprint):
            raise CodecError(
                f"{reader.name}: made by encoder {reader.header.fingerprint}, but {self.name} has encoder "
                f"{self.token_fingerprint}; decode with the model that encoded it"
            )
        num_samples = 0
        for audio in self._audio(reader, partial):
            self.check_stopped()
            write(audio)
            num_samples += len(audio)
        condition = reader.condition
        _refuse_damage(reader.name, condition, partial)
        for remark in (condition.damage(), condition.rest()):
            if remark:
                logger.warning("%s: %s", reader.name, remark)
        return Transcoded(num_samples / self.codec.sample_rate, condition.num_frames, reader.num_bytes)

    def _audio(self, reader: TokenReader, partial: bool) -> Iterator[Tensor]:
        """Audio (T,) on the CPU. Each run of whole blocks is decoded by itself, what lies between is silence."""
        hop, given = self.codec.hop_length, 0
        for lost, run in groupby(reader, key=lambda block: bool(block[0] < 0)):
            if lost and not partial:
                raise _damaged(reader.name, replace(reader.condition, complete=True))  # what follows is not known yet
            if lost:
                pieces: Iterator[Tensor] = (torch.zeros(len(block) * hop, dtype=torch.float32) for block in run)
            else:
                pieces = decode_chunks(self.codec, map(torch.from_numpy, run), self.windows)
            for audio in pieces:
                # The last audio of a run comes when the run has ended, so that the number of samples is known by then.
                missing = len(audio) if reader.num_samples is None else reader.num_samples - given
                yield audio[:missing].cpu()
                given += len(audio)


def _attempt(work: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Result | CodecError:
    """What ``work`` gives, or the mistake that it found."""
    try:
        return work(*args, **kwargs)
    except CodecError as error:
        return error


def _maker_and_length(path: Path) -> tuple[str, int | None]:
    """Of a token file, the fingerprint of its model and its number of samples, where that is told."""
    refuse_pipe(path)
    with reading_tokens(path) as reader:
        return reader.header.fingerprint, reader.num_samples


def check_tokens(source: Path, *, partial: bool = False) -> None:
    """Read a token file once, to tell before any decoding whether it can be decoded.

    Raises:
        CodecError: a file that cannot be read, or only once (a pipe), is damaged (without ``partial``), or has nothing
            to decode.
    """
    refuse_pipe(source)
    with reading_tokens(source) as reader:
        for _ in reader:
            pass
    _refuse_damage(str(source), reader.condition, partial)


def _refuse_damage(name: str, condition: Condition, partial: bool) -> None:
    """Refuse a damaged recording, unless ``partial``, and one that has no frame to decode."""
    if not condition.is_whole and not partial:
        raise _damaged(name, condition)
    if condition.num_frames == sum(map(len, condition.lost)):
        reason = condition.damage() or "the recording has no samples"
        raise CodecError(f"{name}: {reason}; there is no frame to decode, encode the recording again")


def _damaged(name: str, condition: Condition) -> CodecError:
    return CodecError(f"{name}: {condition.damage()}; get it again, or give --partial to decode what is whole")
