from __future__ import annotations

import base64
import io
import json

import pytest
import soundfile
import torch

from codec.pages import data_uri, document, duration, flac, json_script


def test_a_document_holds_what_it_is_given_and_fetches_nothing() -> None:
    text = document("a & <b>", "<p>body</p>", style=".x { color: red; }", script="let a = 1;")
    assert "<title>a &amp; &lt;b&gt;</title>" in text
    assert "<p>body</p>" in text and ".x { color: red; }</style>" in text and "<script>let a = 1;</script>" in text
    assert 'content="width=device-width' in text
    assert "http" not in text and "@import" not in text and "url(" not in text
    assert "<script" not in document("a", "b")


@pytest.mark.parametrize("name", ["</script><script>alert(1)</script>", "a\u2028b", "<!--", 'quote"s'])
def test_data_for_scripts_comes_back_whatever_is_in_it(name: str) -> None:
    text = json_script("scores", {"name": name})
    content = text.removeprefix('<script type="application/json" id="scores">').removesuffix("</script>")
    assert "<" not in content
    assert json.loads(content) == {"name": name}


def test_sounds_come_back() -> None:
    samples = torch.linspace(-1.2, 1.2, 2400)
    heard, rate = soundfile.read(io.BytesIO(flac(samples, 24_000)))
    assert rate == 24_000
    assert torch.from_numpy(heard).sub(samples.clamp(-1, 1)).abs().max() < 2**-14
    assert base64.b64decode(data_uri("audio/flac", b"abc").removeprefix("data:audio/flac;base64,")) == b"abc"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(45, "45 s"), (89, "89 s"), (370, "6.2 min"), (420, "7 min"), (5040, "84 min"), (9000, "2.5 h")],
)
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said
