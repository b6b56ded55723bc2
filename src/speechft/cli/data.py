"""`speechft data`: check data, or make it ready."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from speechft.cli.console import output
from speechft.cli.options import Own
from speechft.core.settings import Positional, Shown

if TYPE_CHECKING:
    from speechft.data.check import CheckReport


class CheckOptions(Own):
    """Which data to check.

    Args:
        data: a table, cuts, NAME:ROOT, DIALECT:PATH, synthetic[:PRESET[@LANGUAGE]], or a known
            corpus' NAME before ROOT.
        root: folder of the known corpus DATA.
        seed: of the split of data that comes without one.
        allow_commands: run commands that cuts name as sources of audio.
    """

    data: Annotated[str, Positional]
    root: Annotated[str | None, Positional] = None
    seed: Annotated[int, Shown] = 0
    allow_commands: Annotated[bool, Shown] = False


class PrepareOptions(CheckOptions):
    """Which data to make ready, and how.

    Args:
        out: folder for the cuts; data/NAME if not given.
        quick: read the audio files' headers only.
        skip_bad: leave out utterances without usable audio.
        force: do it again even if it is done.
        download: fetch the packages of a corpus that Debian has into ROOT, by default
            data/NAME-packages, and unpack them.
    """

    out: Annotated[Path | None, Shown] = None
    quick: Annotated[bool, Shown] = False
    skip_bad: Annotated[bool, Shown] = False
    force: Annotated[bool, Shown] = False
    download: Annotated[bool, Shown] = False


SETTINGS = {"data check": CheckOptions, "data prepare": PrepareOptions}


def command(options: CheckOptions, _overrides: list[str]) -> int:
    """Check data, and make it ready where that is asked for."""
    from speechft.data.data_names import refuse_absent_data

    spec = _spec(options.data, options.root)
    if isinstance(options, PrepareOptions) and options.download:
        spec = _downloaded(spec)
    refuse_absent_data(spec)  # before all that reads data is imported
    from speechft.data.check import check_data
    from speechft.data.prepare import default_folder, prepare_data

    if not isinstance(options, PrepareOptions):
        report = check_data(spec, options.seed, allow_commands=options.allow_commands)
        _show(report)
        return 0 if report.passed else 3
    folder = options.out or default_folder(spec)
    report = prepare_data(
        spec,
        folder,
        options.seed,
        decode=not options.quick,
        skip_bad=options.skip_bad,
        force=options.force,
        allow_commands=options.allow_commands,
    )
    _show(report)
    print(folder)
    return 0


def _spec(data: str, root: str | None) -> str:
    from speechft.core.errors import SettingsError

    if root is None:
        return data
    if ":" in data:
        raise SettingsError(
            "the root is given twice",
            expected="NAME:ROOT, or NAME and ROOT",
            found=f"{data} {root}",
        )
    return f"{data}:{root}"


def _downloaded(spec: str) -> str:
    """Fetch the packages of a known corpus; give the corpus with its root."""
    from speechft.core.errors import SettingsError
    from speechft.data.corpora import corpora
    from speechft.data.data_names import root_and_variant
    from speechft.data.external_programs import fetch_packages

    name, _, rest = spec.partition(":")
    corpus = corpora()[name]
    if not corpus.packages:
        raise SettingsError(
            "this corpus is in no package that could be downloaded",
            where="--download",
            found=name,
            expected=" or ".join(n for n, one in corpora().items() if one.packages),
            hint=corpus.source,
        )
    root, variant = root_and_variant(rest) if rest else (Path("data") / f"{name}-packages", "")
    fetch_packages(corpus.packages, root)
    return f"{name}:{root}" + (f"@{variant}" if variant else "")


def _show(report: CheckReport) -> None:
    from rich.table import Table

    console = output()
    if report.summary:
        splits = list(report.summary.values())
        keys = dict.fromkeys(name for about in splits for name in about)
        names = [name for name in keys if any(_text(about.get(name)) for about in splits)]
        table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="dim")
        table.add_column("")
        for name in names:
            number = isinstance(splits[0].get(name), int | float)
            table.add_column(name, justify="right" if number else "left", overflow="fold")
        for split, about in report.summary.items():
            table.add_row(split, *(_text(about.get(name)) for name in names))
        console.print(table, soft_wrap=False)
    for kind, lines in (("error", report.errors), ("warning", report.warnings)):
        for line in lines:
            console.print(f"{kind}: {line}")
    count = len(report.errors)
    verdict = "no errors" if report.passed else f"{count} error{'s' if count > 1 else ''}"
    console.print(verdict)
    if not report.passed and not any("\n  next:" in error for error in report.errors):
        advice = (
            "mend what is named; where audio is missing or unusable, `speechft data prepare DATA "
        )
        advice += "--skip-bad` leaves it out"
        console.print(f"  next:     {advice}")


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, float):
        return f"{value:.2f}"
    if isinstance(value, list | tuple | set):
        return str(len(value)) if len(value) > 4 else " ".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return "" if value is None else str(value)
