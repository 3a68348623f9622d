"""Metrics in processes of their own, beside the model.

PESQ, STOI and, on a CPU, pitch keep one core busy while a model waits for its scores. Pairs of waveforms go to the
pool, numbers come back; every pair is still scored alone and on one thread, so the numbers are those of one process.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import Self

import numpy as np
import torch

from codec.errors import CodecError
from codec.evaluation.metric import Metric
from codec.evaluation.pair import Pair, Scores, score_pair

MOST = 8  # by default: with the pitch network a worker takes 1 GB
FEW = 16  # utterances, for which workers would take longer to start than to score

_metrics: dict[str, Metric] = {}  # of a worker, by name


def default_workers(utterances: int, processes: int) -> int:
    """Workers of each of ``processes`` for a test set: its cores, eight at most, or 0 where they would not help."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    own = cores // processes
    return min(own, MOST) if own > 1 and utterances // processes >= FEW else 0


class ScoringPool:
    """Worker processes that hold the metrics.

    Args:
        workers: how many; 0 scores at once, in the calling process.
        metrics: each is pickled once for every worker.
    """

    def __init__(self, workers: int, metrics: Sequence[Metric]) -> None:
        self.workers = workers
        self._own = {metric.name: metric for metric in metrics}
        self._executor = None
        if workers:
            # spawn: forking a process with threads of torch, or a CUDA context, ends badly.
            context = multiprocessing.get_context("spawn")
            self._executor = ProcessPoolExecutor(workers, context, _start, (list(metrics),))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._executor is None:
            return
        if sys.version_info < (3, 12) and self._executor._broken:
            # Waveforms on their way to a worker that was killed stay in the pipe, whose other end is open here too; up
            # to Python 3.11.4 or so the executor waits for ever for somebody to read them (python/cpython#94777).
            self._executor._call_queue._reader.close()  # type: ignore[attr-defined]
        self._executor.shutdown(wait=True, cancel_futures=True)

    def submit(self, pair: Pair, names: Sequence[str]) -> Future[Scores]:
        """Have a pair scored by the metrics called ``names``."""
        if self._executor is None:
            done: Future[Scores] = Future()
            done.set_result(score_pair(pair, [self._own[name] for name in names]))
            return done
        try:
            return self._executor.submit(
                _score, pair.reference.numpy(), pair.degraded.numpy(), pair.sample_rate, pair.text, list(names)
            )
        except BrokenProcessPool:
            raise _broken() from None

    def result(self, future: Future[Scores]) -> Scores:
        """What :meth:`submit` promised.

        Raises:
            CodecError: a worker was killed.
        """
        try:
            return future.result()
        except BrokenProcessPool:
            raise _broken() from None


def _broken() -> CodecError:
    return CodecError(
        "a scoring process was ended from outside (out of memory?); what was scored is kept, run again with --workers 0"
    )


def _start(metrics: Sequence[Metric]) -> None:
    """Make a worker ready."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it, and ends the pool
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _metrics.update({metric.name: metric for metric in metrics})


def _end_with_parent() -> None:
    """A parent that is killed cannot end its pool; workers would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _score(
    reference: np.ndarray, degraded: np.ndarray, sample_rate: int, text: str | None, names: Sequence[str]
) -> Scores:
    pair = Pair(torch.from_numpy(reference), torch.from_numpy(degraded), sample_rate, text)
    return score_pair(pair, [_metrics[name] for name in names])
