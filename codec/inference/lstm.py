"""An LSTM over one long sequence, in parts at the same time, with the result of one pass."""

from __future__ import annotations

import torch
from torch import Tensor, nn

LANES = 12  # parts; with so few, a step takes a CPU hardly longer than one of one part: it waits for the weights
RUN_UPS = (32, 48, 64, 96)  # frames before a part, from which its state is guessed; the first that is enough
GAIN = 4  # run-ups that a sequence must have at least, to be done sooner in parts
LEAST_FRAMES = GAIN * RUN_UPS[0]  # of fewer the run-up need not be known
# Largest difference of states (the hidden one lies in -1..1) that counts as none. Float32 leaves 5e-7 between two ways
# to sum the same; at 1e-6 a part in twelve was computed again for nothing.
ROUNDING = 4e-6
MAX_REPAIRS = 2  # rounds of recomputing parts before the rest is done in one pass

State = tuple[Tensor, Tensor]  # hidden and cell, (layers, B, C)


def lstm_in_lanes(lstm: nn.LSTM, x: Tensor, run_up: int, state: State | None = None) -> tuple[Tensor, State]:
    """``lstm(x, state)`` up to rounding: outputs (1, F, C) -> (1, F, H), and the state at the end.

    A step of one sequence is a matrix-vector product, which takes as long as reading the weights. So the sequence is
    cut into parts that run side by side. Each starts from a guess: the state after a run-up from zero, in which most
    LSTMs forget what was before. Every guess is then compared with the state in which the part before really ended;
    where it differs, the part is computed again from the true state; if many do, or keep differing, the rest is done
    in one pass. The outcome never rests on the guess.

    Args:
        lstm: unidirectional, ``batch_first``, no projections.
        x: one sequence.
        run_up: frames, as of :func:`run_up_of`.
        state: before it; None: zero.
    """
    frames, channels = x.shape[1:]
    if frames < GAIN * run_up:
        outputs, end = lstm(x, state)
        return outputs, end
    run_up += (frames - run_up) % LANES  # the parts then have one length, with nothing left over
    length = (frames - run_up) // LANES
    # Part n is run_up + n * length + (0 .. length - 1); what lies before the first one is done with the run-ups.
    before = x[0].unfold(0, run_up, length)[:LANES].transpose(1, 2)
    zero = x.new_zeros(lstm.num_layers, LANES, lstm.hidden_size)
    starts = (zero, zero.clone())
    if state is not None:
        for start, given in zip(starts, state, strict=True):
            start[:, :1] = given
    first, assumed = lstm(before.contiguous(), starts)
    parts = x[0, run_up:].view(LANES, length, channels)
    outputs, ends = lstm(parts, assumed)
    true = assumed
    for attempt in range(MAX_REPAIRS + 1):
        true = tuple(torch.cat([guess[:, :1], end[:, :-1]], dim=1) for guess, end in zip(assumed, ends, strict=True))
        wrong = torch.stack([(a - b).abs().amax(dim=(0, 2)) for a, b in zip(assumed, true, strict=True)]).amax(dim=0)
        rows = (~(wrong <= ROUNDING)).nonzero()[:, 0]  # never the first; what is no number counts as wrong
        if not len(rows):
            break
        if attempt == MAX_REPAIRS or len(rows) > LANES // 2:  # a long memory
            kept = int(rows[0])
            rest, last = lstm(parts[kept:].reshape(1, -1, channels), _select(true, slice(kept, kept + 1)))
            return torch.cat([first[:1], outputs[:kept].reshape(1, kept * length, -1), rest], dim=1), last
        again, ended = lstm(parts[rows], _select(true, rows))
        outputs[rows] = again
        for guess, new, end, start in zip(assumed, true, ends, ended, strict=True):
            guess[:, rows] = new[:, rows]
            end[:, rows] = start
    return torch.cat([first[:1], outputs.reshape(1, LANES * length, -1)], dim=1), _select(ends, slice(-1, None))


@torch.no_grad()
def run_up_of(lstm: nn.LSTM, x: Tensor) -> int | None:
    """Behind how many frames of (1, F, C), F at least the longest of ``RUN_UPS``, it does not matter what came before.

    To be asked of a few frames once; of other frames the answer may be another, which :func:`lstm_in_lanes` notices.
    None: LSTMs that have learned to count (cell states that only grow) never forget.
    """
    one = other = None
    done = 0
    for run_up in RUN_UPS:
        one = lstm(x[:, done:run_up], one)[1]
        # The other begins in a state that it may really be in.
        other = lstm(x[:, done:run_up], one if other is None else other)[1]
        if all(float((a - b).abs().max()) <= ROUNDING for a, b in zip(one, other, strict=True)):
            return run_up
        done = run_up
    return None


def _select(state: State | tuple[Tensor, ...], rows: slice | Tensor) -> State:
    hidden, cell = (part[:, rows].contiguous().clone() for part in state)
    return hidden, cell
