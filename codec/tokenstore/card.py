"""``README.md`` of a token dataset: what it holds, by which model, and how to read it."""

from __future__ import annotations

import math
from pathlib import Path

from codec.files import write_text
from codec.tokenstore.index import Index

_LAYOUTS = {
    "webdataset": "tar shards, `KEY.npy` (tokens) and `KEY.json` (the rest) for each recording; "
    "the key is the percent-encoded id",
    "parquet": "one recording a row: `id`, `tokens`, `num_tokens`, `num_samples`, `text`, `speaker`, `split`",
    "npy": "all tokens of a shard in one flat array, `.npy`; the `.jsonl` beside it has `offset` and `num_tokens` of "
    "each recording, and the rest",
    "jsonl": "one recording a line: `id`, `tokens`, `num_tokens`, `num_samples`, `text`, `speaker`, `split`",
}
_WITHOUT_US = {
    "webdataset": 'import webdataset as wds\nfor item in wds.WebDataset("{file}", shardshuffle=False).decode():\n'
    '    item["npy"], item["json"]',
    "parquet": 'from datasets import load_dataset\ndata = load_dataset("parquet", data_files="*.parquet")',
    "npy": 'import numpy as np\ntokens = np.load("{file}", mmap_mode="r")',
    "jsonl": 'import json\nfor line in open("{file}", encoding="utf-8"):\n    json.loads(line)["tokens"]',
}

_CARD = """# Speech as tokens

{utterances:,} recordings, {hours:.2f} hours, {tokens:,} tokens at {frame_rate:g} a second.

| | |
|---|---|
| model | {name}, fingerprint `{fingerprint}` |
| codebook | {codebook_size:,} codes, {codes_used:,} of them used ({share:.1%}) |
| entropy | {entropy:.2f} bits a token of {nominal:.2f}: {entropy_bps:.0f} of {nominal_bps:.0f} bit/s |
| sample rate | {sample_rate} Hz, {hop_length} samples a token: ceil(num_samples / {hop_length}) tokens a recording |
| format | {format}: {layout} |
| shards | {shards} |
| left out | {failed} |

`num_samples` counts samples at the codec's rate: decoding restores exactly so many. The tokens mean nothing to a model
whose tokens have another fingerprint.

```python
from codec import Codec, TokenDataset, audio
data = TokenDataset(".")                       # the folder of this file
codec = Codec.from_pretrained("MODEL")
data.check_model(codec)                        # refuses a model of other tokens
audio.write("back.wav", codec.decode(data[0].encoded())[0], codec.sample_rate)
```

Without that library:

```python
{without_us}
```
"""


def write_card(folder: Path, index: Index) -> None:
    """Write the dataset card beside the index."""
    model = index.model
    nominal = math.log2(model.codebook_size)
    failed = f"{len(index.failed)} recordings that could not be read, see `index.json`" if index.failed else "none"
    card = _CARD.format(
        utterances=index.utterances,
        hours=index.hours,
        tokens=index.tokens,
        frame_rate=model.frame_rate,
        name=model.name,
        fingerprint=model.fingerprint,
        codebook_size=model.codebook_size,
        codes_used=index.codes_used,
        share=index.codes_used / model.codebook_size,
        entropy=index.entropy_bits,
        nominal=nominal,
        entropy_bps=index.entropy_bits * model.frame_rate,
        nominal_bps=nominal * model.frame_rate,
        sample_rate=model.sample_rate,
        hop_length=model.hop_length,
        format=index.format,
        layout=_LAYOUTS[index.format],
        shards=len(index.shards),
        failed=failed,
        without_us=_WITHOUT_US[index.format].format(file=index.shards[0].file),
    )
    write_text(folder / "README.md", card)
