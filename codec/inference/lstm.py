"""An LSTM over one long sequence, in parts at the same time, with the result of one pass."""

from __future__ import annotations

import torch
from torch import Tensor, nn

LANES = 12  # parts; with so few, a step takes a CPU hardly longer than one of one part: it waits for the weights
RUN_UP = 32  # frames before a part, from which its state is guessed
ROUNDING = 1e-6  # largest difference of states (which lie in -1..1 for the hidden one) that counts as none
FORGOTTEN = 1e-2  # difference of states after a run-up from unlike ones, above which parts are not tried
MAX_REPAIRS = 2  # rounds of recomputing parts before the rest is done in one pass

State = tuple[Tensor, Tensor]  # hidden and cell, (layers, B, C)


def lstm_in_lanes(lstm: nn.LSTM, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
    """``lstm(x, state)`` up to rounding: outputs (1, F, C) -> (1, F, H), and the state at the end.

    A step of one sequence is a matrix-vector product, which takes as long as reading the weights. So the sequence is
    cut into parts that run side by side. Each starts from a guess: the state after a run-up from zero, in which most
    LSTMs forget what was before. Every guess is then compared with the state in which the part before really ended;
    where it differs, the part is computed again from the true state, and if parts keep differing the rest is done in
    one pass. The outcome never rests on the guess.

    Trained LSTMs may count over seconds (cell states that only grow). Two run-ups from unlike states tell: where they
    end far apart, no part is begun. (For an LSTM that does so of any speech :func:`forgets` saves even that.)

    Args:
        lstm: unidirectional, ``batch_first``, no projections.
        x: one sequence.
        state: before it; None: zero.
    """
    frames = x.shape[1]
    length = frames // LANES  # of a part; what is left over follows in one pass
    if length <= RUN_UP:
        outputs, end = lstm(x, state)
        return outputs, end
    parts = x[0, : LANES * length].view(LANES, length, -1)
    run_up = torch.cat([parts[:1, :RUN_UP], parts[:-1, -RUN_UP:]])  # of the first part: not used
    assumed = _select(lstm(run_up)[1], slice(None))
    if _apart(assumed, lstm(run_up, tuple(part.roll(1, dims=1) for part in assumed))[1]) > FORGOTTEN:
        outputs, end = lstm(x, state)
        return outputs, end
    starts = tuple(torch.zeros_like(guess[:, :1]) for guess in assumed) if state is None else state
    for guess, start in zip(assumed, starts, strict=True):
        guess[:, :1] = start
    outputs, ends = lstm(parts, assumed)
    for attempt in range(MAX_REPAIRS + 1):
        true = tuple(torch.cat([start, end[:, :-1]], dim=1) for start, end in zip(starts, ends, strict=True))
        wrong = torch.stack([(a - b).abs().amax(dim=(0, 2)) for a, b in zip(assumed, true, strict=True)]).amax(dim=0)
        rows = (wrong > ROUNDING).nonzero()[:, 0]  # never the first
        if not len(rows):
            break
        if attempt == MAX_REPAIRS:  # a long memory
            first = int(rows[0])
            rest, last = lstm(x[:, first * length :], _select(true, slice(first, first + 1)))
            return torch.cat([outputs[:first].reshape(1, first * length, -1), rest], dim=1), last
        again, ended = lstm(parts[rows], _select(true, rows))
        outputs[rows] = again
        for kept, new, end, start in zip(assumed, true, ends, ended, strict=True):
            kept[:, rows] = new[:, rows]
            end[:, rows] = start
    done, last = outputs.reshape(1, LANES * length, -1), _select(ends, slice(-1, None))
    if frames == LANES * length:
        return done, last
    rest, last = lstm(x[:, LANES * length :], last)
    return torch.cat([done, rest], dim=1), last


@torch.no_grad()
def forgets(lstm: nn.LSTM, x: Tensor) -> bool:
    """Whether it does not matter behind RUN_UP frames of (1, F, C) what state they began in.

    To be asked of a few frames once; of other frames the answer may be another, which :func:`lstm_in_lanes` notices.
    """
    ended = lstm(x[:, :RUN_UP])[1]
    return _apart(ended, lstm(x[:, :RUN_UP], ended)[1]) <= FORGOTTEN


def _apart(one: State, other: State) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(one, other, strict=True))


def _select(state: State | tuple[Tensor, ...], rows: slice | Tensor) -> State:
    hidden, cell = (part[:, rows].contiguous().clone() for part in state)
    return hidden, cell
