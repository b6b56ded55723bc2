"""The table of commands: name, module, one line of help. A module is imported when it is called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

START = "Start here"
STAGES = "Stages, each on its own"
TOOLS = "Encoders and data"


@dataclass(frozen=True)
class CommandEntry:
    """One command of `speechft`.

    Attributes:
        name: as typed.
        panel: under which heading the help lists it.
        help: one line.
        module: holds `command`, a function with typed options, or `app`, a group of commands.
    """

    name: str
    panel: str
    help: str
    module: str


COMMANDS: Final[tuple[CommandEntry, ...]] = (
    CommandEntry("demo", START, "Run the packaged recipe, end to end.", "speechft.cli.demo"),
    CommandEntry("run", START, "Run a recipe: all stages, resumed.", "speechft.cli.run"),
    CommandEntry("study", START, "Tables of many encoders over seeds.", "speechft.cli.study"),
    CommandEntry("pretrain", STAGES, "Pre-train an encoder on audio.", "speechft.cli.pretrain"),
    CommandEntry("finetune", STAGES, "Fine-tune an encoder on a task.", "speechft.cli.finetune"),
    CommandEntry("merge", STAGES, "Merge a base with tuned encoders.", "speechft.cli.merge"),
    CommandEntry("evaluate", STAGES, "Probe frozen encoders on tasks.", "speechft.cli.evaluate"),
    CommandEntry("analyze", STAGES, "Say what moved, and how far.", "speechft.cli.analyze"),
    CommandEntry("report", STAGES, "Compare runs: HTML, Markdown, PNG.", "speechft.cli.report"),
    CommandEntry("leaderboard", STAGES, "Published rows beside yours.", "speechft.cli.leaderboard"),
    CommandEntry("data", TOOLS, "Check data, or make it ready.", "speechft.cli.data"),
    CommandEntry("inspect", TOOLS, "Show what a checkpoint holds.", "speechft.cli.inspect"),
    CommandEntry("convert", TOOLS, "Write an encoder in another format.", "speechft.cli.convert"),
    CommandEntry("embed", TOOLS, "Write the hidden states of audio.", "speechft.cli.embed"),
    CommandEntry("push", TOOLS, "Upload an encoder to the Hub.", "speechft.cli.push"),
)
