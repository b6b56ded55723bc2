"""The table of memory in docs/how-to/memory.md, from results/benchmarks/memory.json."""

from __future__ import annotations

from typing import Any

_COLUMNS = ("full", "full, checkpointing", "full, checkpointing, 8 bit")
_COLUMNS += ("LoRA", "LoRA, checkpointing")


def memory_table(record: dict[str, Any]) -> str:
    """Give the table, in GB (10⁹ bytes); what is computed is marked so."""
    lines = [
        f"| encoder | weights | {' | '.join(_COLUMNS)} |",
        f"| --- |{' ---: |' * (1 + len(_COLUMNS))}",
    ]
    for shape, computed in record["computed"].items():
        measured = record["measured"].get(shape, {})
        one = next(iter([*measured.values(), *computed.values()]))
        cells = [
            f"{measured[case]['bytes'] / 1e9:.1f}"
            if case in measured
            else f"*{computed[case]['bytes'] / 1e9:.1f}*"
            for case in _COLUMNS
        ]
        weights = f"{one['encoder_parameters'] / 1e6:,.0f} M"
        lines.append(f"| {shape} | {weights} | {' | '.join(cells)} |")
    return "\n".join(lines)


def worst_error(record: dict[str, Any]) -> float:
    """Give by how much what is computed is off, in percent, where it was measured, too."""
    errors = [abs(value) for one in record["error"].values() for value in one.values()]
    return 100 * max(errors)


def memory_page(page: str, record: dict[str, Any]) -> str:
    """Give the page with the table between its two comments, and what is said of it."""
    begin, end = "<!-- from results/benchmarks/memory.json -->\n", "<!-- until here -->"
    before, after = page.split(begin)[0], page.split(end)[1]
    said = (
        f"GB (10⁹ bytes) of an update on {record['seconds_of_speech']:g} s of speech in "
        f"{record['precision']}, libraries aside; in italics what was computed from encoders of "
        "the same width and few layers, in a straight line"
    )
    errors = {shape for shape, one in record["error"].items() if one}
    if errors:
        *first, last = [shape for shape in record["computed"] if shape in errors]
        shapes = f"{', '.join(first)} and {last}" if first else last
        said += f" (for {shapes}, where both are known, off by up to {worst_error(record):.0f} %)"
    return f"{before}{begin}{memory_table(record)}\n\n{said}.\n{end}{after}"
