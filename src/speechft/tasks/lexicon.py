"""ASR with a lexicon and a language model: flashlight's beam search, as SUPERB's "with LM"."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from speechft.core.errors import DataError, SettingsError
from speechft.core.extras import pip_install
from speechft.core.logging import get_logger
from speechft.core.registry import deferred
from speechft.data.corpus_tree import read_lines
from speechft.tasks.base import frame_counts
from speechft.tasks.transcripts import normalise_text

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import functional
else:
    torch, functional = deferred("torch"), deferred("torch.nn.functional")

SPACE: Final = "|"
_IMPOSSIBLE: Final = -1e4
_UNKNOWN: Final = "<unk>"
_logger = get_logger(__name__)


class LexiconDecoder:
    """Finds the best sequence of a lexicon's words under a CTC head and a word language model.

    Args:
        vocabulary: the head's symbols, the blank first.
        lexicon: a text file, one word a line; behind it its letters with `|` at the end, or
            nothing, for the word's own letters.
        language_model: a KenLM file (ARPA, also compressed, or binary).
        beam: hypotheses that are kept.
        threshold: how far, in log probability, a hypothesis may lie behind the best one.
        weight: of the language model.
        word_score: added for every word.

    Raises:
        SettingsError: flashlight-text is not installed, or a file is missing.
        DataError: no word of the lexicon can be written with the vocabulary, or the model cannot be
            read.

    Source:
        S3PRL 0.4's ASR with its flashlight decoder; the defaults are its numbers.
    """

    def __init__(
        self,
        vocabulary: Sequence[str],
        lexicon: Path,
        language_model: Path,
        *,
        beam: int = 5,
        threshold: float = 25.0,
        weight: float = 2.0,
        word_score: float = -1.0,
    ) -> None:
        decoder, kenlm, dictionary = _flashlight()
        for path in (lexicon, language_model):
            if not Path(path).is_file():
                raise SettingsError("no such file", where=path, expected="for ASR with a LM")
        index = {symbol: i for i, symbol in enumerate(vocabulary)}
        words = _read_lexicon(Path(lexicon), index)
        self._words = dictionary.Dictionary()
        for word in [*words, _UNKNOWN]:
            self._words.add_entry(word)
        unknown = self._words.get_index(_UNKNOWN)
        self._words.set_default_index(unknown)
        self._space, self._size = index[SPACE], len(vocabulary)
        # The trie and the model are only borrowed by the decoder: they live as long as this does.
        try:
            self._model = kenlm.KenLM(str(language_model), self._words)
        except RuntimeError as error:
            raise DataError(
                "the language model cannot be read",
                where=language_model,
                expected="a KenLM file (ARPA or binary) of order 2 or more",
                found=str(error).strip().splitlines()[-1],
            ) from None
        self._trie = decoder.Trie(self._size, self._space)
        start = self._model.start(False)
        _, of_unknown = self._model.score(start, unknown)
        strange = 0
        for word, letters in words.items():
            number = self._words.get_index(word)
            _, score = self._model.score(start, number)
            self._trie.insert(letters, number, score)
            strange += score == of_unknown
        if strange == len(words):
            _logger.warning(
                "%s scores all %d words of the lexicon, such as %r, as an unknown one: write them "
                "as the language model has them (capitals count), or it says nothing",
                *(language_model, strange, next(iter(words))),
            )
        self._trie.smear(decoder.SmearingMode.MAX)
        options = decoder.LexiconDecoderOptions(
            beam_size=beam,
            beam_size_token=self._size,
            beam_threshold=threshold,
            lm_weight=weight,
            word_score=word_score,
            unk_score=float("-inf"),
            sil_score=0.0,
            log_add=False,
            criterion_type=decoder.CriterionType.CTC,
        )
        self._decoder = decoder.LexiconDecoder(
            options, self._trie, self._model, self._space, 0, unknown, [], False
        )

    def __call__(self, logits: Tensor, lengths: Tensor | None) -> list[str]:
        """Decode logits (B, T, V) with lengths (B,): one line of words per item."""
        total = frame_counts(logits, lengths)
        logs = functional.log_softmax(logits.float(), dim=-1).cpu()
        return [self._one(row[:n]) for row, n in zip(logs, total, strict=True)]

    def _one(self, logs: Tensor) -> str:
        # Every word of the lexicon ends with a space: say one behind the last word.
        closing = torch.full((1, self._size), _IMPOSSIBLE)
        closing[0, self._space] = 0.0
        emissions = np.ascontiguousarray(torch.cat([logs, closing]).numpy(), dtype=np.float32)
        found = self._decoder.decode(emissions.ctypes.data, len(emissions), self._size)
        words = [self._words.get_entry(i) for i in found[0].words if i >= 0] if found else []
        return normalise_text(" ".join(words))  # as references are


def _read_lexicon(path: Path, index: dict[str, int]) -> dict[str, list[int]]:
    """Give word → its symbols; words that the vocabulary cannot write are left out."""
    if SPACE not in index:
        raise DataError(
            "the vocabulary has no space, so there are no words to look up",
            expected=f"{SPACE!r} among the symbols",
            found=" ".join(index),
        )
    words: dict[str, list[int]] = {}
    left_out = 0
    for _, line in read_lines(path):
        word, *letters = line.split()
        letters = letters or [*normalise_text(word), SPACE]
        if word == _UNKNOWN:
            continue
        if all(letter in index for letter in letters):
            words.setdefault(word, [index[letter] for letter in letters])
        else:
            left_out += 1
    if not words:
        raise DataError(
            "no word of the lexicon can be written with the head's symbols",
            where=path,
            expected="lines such as 'GO G O |' or 'GO', in upper case",
            found=f"{left_out} words",
        )
    if left_out:
        _logger.warning("%s: %d words hold symbols that are not in training", path, left_out)
    return words


def _flashlight() -> tuple[Any, Any, Any]:
    try:
        from flashlight.lib.text import decoder, dictionary
        from flashlight.lib.text.decoder import kenlm
    except ImportError as error:
        raise SettingsError(
            "ASR with a language model needs the package flashlight-text",
            found=error,
            hint=pip_install("flashlight-text"),
        ) from None
    return decoder, kenlm, dictionary
