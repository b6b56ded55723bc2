"""ctc, on any column, and what PR, ASR and SF share with it.

That is a vocabulary, a recurrent head, the CTC loss, greedy decoding.
"""

from __future__ import annotations

import unicodedata
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

from speechft.core.errors import DataError
from speechft.core.lengths import padding_mask
from speechft.core.registry import deferred
from speechft.metrics.measures import error_rate
from speechft.tasks.base import TASKS, ProtocolName, Purpose, Size, Task, non_empty
from speechft.tasks.column_task import ColumnTask
from speechft.tasks.lexicon import SPACE
from speechft.tasks.probe_plan import RECURRENT_GRID, Plan

if TYPE_CHECKING:
    import torch
    from lhotse.cut import Cut
    from torch import Tensor, nn
    from torch.nn import functional
    from torch.nn.utils import rnn
else:
    torch, functional, rnn = (
        deferred("torch"),
        deferred("torch.nn.functional"),
        deferred("torch.nn.utils.rnn"),
    )

BLANK = "<blank>"
UNKNOWN = "<unk>"
TOKENS = "tokens"
# projection, hidden units per direction, layers
_WIDTHS: Final[dict[tuple[Purpose, Size], tuple[int, int, int]]] = {
    ("probe", "superb"): (1024, 1024, 2),
    ("probe", "mini"): (128, 128, 1),
    ("finetune", "superb"): (256, 256, 3),
    ("finetune", "mini"): (128, 128, 1),
}


class CTCTask(Task):
    """A task that predicts a sequence of symbols with CTC.

    The vocabulary is the blank (0), the unknown symbol (1), then every symbol of the training split
    in sorted order, without an end-of-sentence symbol. Under the protocol "s3prl" it is S3PRL's
    fixed list, and every target ends as S3PRL's do.

    Args:
        symbols: the vocabulary without blank and unknown.
        protocol: "clean" or "s3prl".

    Class attributes:
        ending: what S3PRL puts behind every target.
        silent: symbols of S3PRL's lists that are never part of a prediction.
    """

    pooled: ClassVar[bool] = False
    target_is_sequence: ClassVar[bool] = True
    fixed: ClassVar[tuple[str, type]] = ("symbols", list)
    answer: ClassVar[str] = "text"
    plans: ClassVar[Mapping[Size, Plan]] = {
        "mini": Plan(400, 16, (3e-3,)),
        "superb": Plan(200_000, 32, RECURRENT_GRID),
    }
    spec_augment: ClassVar[bool] = True
    ending: ClassVar[tuple[str, ...]] = ()
    silent: ClassVar[frozenset[str]] = frozenset({"<pad>", "<eos>", "</s>"})

    def __init__(self, symbols: Sequence[str], protocol: ProtocolName = "clean") -> None:
        self.protocol = protocol
        self.vocabulary = [BLANK, UNKNOWN, *symbols]
        self._index = {symbol: i for i, symbol in enumerate(self.vocabulary)}

    @abstractmethod
    def symbols(self, cut: Cut) -> list[str]:
        """Give the label sequence of a cut as symbols."""

    def reference(self, cut: Cut) -> Any:
        """Give what a cut's symbols say, as predictions say it."""
        return self.assemble(self.readable(self.symbols(cut)))

    def assemble(self, symbols: list[str]) -> Any:
        """Turn decoded symbols into a prediction: text, unless a task says otherwise."""
        return " ".join("".join(symbols).replace(SPACE, " ").split())

    def readable(self, symbols: Iterable[str]) -> list[str]:
        """Give a reference's symbols; S3PRL compares with unknown ones as the unknown symbol."""
        if self.protocol == "clean":
            return list(symbols)
        return [symbol if symbol in self._index else UNKNOWN for symbol in symbols]

    @classmethod
    def from_cuts(cls, train: Iterable[Cut], protocol: ProtocolName = "clean") -> Self:
        """Collect the vocabulary from the training split."""
        reader = cls([], protocol)
        cuts = non_empty(train, cls.id)
        found = {symbol for cut in cuts for symbol in reader.symbols(cut)}
        if not found:
            raise DataError(
                f"the training split holds no label for the task {cls.id!r}",
                found=f"{len(cuts)} utterances with empty transcripts",
            )
        symbols = sorted(found) if protocol == "clean" else reader.published_symbols(found)
        return cls(symbols, protocol)

    @abstractmethod
    def published_symbols(self, found: Set[str]) -> list[str]:
        """Give S3PRL's list of symbols, without blank and unknown.

        Args:
            found: the symbols of the training split.

        Raises:
            DataError: the labels are of another kind.
        """

    def to_dict(self) -> dict[str, Any]:
        """Give the task's id, symbols and protocol."""
        return {"task": self.id, "symbols": self.vocabulary[2:], "protocol": self.protocol}

    @property
    def output_size(self) -> int:
        """V, with blank and unknown."""
        return len(self.vocabulary)

    def target(self, cut: Cut) -> Tensor:
        """Give the label sequence (S,); symbols unseen in training become the unknown symbol."""
        symbols = self.symbols(cut)
        if self.protocol == "s3prl" and self.ends(cut):
            symbols = [*symbols, *self.ending]
        return torch.tensor([self._index.get(symbol, 1) for symbol in symbols], dtype=torch.long)

    def ends(self, cut: Cut) -> bool:  # noqa: ARG002
        """Tell whether S3PRL puts its ending behind a cut's target."""
        return True

    def build_head(self, input_dim: int, *, purpose: Purpose, size: Size) -> nn.Module:
        """Build the recurrent head: SUPERB's for probing, Speech-FT's for fine-tuning."""
        from speechft.heads.linear import OneLinear
        from speechft.heads.rnn import RecurrentCTC

        if size == "linear":
            return OneLinear(input_dim, self.output_size)
        projection, hidden, layers = _WIDTHS[purpose, size]
        return RecurrentCTC(input_dim, self.output_size, projection, hidden, layers)

    def loss(self, logits: Tensor, lengths: Tensor | None, targets: Sequence[Tensor]) -> Tensor:
        """Give the CTC loss: each item over its target's length, mean over the batch.

        An item that has fewer frames than its target needs adds 0 and no gradient; `unreachable`
        counts them.
        """
        frames = _all_frames(logits) if lengths is None else lengths.to(logits.device)
        sizes = torch.tensor([len(target) for target in targets], device=logits.device)
        padded = rnn.pad_sequence(list(targets), batch_first=True).to(logits.device)
        return functional.ctc_loss(
            functional.log_softmax(logits.float(), dim=-1).transpose(0, 1),
            padded,
            frames,
            sizes,
            blank=0,
            reduction="mean",
            zero_infinity=True,
        )

    def answered(self, predictions: Sequence[Any], references: Sequence[Any]) -> float | None:
        """Give symbols that are predicted, as a share of those that were said.

        A head on the plateau where CTC training begins gives hardly any.
        """
        said = sum(map(len, references))
        return sum(map(len, predictions)) / said if said else None

    def decode(self, logits: Tensor, lengths: Tensor | None) -> list[Any]:
        """Decode greedily: best symbol per frame, repeats collapsed, blank and unknown dropped.

        S3PRL keeps the unknown symbol.
        """
        best = logits.argmax(dim=-1)
        frames = _all_frames(logits) if lengths is None else lengths.to(logits.device)
        keep = best.gt(1 if self.protocol == "clean" else 0) & ~padding_mask(frames, best.shape[1])
        keep[:, 1:] &= best[:, 1:] != best[:, :-1]
        counts = keep.sum(dim=1).tolist()
        rows = torch.split(best[keep].cpu(), counts)
        found = [[self.vocabulary[i] for i in row.tolist()] for row in rows]
        silent = self.silent if self.protocol == "s3prl" else ()
        return [self.assemble([s for s in symbols if s not in silent]) for symbols in found]

    def unreachable(self, lengths: Sequence[int], targets: Sequence[Tensor]) -> int:
        """Count items with fewer frames than labels plus repeats (a blank must part repeats)."""
        needed = [len(t) + int((t[1:] == t[:-1]).sum()) for t in targets]
        return sum(need > have for need, have in zip(needed, lengths, strict=True))


def _all_frames(logits: Tensor) -> Tensor:
    return torch.full((logits.shape[0],), logits.shape[1], device=logits.device)


@TASKS.on_columns.register("ctc")
class ColumnRecognition(ColumnTask, CTCTask):
    """The characters of the column COLUMN as they are written; a space is the symbol `|`.

    `ctc:COLUMN:tokens` takes what stands between spaces for a symbol, such as a phone.
    """

    id: ClassVar[str] = "ctc"
    title: ClassVar[str] = "recognition"
    metrics: ClassVar[tuple[str, ...]] = ("cer", "wer")
    wants: ClassVar[str] = "text"

    @classmethod
    def on(cls, column: str) -> type[Task]:
        """Give the task on a column, which may say that it holds tokens."""
        name, sign, units = column.rpartition(":")
        if cls is ColumnRecognition and sign and units == TOKENS:
            own = {"id": f"{cls.id}:{column}", "column": name, "title": f"{cls.title} by {name!r}"}
            return type("TokenRecognition", (_TokenRecognition,), own)
        return super().on(column)

    @classmethod
    def read(cls, value: Any) -> list[str]:
        """Give the symbols.

        Raises:
            ValueError: it is no text.
        """
        if not isinstance(value, str | int | float) or not str(value).split():
            raise ValueError(f"{value!r:.60}")
        text = unicodedata.normalize("NFC", str(value)).replace(SPACE, " ")
        return list(SPACE.join(text.split()))

    def symbols(self, cut: Cut) -> list[str]:
        """Give the symbols of a cut."""
        return list(self.value(cut))

    def published_symbols(self, found: Set[str]) -> list[str]:  # noqa: ARG002
        """Refuse S3PRL's protocol, which knows no such task."""
        raise DataError(f"S3PRL has no task {self.id!r}", hint="choose protocol: clean")

    def score(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        """Give CER (spaces count as characters) and WER."""
        words = error_rate([r.split() for r in references], [p.split() for p in predictions])
        return {"cer": error_rate(references, predictions), "wer": words}


class _TokenRecognition(ColumnRecognition):
    """The tokens of a column, with spaces between, or a list."""

    metrics: ClassVar[tuple[str, ...]] = ("ter",)
    answer: ClassVar[str] = "tokens"
    wants: ClassVar[str] = "tokens"

    @classmethod
    def read(cls, value: Any) -> list[str]:
        plain = isinstance(value, str | int | float)
        found = str(value).split() if plain else value if isinstance(value, list) else []
        if not found or not all(isinstance(one, str | int | float) for one in found):
            raise ValueError(f"{value!r:.60}")
        return [unicodedata.normalize("NFC", str(one)) for one in found]

    def assemble(self, symbols: list[str]) -> list[str]:
        return symbols

    def score(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        return {"ter": error_rate(references, predictions)}
