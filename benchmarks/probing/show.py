"""The tables that `benchmarks/probe.py` prints, at most 80 columns wide."""

from __future__ import annotations

from typing import Any


def show(result: dict[str, Any]) -> str:
    machine = result["machine"]
    lines = [
        f"{machine['processor']}, {machine['threads']} thread(s); {result['encoders']['speed']}",
        "",
        f"{'':5}{'seconds per update':^28}{'hours at full length':^28}{'passes':^18}",
        f"{'task':5}{'S3PRL':>9}{'ours':>9}{'less':>10}{'S3PRL':>9}{'ours':>9}{'less':>10}"
        f"{'S3PRL':>10}{'ours':>6}",
    ]
    for task, own in result["speed"].items():
        full = own["full_length"]
        lines.append(
            f"{task.upper():5}{own['s3prl']['seconds']:9.2f}{own['ours']['seconds']:9.4f}"
            f"{own['less']:8.1f} x{full['hours']['s3prl']:9.1f}{full['hours']['ours']:9.2f}"
            f"{full['less']:8.1f} x{full['passes_per_utterance']['s3prl']:10.1f}{1:6d}"
        )
    rates = result["rates"]
    lines += [
        "",
        f"IC, {rates['rates']} learning rates against one: update {rates['update_ratio']:.2f} x, "
        f"probe {rates['probe_ratio']:.2f} x,",
        f"evaluation at full length {rates['full_length_ratio']:.2f} x",
        "",
        f"{result['encoders']['scores']}, percent on the test split",
        f"{'task':5}{'metric':8}{'seeds':>6}{'S3PRL':>16}{'ours':>16}{'difference':>20}",
    ]
    for task, own in result["scores"].items():
        sides = [f"{own['mean'][s]:.2f} ± {own['deviation'][s]:.2f}" for s in ("s3prl", "ours")]
        gap = f"{own['difference']:+.2f} ± {own['margin_95']:.2f}"
        verdict = "same" if own["same"] else "DIFFERENT"
        lines.append(
            f"{task.upper():5}{own['metric']:8}{len(own['seeds']):6d}{sides[0]:>16}{sides[1]:>16}"
            f"{gap:>20}  {verdict}"
        )
    return "\n".join(lines) + "\n"
