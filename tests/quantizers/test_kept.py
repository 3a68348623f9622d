"""What is kept of weights, shared by threads: made once, never lost, never copied."""

from __future__ import annotations

import copy
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from codec.quantizers.kept import Kept

WAIT_S = 20.0  # none of these waits ends by the clock unless something is broken


def test_threads_that_find_nothing_kept_make_it_once() -> None:
    kept: Kept[object] = Kept()
    together = threading.Barrier(4)
    made = []

    def make() -> object:
        made.append(object())
        return made[-1]

    def ask() -> object:
        together.wait(WAIT_S)
        return kept.get([weight], [table], make)

    weight, table = torch.ones(3), torch.ones(4)
    with ThreadPoolExecutor(4) as pool:
        values = [future.result() for future in [pool.submit(ask) for _ in range(4)]]
    assert len(made) == 1 and all(value is made[0] for value in values)


def test_a_drop_in_another_thread_takes_nothing_from_who_asked() -> None:
    kept: Kept[str] = Kept()
    dropper = threading.Thread(target=kept.drop)

    class Weight(torch.Tensor):
        """Copied after the value is made: there the other thread comes in."""

        def detach(self) -> torch.Tensor:
            dropper.start()
            dropper.join(0.1)  # it may well have to wait until this is done
            return super().detach()

    assert kept.get([torch.ones(1).as_subclass(Weight)], [], lambda: "made") == "made"
    dropper.join(WAIT_S)
    assert kept.get([torch.ones(1)], [], lambda: "anew") == "anew"


def test_a_failed_making_keeps_nothing_and_locks_nobody_out() -> None:
    kept: Kept[float] = Kept()

    def fails() -> float:
        raise MemoryError

    weight = torch.ones(2)
    with pytest.raises(MemoryError):
        kept.get([weight], [], fails)
    assert kept.get([weight], [], lambda: 1.0) == 1.0


def test_copies_and_pickles_keep_nothing() -> None:
    kept: Kept[str] = Kept()
    weight = torch.ones(2)
    kept.get([weight], [], lambda: "old")
    for twin in (copy.deepcopy(kept), copy.copy(kept), pickle.loads(pickle.dumps(kept))):
        assert twin.get([weight], [], lambda: "own") == "own"
    assert kept.get([weight], [], lambda: "new") == "old"
