"""What a table must say beside its numbers: why rows may not compare as they stand, and what computed them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from codec.evaluation.compare import Evaluation
from codec.evaluation.quoted import Quoted


def comparison_notes(
    evaluations: Mapping[str, Evaluation], labels: Mapping[str, str], quoted: Sequence[Quoted], protocol: str
) -> list[str]:
    """Whatever keeps two rows from being compared as they stand, a sentence each.

    Args:
        evaluations: by name in the table.
        labels: of the table's values.
        quoted: its published rows.
        protocol: its scores' own.
    """
    notes = []
    if note := rates_note(evaluations):
        notes.append(note)
    for value, label in labels.items():
        scored = {
            name: frozenset(id_ for id_, record in evaluation.records.items() if value in record.scores)
            for name, evaluation in evaluations.items()
            if value in evaluation.definitions
        }
        scored = {name: ids for name, ids in scored.items() if ids}
        if len(set(scored.values())) > 1:
            counts = ", ".join(f"{name} {len(ids)}" for name, ids in scored.items())
            notes.append(
                f"{label}: the means are over different utterances, because systems fail on different ones "
                f"(scored: {counts}); paired differences are over those that both have."
            )
    if quoted:
        notes.append(
            f"Quoted rows are not scored here: means that others published for LibriTTS {quoted[0].test_set}, by the "
            f"published protocol"
            + ("" if protocol == "published" else ", while this table is of the protocol " + protocol)
            + "; they stand in no comparison."
        )
    return notes


def rates_note(evaluations: Mapping[str, Evaluation]) -> str | None:
    """Says that systems, by name, were scored at different rates; None where they were not."""
    rates: dict[int, list[str]] = {}
    for name, evaluation in evaluations.items():
        rates.setdefault(evaluation.summary["system"]["sample_rate"], []).append(name)
    if len(rates) < 2:
        return None
    said = "; ".join(f"{rate} Hz: {', '.join(names)}" for rate, names in sorted(rates.items()))
    return f"Systems were compared at different sample rates ({said})."


def versions_used(evaluations: Mapping[str, Evaluation]) -> dict[str, dict[str, list[str]]]:
    """Library -> version -> names of the systems that were scored with it."""
    found: dict[str, dict[str, list[str]]] = {}
    for name, evaluation in evaluations.items():
        for library, version in evaluation.summary["versions"].items():
            found.setdefault(library, {}).setdefault(version, []).append(name)
    return found
