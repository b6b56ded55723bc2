"""What `speechft inspect` shows."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

from speechft.cli.console import output
from speechft.core.settings import Option
from speechft.encoders.settings import InspectSettings

if TYPE_CHECKING:
    from speechft.encoders.inspect import Inspection


class InspectOptions(InspectSettings):
    """What to look at, and how to show it.

    Args:
        as_json: print JSON.
    """

    as_json: Annotated[bool, Option("json")] = False


SETTINGS = {"inspect": InspectOptions}
FORMATS = {
    "hf": "hf (Hugging Face folder)",
    "peft": "peft (adapter, shown as merged into its encoder)",
    "s3prl": "s3prl (converted file)",
    "s3prl-downstream": "s3prl-downstream (Upstream of a downstream checkpoint)",
    "fairseq": "fairseq (original file)",
    "torchaudio": "torchaudio (state dict of its models)",
    "wavlm": "wavlm (original file, which S3PRL reads too)",
    "decoar2": "decoar2 (original file, which S3PRL reads too)",
    "spin": "spin (Lightning file)",
    "tensors": "tensors alone, without settings",
}


def show(found: Inspection, settings: InspectOptions) -> None:
    """Print what a checkpoint holds."""
    if settings.as_json:
        from json import dumps

        print(dumps(asdict(found), indent=2, ensure_ascii=False))
    else:
        _show(found)


def _show(found: Inspection) -> None:
    from rich.table import Table
    from rich.text import Text

    from speechft.core.paths import first_of

    console = output()
    facts = Table.grid(padding=(0, 2))
    facts.add_column(no_wrap=True)
    facts.add_column(overflow="fold")
    rows = {
        "where": found.where,
        "format": FORMATS.get(found.format, found.format),
        "family": found.family,
        "style": found.style,
        "size": f"{found.parameters / 1e6:.2f} M parameters, {found.bytes / 1e6:.1f} MB on disk",
        "layers": f"{found.layers} of width {found.hidden_size}, {found.attention_heads} heads, "
        f"feed-forward {found.feed_forward}",
        "frames": f"every {found.hop} samples ({found.hop / 16:.0f} ms)",
        "types": ", ".join(f"{count} × {dtype}" for dtype, count in found.dtypes.items()),
        "input": found.input,
        "hash": found.fingerprint,
    }
    if found.changed:
        names = first_of(found.changed, 3)
        rows["changed"] = f"not what its record says was written, so it will not load: {names}"
    if found.not_finite:
        names = first_of(found.not_finite, 3)
        bad = f"NaN or infinity in {len(found.not_finite)} tensors"
        rows["damage"] = f"{bad}, so it will not load: {names}"
    for name, text in rows.items():
        facts.add_row(name, text)
    console.print(facts)
    table = Table("tensors", "count", "numbers", "in a merge", box=None, pad_edge=False)
    for group in found.groups:
        count, numbers = str(group.tensors), f"{group.parameters:,}"
        table.add_row(Text(group.name, overflow="fold"), count, numbers, group.merge)
    console.print()
    console.print(table)
