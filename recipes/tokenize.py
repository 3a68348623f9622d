"""Turn a corpus into tokens, for language models.

    accelerate launch recipes/tokenize.py --manifest data/train.jsonl --model MODEL -o exp/tokens
    torchrun --nproc-per-node 8 recipes/tokenize.py --manifest a.jsonl --manifest b.jsonl --model MODEL -o exp/tokens

Writes shards, ``index.json`` and a dataset card. Run again after a kill, it goes on where it stopped.
``docs/tokens.md`` has the formats and how to read them.
"""

from __future__ import annotations

if __name__ == "__main__":
    from codec.cli import run
    from codec.cli.tokenize import app

    run(app)
else:
    # Python looks into a script's own folder first: every recipe, through what it imports, asks for the standard
    # library's module of this name and finds this file.
    import importlib.util
    import sys
    import sysconfig

    spec = importlib.util.spec_from_file_location(__name__, f"{sysconfig.get_path('stdlib')}/tokenize.py")
    assert spec is not None and spec.loader is not None
    sys.modules[__name__] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[__name__])
