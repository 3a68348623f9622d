"""An LSTM over one long sequence, in parts at the same time, with the result of one pass."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LANES = 12  # parts; with so few, a step takes a CPU hardly longer than one of one part: it waits for the weights
RUN_UPS = (32, 40, 48, 64, 96)  # frames before a part, from which its state is guessed; the first that is enough
GAIN = 4  # run-ups that a sequence must have at least, to be done sooner in parts
LEAST_FRAMES = GAIN * RUN_UPS[0]  # of fewer the run-up need not be known
MOST_FRAMES = 3000  # at a time: what is kept of all steps is several times as much as the sequence
# Largest difference of states (the hidden one lies in -1..1) that counts as none. Float32 leaves 5e-7 between two ways
# to sum the same; at 1e-6 a part in twelve was computed again for nothing.
ROUNDING = 4e-6
MAX_REPAIRS = 2  # rounds of recomputing parts before the rest is done in one pass

State = tuple[Tensor, Tensor]  # hidden and cell, (layers, B, C)


class LSTMInLanes:
    """``lstm(x, state)`` without gradient, up to rounding: outputs (1, F, C) -> (1, F, H), and the state at the end.

    A step of one sequence is a matrix-vector product, which takes as long as reading the weights. So the sequence is
    cut into parts that run side by side. Each starts from a guess: the state after a run-up from zero, in which most
    LSTMs forget what was before. Every guess is then compared with the state in which the part before really ended.
    Where it differs, the part is computed again from the true state until the states are those that it had; if parts
    keep differing, the rest is done in one pass. The outcome never rests on the guess, unless the LSTM enlarges
    differences of :data:`ROUNDING`.

    Args:
        lstm: unidirectional, ``batch_first``, with biases, no projections. Its recurrent weights are copied into the
            order in which products of few rows read them.
    """

    def __init__(self, lstm: nn.LSTM) -> None:
        assert lstm.batch_first and lstm.bias and not lstm.bidirectional and not lstm.proj_size
        self.lstm = lstm
        self.layers = [_Layer(lstm, number) for number in range(lstm.num_layers)]

    def __call__(self, x: Tensor, run_up: int, state: State | None = None) -> tuple[Tensor, State]:
        """One sequence.

        Args:
            x: (1, F, C).
            run_up: frames, as of :func:`run_up_of`.
            state: before it; None: zero.
        """
        frames = x.shape[1]
        if frames < GAIN * run_up:
            outputs, end = self.lstm(x, state)
            return outputs, end
        if frames > MOST_FRAMES:
            parts = []
            for piece in x.chunk(-(-frames // MOST_FRAMES), dim=1):
                outputs, state = self(piece, run_up, state)
                parts.append(outputs)
            assert state is not None
            return torch.cat(parts, dim=1), state
        run_up += (frames - run_up) % LANES  # the parts then have one length, with nothing left over
        if state is None:
            zero = x.new_zeros(len(self.layers), 1, self.lstm.hidden_size)
            state = zero, zero
        outputs, ends = x[0], []
        for number, layer in enumerate(self.layers):
            outputs, end = layer.run(outputs, run_up, (state[0][number], state[1][number]))
            ends.append(end)
        hidden, cell = (torch.stack(each) for each in zip(*ends, strict=True))
        return outputs.unsqueeze(0), (hidden, cell)


class _Layer:
    """One layer; its states are (rows, H), and those of all steps (steps, LANES, H)."""

    def __init__(self, lstm: nn.LSTM, number: int) -> None:
        names = [f"{name}_l{number}" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        weights = [getattr(lstm, name) for name in names]
        self.alone = nn.LSTM(weights[0].shape[1], lstm.hidden_size, batch_first=True, device="meta")
        for name, weight in zip(("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"), weights, strict=True):
            setattr(self.alone, name, weight)
        self.weight, self.recurrent = weights[0].detach(), weights[1].detach()  # (4 H, C), (4 H, H): gates i, f, g, o
        self.bias = weights[2].detach() + weights[3].detach()

    @cached_property
    def packed(self) -> Tensor | None:
        """The recurrent weights as MKL reads them, for products of ``LANES`` rows; None: torch is without MKL.

        Unpacked, MKL reorders them at every call, which takes longer than the product.
        """
        if self.recurrent.dtype != torch.float32 or not hasattr(torch.ops.mkl, "_mkl_linear"):
            return None
        order: Tensor = torch.ops.mkl._mkl_reorder_linear_weight(self.recurrent, LANES)
        return order

    def recur(self, hidden: Tensor) -> Tensor:
        """(LANES, H) -> (LANES, 4 H)."""
        if self.packed is None:
            return torch.mm(hidden, self.recurrent.t())
        gates: Tensor = torch.ops.mkl._mkl_linear(hidden, self.packed, self.recurrent, None, LANES)
        return gates

    def run(self, x: Tensor, run_up: int, start: State) -> tuple[Tensor, State]:
        """(F, C) from (1, H) -> (F, H), (1, H); F a run-up and ``LANES`` parts of one length.

        Part n is run_up + n * length + (0 .. length - 1), and its lane begins a run-up before it.
        """
        frames, size = len(x), start[0].shape[1]
        length = (frames - run_up) // LANES
        steps = run_up + length
        inputs = F.linear(x, self.weight, self.bias)  # (F, 4 H)
        of_lanes = inputs.as_strided((steps, LANES, 4 * size), (4 * size, length * 4 * size, 1))
        hidden, cell = x.new_empty(2, steps, LANES, size).unbind()
        begin = x.new_zeros(2, LANES, size)
        begin[:, :1] = torch.stack(start)
        self._steps(of_lanes, begin, (hidden, cell))
        parts = hidden[run_up:], cell[run_up:]
        assumed = torch.stack([hidden[run_up - 1], cell[run_up - 1]])  # (2, LANES, H)
        for attempt in range(MAX_REPAIRS + 1):
            true = torch.stack([states[-1] for states in parts]).roll(1, 1)
            true[:, 0] = assumed[:, 0]
            wrong = ~((assumed - true).abs().amax(dim=(0, 2)) <= ROUNDING)  # what is no number counts as wrong
            wrong[0] = False
            if not wrong.any():
                break
            # A round costs as many steps whatever the number of parts; most of them wrong behind one is a long memory.
            if attempt == MAX_REPAIRS or (attempt and int(wrong.sum()) > LANES // 2):
                first = int(wrong.nonzero()[0])
                done = run_up + first * length
                outputs = torch.cat([hidden[:run_up, 0], parts[0].transpose(0, 1)[:first].flatten(0, 1)])
                rest, end = self.alone(x[None, done:], tuple(true[:, None, first : first + 1].unbind()))
                return torch.cat([outputs, rest[0]]), (end[0][0], end[1][0])
            assumed[:, wrong] = true[:, wrong]  # all go again, and those that were right give what they gave
            self._steps(of_lanes[run_up:], assumed, parts, again=True)
        outputs = torch.cat([hidden[:run_up, 0], parts[0].transpose(0, 1).flatten(0, 1)])
        return outputs, (hidden[-1, -1:].clone(), cell[-1, -1:].clone())

    def _steps(self, inputs: Tensor, begin: Tensor, states: State, *, again: bool = False) -> None:
        """Writes the states of all steps from (2, LANES, H) on; ``again``: until they are those that are there."""
        size = begin.shape[2]
        gates = begin.new_empty(LANES, 4 * size)
        enter, forget, candidate, leave = gates.chunk(4, dim=1)
        new = torch.empty_like(candidate, memory_format=torch.contiguous_format)
        was = torch.empty_like(begin)
        hidden, cell = begin
        for here, *there in zip(inputs.unbind(), *(each.unbind() for each in states), strict=True):
            torch.add(self.recur(hidden), here, out=gates)
            torch.tanh(candidate, out=new)
            gates.sigmoid_()
            if again:
                torch.stack(there, out=was)
            previous, (hidden, cell) = cell, there
            torch.mul(forget, previous, out=cell).addcmul_(enter, new)
            torch.tanh(cell, out=hidden).mul_(leave)
            if again and bool((torch.stack(there) - was).abs().max() <= ROUNDING):
                return


@torch.no_grad()
def run_up_of(lstm: nn.LSTM, x: Tensor) -> int | None:
    """Behind how many frames of (1, F, C), F at least the longest of ``RUN_UPS``, it does not matter what came before.

    To be asked of a few frames once; of other frames the answer may be another, which :class:`LSTMInLanes` notices.
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
