"""Whether the launcher of this process has died, which is how a preempted job may show.

``accelerate launch`` of one process passes no signal on: it ends at once, and what it started would train on unseen.
``torchrun`` passes SIGTERM on, but not SIGKILL. A shell that ends is no launcher, so ``nohup`` and ``setsid`` stay what
they are.
"""

from __future__ import annotations

import os

# Set for what they start by Accelerate and by torchrun (which Accelerate uses for several processes), and not by hand.
MARKS = ("ACCELERATE_DYNAMO_MODE", "TORCHELASTIC_RUN_ID")

# Read when this is imported, for recipes to do first: a launcher that dies before is not known to have been there.
_parent = os.getppid()


def launcher_died() -> bool:
    """Whether a launcher started this process and is gone."""
    return os.getppid() != _parent and any(mark in os.environ for mark in MARKS)
