"""The table of commands. What a command is made of is imported when it is called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

START = "Start here"
STAGES = "Stages, each on its own"
TOOLS = "Encoders and data"


@dataclass(frozen=True)
class Command:
    """One command of `speechft`.

    Attributes:
        name: as typed.
        panel: under which heading the help lists it.
        help: one line.
        module: of `speechft.cli`; it may hold `SETTINGS`, the class of options by command,
            `AT_ONCE`, switches that do something else, and `show`, which is given a verb's result
            and settings where a path alone does not say enough. A command that is no verb is done
            by its `command`, which is given the options and what `--set` said.
        printed: what of that path is printed, as seen from it.
        about, example: for commands that are no verbs; verbs say it in `speechft.api`.
    """

    name: str
    panel: str
    help: str
    module: str = ""
    printed: str = ""
    about: str = ""
    example: str = ""


COMMANDS: Final = (
    Command(
        "demo",
        START,
        "Run the packaged recipe, end to end.",
        "run",
        about="Run the packaged recipe: fine-tune, merge, probe and report, in a few minutes.",
        example="speechft demo --out runs/demo",
    ),
    Command(
        "run",
        START,
        "Run a recipe: all stages, resumed.",
        "run",
        about="Run a recipe: what is done is skipped, what was stopped goes on.",
        example="speechft run study.yaml --out runs/study",
    ),
    Command(
        "study",
        START,
        "Tables of many encoders over seeds.",
        "study",
        about="Do studies: stages are shared, what is done is kept, what was stopped goes on.",
        example="speechft study supervised --out runs/studies  # in a checkout",
    ),
    Command("pretrain", STAGES, "Pre-train an encoder on audio.", printed="encoder"),
    Command("finetune", STAGES, "Fine-tune an encoder on a task.", printed="encoder"),
    Command("merge", STAGES, "Merge a base with tuned encoders.", "merge"),
    Command("predict", STAGES, "Say what a head hears in audio.", "predict"),
    Command("evaluate", STAGES, "Probe frozen encoders on tasks.", printed="results.jsonl"),
    Command("analyze", STAGES, "Say what moved, and how far.", "analyze"),
    Command("report", STAGES, "Compare runs: HTML, Markdown, PNG.", "report"),
    Command("leaderboard", STAGES, "Published rows beside yours.", "leaderboard"),
    Command(
        "data check",
        TOOLS,
        "Check data.",
        "data",
        about="Look at every utterance: errors make data unusable, warnings are worth knowing.",
        example="speechft data check timit /corpora/TIMIT",
    ),
    Command(
        "data prepare",
        TOOLS,
        "Check data, and make it ready.",
        "data",
        about="Check data and write its splits as lhotse cuts, which read faster.",
        example="speechft data prepare librispeech /corpora/LibriSpeech",
    ),
    Command(
        "check encoder",
        TOOLS,
        "Check an encoder of your own.",
        "check",
        about="Encode noise alone and together: shapes, lengths, padding, gradients.",
        example="speechft check encoder my.module:Encoder",
    ),
    Command("inspect", TOOLS, "Show what a checkpoint holds.", "inspect"),
    Command("convert", TOOLS, "Write an encoder in another format."),
    Command("embed", TOOLS, "Write the hidden states of audio."),
    Command("push", TOOLS, "Upload an encoder to the Hub."),
)
