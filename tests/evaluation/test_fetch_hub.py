"""``codec fetch`` of networks of transformers, from a hub on this machine."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from tiny_networks import save_mimi

from codec.cli import main
from codec.evaluation import hub

COMMIT = 40 * "a"


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save_mimi(tmp_path_factory.mktemp("mimi"))
    (folder / "pytorch_model.bin").write_bytes(b"the same once more")
    (folder / "model.py").write_text("never fetched")
    return folder


@pytest.fixture
def asked() -> list[str]:
    return []


@pytest.fixture
def endpoint(network: Path, asked: list[str]) -> Iterator[str]:
    """What the hub's client asks for: the files of a repository, and each of them with its checksum."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith("/api/models/kyutai/mimi/tree/"):
                tree = [
                    {"type": "file", "path": path.name, "size": path.stat().st_size, "oid": COMMIT}
                    for path in sorted(network.iterdir())
                ]
                self.answer(json.dumps(tree).encode())
            elif self.path.startswith("/api/models/kyutai/mimi"):
                files = [{"rfilename": path.name} for path in sorted(network.iterdir())]
                self.answer(json.dumps({"id": "kyutai/mimi", "sha": COMMIT, "siblings": files}).encode())
            elif "/resolve/" in self.path:
                self.answer((network / self.path.rsplit("/", 1)[1]).read_bytes())
            else:
                self.send_response(401)  # what the hub says of what is not there
                self.send_header("X-Error-Code", "RepoNotFound")
                self.end_headers()

        do_HEAD = do_GET  # noqa: N815

        def answer(self, content: bytes) -> None:
            if self.command == "GET":
                asked.append(self.path.rsplit("/", 1)[1])
            self.send_response(200)
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()
        thread.join()


def fetch(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["fetch", *arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_what_is_fetched_is_found_without_a_network(
    endpoint: str, network: Path, asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", tmp_path)
    assert fetch("mimi", "--endpoint", endpoint) == 0
    assert {"config.json", "model.safetensors"} <= set(asked)
    assert not {"pytorch_model.bin", "model.py"} & set(asked)  # the weights once, and nothing that runs
    folder = hub.find("kyutai/mimi", "mimi")
    assert (folder / "model.safetensors").read_bytes() == (network / "model.safetensors").read_bytes()
    assert len(hub.fingerprint(folder)) == 64


def test_what_cannot_be_fetched_is_one_line(
    endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", tmp_path)
    assert fetch("mimi", "--endpoint", endpoint, "--repository", "nobody/nothing") == 2
    said = capsys.readouterr().err
    assert "nobody/nothing: cannot be fetched" in said and len(said.splitlines()) == 1
    assert fetch("wer", "--endpoint", "http://127.0.0.1:9") == 2
    said = capsys.readouterr().err
    assert "facebook/hubert-large-ls960-ft: cannot be fetched" in said and "check name and connection" in said
    assert len(said.splitlines()) == 1
