"""The studies of collapse: the toy's page is what the code gives; the grid resumes, measures and is drawn."""

from __future__ import annotations

import importlib
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from PIL import Image

from codec.config import build
from codec.config.loading import read_yaml
from codec.errors import CodecError
from codec.quantizers import REGISTRY

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "egs" / "collapse"


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Modules of the study by name; they read their settings from the repository's root."""
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.chdir(ROOT)

    def get(name: str) -> ModuleType:
        return importlib.import_module(name)

    return get


# -- the toy ----------------------------------------------------------------------------------------------------------


def test_the_page_has_the_numbers_that_the_code_gives(module: Any) -> None:
    toy, toy_page = module("toy"), module("toy_page")
    settings = build(toy.ToySettings, read_yaml(toy.CONF), "toy.yaml")
    latents = torch.tensor(settings.latents, dtype=torch.float32)
    worked = toy_page.page(toy.example(settings), latents, settings.lr, None)
    text = (FOLDER / "TOY.md").read_text(encoding="utf-8")
    between = text.split(toy_page.MARKS[0])[1].split(toy_page.MARKS[1])[0]
    assert between.strip().startswith(worked.strip())
    assert "W <- [[1, 0], [0, 1]] - 0.5 [[-1.5, -1], [-1.75, -1.75]] = [[1.75, 0.5], [0.875, 1.875]]" in worked


def test_the_film_shows_every_step_and_lies_beside_the_page(module: Any, tmp_path: Path) -> None:
    toy, toy_figures = module("toy"), module("toy_figures")
    settings = build(toy.ToySettings, read_yaml(toy.CONF), "toy.yaml").model_copy(update={"steps": 3})
    toy_figures.draw_film(
        tmp_path / "toy.gif", toy.example(settings), torch.tensor(settings.latents, dtype=torch.float32), toy.TRAINED
    )
    with Image.open(tmp_path / "toy.gif") as film, Image.open(FOLDER / "figures" / "toy.gif") as shipped:
        assert (film.n_frames, shipped.n_frames) == (4, 41)  # the start, and one a step
        assert film.size == shipped.size


@pytest.mark.parametrize("trained", ["C", "W", "both"])
def test_the_codecs_gradients_are_the_papers_equations(module: Any, trained: str) -> None:
    """C <- C - r d^T (d C W^T - z) W and W <- W - r (d C W^T - z)^T d C, r the rate times 2 / (N D)."""
    toy = module("toy")
    generator = torch.Generator().manual_seed(1)
    C, z = torch.randn(5, 2, generator=generator), torch.randn(7, 2, generator=generator)
    W, rate = torch.eye(2), 0.3 * 2 / z.numel()
    for moment in toy.follow(trained, C, z, 0.3, 12):
        torch.testing.assert_close(moment.C, C)
        torch.testing.assert_close(moment.W, W)
        codes = C @ W.T
        d = torch.nn.functional.one_hot(torch.cdist(z, codes).argmin(dim=1), 5).float()
        assert moment.error == pytest.approx(float((d @ codes - z).square().sum(1).mean()), rel=1e-5)
        pull = d @ codes - z
        C, W = (
            C - rate * d.T @ pull @ W if trained != "W" else C,
            W - rate * pull.T @ d @ C if trained != "C" else W,
        )


def test_the_pages_random_draws_follow_from_the_equations(module: Any) -> None:
    """All draws at once by the paper's equations, against the table of the page, which the codec's own classes made."""
    toy, toy_page = module("toy"), module("toy_page")
    settings = build(toy.ToySettings, read_yaml(toy.CONF), "toy.yaml")
    generator = torch.Generator().manual_seed(settings.seed)
    starts, points = [], []
    for _ in range(settings.draws):
        starts.append(torch.randn(settings.draw_codes, 2, generator=generator) * 0.5**0.5)
        angle = 2 * torch.pi * torch.rand((), generator=generator)
        noise = 0.5 * torch.randn(settings.draw_latents, 2, generator=generator)
        points.append(2 * torch.stack([angle.cos(), angle.sin()]) + noise)
    z, rate = torch.stack(points), settings.draw_lr * 2 / (2 * settings.draw_latents)
    found = {}
    for trained in toy.TRAINED:
        C, W = torch.stack(starts), torch.eye(2).expand(settings.draws, 2, 2)
        used = []
        for _ in range(settings.draw_steps + 1):
            codes = C @ W.mT
            d = torch.nn.functional.one_hot(torch.cdist(z, codes).argmin(dim=2), settings.draw_codes).float()
            used.append((d.sum(dim=1) > 0).sum(dim=1).float().mean())
            pull = d @ codes - z
            error, norm = pull.square().sum(dim=2).mean(), W.flatten(1).norm(dim=1).mean()
            C, W = (
                C - rate * d.mT @ pull @ W if trained != "W" else C,
                W - rate * pull.mT @ d @ C if trained != "C" else W,
            )
        found[trained] = {"used_at_first": used[0], "used": used[-1], "error": error, "norm": norm}
    runs, latents = toy.example(settings), torch.tensor(settings.latents, dtype=torch.float32)
    table = toy_page.page(runs, latents, settings.lr, found).split("### Random draws")[1]
    assert table.strip() in (FOLDER / "TOY.md").read_text(encoding="utf-8")


def test_only_w_moves_codes_that_nobody_chose(module: Any) -> None:
    toy = module("toy")
    runs = toy.example(build(toy.ToySettings, read_yaml(toy.CONF), "toy.yaml"))
    unused = [k for k in range(4) if k not in runs["C"][0].tokens]
    assert len(unused) == 2
    assert torch.equal(runs["C"][-1].codes[unused], runs["C"][0].codes[unused])
    assert bool((runs["W"][1].codes[unused] != runs["W"][0].codes[unused]).any(dim=1).all())
    assert [runs[name][-1].used for name in ("C", "W", "both")] == [2, 4, 4]


# -- plain vector quantisation -----------------------------------------------------------------------------------


def test_every_system_of_the_registry_is_in_the_study(module: Any) -> None:
    rows = module("plain").read_systems().values()
    assert {row.quantizer.get("name", "simvq") for row in rows} == set(REGISTRY)


def test_bounds(module: Any) -> None:
    """For white Gaussians both bounds are 2^(-2 R / D); nothing beats the lower one, and k-means comes nearest."""
    bounds, sources = module("bounds"), module("sources")
    white = torch.randn(200_000, 4, generator=torch.Generator().manual_seed(0))
    entropy = 4 * 0.5 * math.log2(2 * math.pi * math.e)
    assert bounds.water_filling(white, 8) == pytest.approx(2**-4, rel=0.02)
    assert bounds.shannon_lower_bound(entropy, 4, 8) == pytest.approx(2**-4)
    source = sources.gaussian()
    rows, test = source.rows()[:8000], source.rows("test")
    limit = bounds.shannon_lower_bound(source.entropy_bits, source.dim, 6)
    kmeans, _ = bounds.distortion(test, bounds.kmeans_codes(rows, 64, 10, 0))
    real, coded, tokens = bounds.one_sparse(rows, test, 64, 10, 0)
    assert limit < bounds.water_filling(test, 6) < kmeans < coded
    assert real < coded < 1 and int(tokens.max()) < 64


def test_mixtures_and_standardised_latents_have_variance_one(module: Any) -> None:
    sources = module("sources")
    assert float(sources.mixture().rows().var(dim=0, correction=0).mean()) == pytest.approx(1, abs=1e-3)
    images = 3 + 5 * torch.randn(20, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    source = sources.standardised("digits", images, images[:5])
    assert source.train.shape == (20, 4, 3, 3) and source.rows("test").shape == (45, 4)
    assert float(source.rows().square().mean()) == pytest.approx(1)
    # One factor for all directions: shapes of the cloud stay.
    torch.testing.assert_close(source.train[0, :, 0, 0] - source.train[1, :, 2, 1],
                               (images[0, :, 0, 0] - images[1, :, 2, 1]) * source.train.std() / images.std(),
                               rtol=1e-2, atol=1e-2)  # fmt: skip


def test_the_grid_resumes_and_is_drawn(module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, plain_table, sources = module("plain"), module("plain_table"), module("sources")
    latents = torch.randn(40, 8, 4, 4, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(plain, "load", lambda name: sources.Source(name, latents[:30], latents[30:], None))
    grid = plain.Grid(sources=["digits"], codebook_sizes=[64], seeds=[0], steps=3, batch=50)
    names = [*plain.REFERENCES, *plain.read_systems()]
    results = tmp_path / "results.jsonl"
    plain.run_grid(grid, names[:3], results, say=lambda _: None)
    before = results.read_text()
    results.write_text(before + '{"source": "dig')  # killed while it wrote
    plain.run_grid(grid, names, results, say=lambda _: None)
    assert results.read_text().startswith(before)
    lines = plain.read_results(results)
    assert [line["system"] for line in lines] == names
    for line in lines:
        assert math.isfinite(line["distortion"]) and 1 <= line["codes_used"] <= 64, line["system"]
        assert ("codes_used_on_c" in line) == line["system"].startswith("simvq")
    with pytest.raises(CodecError, match="other steps"):
        plain.run_grid(grid.model_copy(update={"steps": 4}), names, results, say=lambda _: None)
    text = plain_table.markdown(lines)
    assert all(f"`{name}`" in text for name in names)
    plain_table.draw(tmp_path / "plain.png", lines)
    assert (tmp_path / "plain.png").stat().st_size > 5000


def test_a_start_from_kmeans_begins_at_its_error(module: Any) -> None:
    plain, sources = module("plain"), module("sources")
    rows = 4 * torch.randn(2000, 8, generator=torch.Generator().manual_seed(0))
    source = sources.Source("gaussian", rows[:1500], rows[1500:], None)
    kmeans = plain.reference("kmeans", source, 64, 0)["distortion"]
    for name in ("vq", "ema", "huh", "simvq"):
        row = plain.read_systems()[f"{name}-kmeans"]
        quantizer = plain.make(row, 8, 64, 0)
        assert plain.measure(quantizer.eval(), source)["distortion"] > 1.5 * kmeans
        plain.start(quantizer, source.rows(), row.start, 0)
        assert plain.measure(quantizer, source)["distortion"] < 1.1 * kmeans


def test_training_brings_simvq_nearer(module: Any) -> None:
    plain, sources = module("plain"), module("sources")
    rows = 4 * torch.randn(2000, 8, generator=torch.Generator().manual_seed(0))
    source = sources.Source("gaussian", rows[:1500], rows[1500:], None)
    quantizer = plain.make(plain.read_systems()["simvq"], 8, 64, 0)
    before = plain.measure(quantizer.eval(), source)["distortion"]
    frozen = quantizer.codebook.clone()
    plain.train(quantizer, source.rows(), 60, 256, 0)
    found = plain.measure(quantizer, source)
    assert found["distortion"] < 0.9 * before
    assert torch.equal(quantizer.codebook, frozen)
    assert found["different_codes"] == found["codes_used"]  # W has full rank: no two codes fell together


@pytest.mark.parametrize("arguments", [["--stage"], ["--stage", "5"], ["--faster"]])
def test_a_wrong_option_is_refused_before_anything_runs(arguments: list[str]) -> None:
    result = subprocess.run([str(FOLDER / "run.sh"), *arguments], capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert result.stderr.startswith("error: ") and len(result.stderr.splitlines()) == 1


def test_the_script_runs_its_stages_on_what_is_there(tmp_path: Path) -> None:
    """The last stage, on results of a line each."""
    study = tmp_path / "egs" / "collapse"
    study.mkdir(parents=True)
    for file in FOLDER.iterdir():
        if file.suffix in (".py", ".sh"):
            (study / file.name).symlink_to(file) if file.suffix == ".py" else (study / file.name).write_bytes(
                file.read_bytes()
            )
    (study / "run.sh").chmod(0o755)
    line = {"source": "gaussian", "system": "vq", "codebook_size": 64, "seed": 0, "steps": 3, "batch": 8, "cpu_s": 1.0,
            "test_latents": 10, "train_latents": 20, "water_filling": 0.5, "distortion": 0.7, "codes_used": 5,
            "perplexity": 4.0}  # fmt: skip
    results = tmp_path / "exp" / "collapse" / "quick" / "results.jsonl"
    results.parent.mkdir(parents=True)
    results.write_text(json.dumps(line) + "\n")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    command = [str(study / "run.sh"), "--quick", "--stage", "4"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert "| `vq` | 1 | 0.7000 | 5 | 4 |" in results.with_name("plain.md").read_text()
    missing = subprocess.run([*command[:1], "--stage", "4"], env=environment, capture_output=True, text=True)
    assert missing.returncode == 2 and "grid/results.jsonl: nothing is measured yet" in missing.stderr
