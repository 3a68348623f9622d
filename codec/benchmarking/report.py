"""Records to JSON, a Markdown table and a picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from codec.benchmarking.machine import Machine
from codec.benchmarking.runner import Record
from codec.files import replacing, write_text


def write_json(path: Path, machine: Machine, records: Sequence[Record]) -> None:
    """Everything that was measured, at once or not at all."""
    write_text(path, json.dumps({"machine": machine.as_dict(), "records": list(records)}, indent=1) + "\n")


def read_json(path: Path) -> tuple[dict[str, object], list[Record]]:
    """What :func:`write_json` wrote."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return content["machine"], content["records"]


def table(records: Sequence[Record]) -> str:
    """A Markdown table, one line a record."""
    lines = [
        "| what | K | batch x s | threads | dtype | ms (quartiles) | times real time | floor ms "
        "| twin ms (quartiles) | ratio | MB | twin MB |",
        "|---|--:|--:|--:|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for record in records:
        ours, twin = record["ours"], record.get("twin")
        what = f"{record['stage'].replace('_', ' ')}, {record['size']}"
        if note := record.get("note"):
            what += f", {note}"
        cells = [
            what,
            f"{record['codebook_size']:,}",
            f"{record['batch']} x {record['seconds']:g}",
            str(record["threads"]),
            str({"no": "float32", "bf16": "bfloat16"}.get(record["dtype"], record["dtype"])),
            f"{_ms(ours['median_s'])} ({_ms(ours['low_s'])} to {_ms(ours['high_s'])})",
            f"{record['times_real_time']:.3g}",
            _ms(record["floor_s"]),
            f"{_ms(twin['median_s'])} ({_ms(twin['low_s'])} to {_ms(twin['high_s'])})" if twin else "",
            f"**{record['ratio']:.2f}**" if twin else "",
            _mb(ours["peak_mb"]),
            _mb(twin["peak_mb"]) if twin else "",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def heading(machine: dict[str, object]) -> str:
    """The machine in one paragraph."""
    rates = []
    for name, key in (("float32", "float32_gflops"), ("bfloat16", "bfloat16_gflops")):
        found = machine[key]
        assert isinstance(found, dict)
        rates += [f"{name} {value:,.0f}{_on(count)}" for count, value in found.items()]
    return (
        f"{machine['processor']}, {machine['cores']} cores, device {machine['device']}, torch {machine['torch']}. "
        f"Matrix products measured at {'; '.join(rates)} GFLOP/s."
    )


def _on(count: str) -> str:
    if count == "device":
        return ""
    return f" ({count} thread{'s' * (count != '1')})"


def plot(path: Path, records: Sequence[Record]) -> None:
    """Ours (and the twin's) times as bars beside the floor; PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1.2 + 0.32 * len(records)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for row, record in enumerate(records):
        twin = record.get("twin")
        if twin:
            axes.barh(row - 0.2, twin["median_s"], 0.36, color="#c7ccd6", label="twin" if row == 0 else None)
        place = row + 0.2 if twin else row
        axes.barh(place, record["ours"]["median_s"], 0.36, color="#4c7df0", label="ours" if row == 0 else None)
        axes.plot([record["floor_s"]] * 2, [row - 0.4, row + 0.4], color="black", lw=1, label="floor" * (row == 0))
    axes.set_yticks(range(len(records)), [_label(record) for record in records], fontsize=7)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("seconds a call")
    axes.legend(fontsize=7)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)


def _label(record: Record) -> str:
    note = f" ({record['note']})" if "note" in record else ""
    return (
        f"{record['stage'].replace('_', ' ')}{note} {record['size']} K={record['codebook_size']} "
        f"{record['batch']}x{record['seconds']:g}s t={record['threads']}"
    )


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.3g}" if seconds < 1 else f"{1000 * seconds:.0f}"


def _mb(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"
