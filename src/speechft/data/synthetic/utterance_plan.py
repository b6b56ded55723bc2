"""The plan of a corpus: which speaker says which sentence how, as jobs of plain values.

Everything random is drawn here or derived from a job's own seed, so that the result does not depend
on the number of processes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from speechft.core.errors import SettingsError
from speechft.core.seeding import derive_seed, numpy_generator
from speechft.data.synthetic.grammar import (
    OTHER_LANGUAGES,
    Sentence,
    bucket,
    draw_command,
    draw_open,
)
from speechft.data.synthetic.render import Job, Speaker
from speechft.data.synthetic.rooms_and_noise import NOISES
from speechft.data.synthetic.settings import SyntheticSettings
from speechft.data.synthetic.voices import EMOTIONS, draw_prosody, draw_speaker

# Parts of the sentences, by the hash of their text: no two splits share one.
_BUCKETS: dict[str, range] = {
    "pretrain": range(0, 46),
    "pretrain_dev": range(46, 50),
    "train": range(50, 70),
    "dev": range(70, 77),
    "test": range(77, 85),
    "sid_train": range(85, 92),
    "sid_dev": range(92, 95),
    "sid_test": range(95, 100),
}
_LETTERS = range(18, 76)
_DRAWS = 20000


@dataclass(frozen=True)
class Planned:
    """A job with the labels of its utterance."""

    job: Job
    sentence: Sentence
    speaker: str
    emotion: str


@dataclass
class _Split:
    """Draws the utterances of one split.

    Where `train` is given, its classes are the only ones drawn: a small training set may lack some.
    """

    name: str
    language: str
    part: str
    draw: Callable[[np.random.Generator], Sentence]
    seed: int
    train: Sequence[Planned] = ()
    used: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.random = numpy_generator(self.seed, "plan", self.name)
        known = {planned.emotion for planned in self.train}
        self.emotions = [name for name in EMOTIONS if name in known or not known]
        self.intents = {planned.sentence.intent for planned in self.train}

    def plan(self, speakers: Sequence[Speaker], count: int) -> list[Planned]:
        """Plan `count` utterances, the speakers taking turns."""
        planned = []
        for index in range(count):
            speaker = speakers[index % len(speakers)]
            emotion = self.emotions[int(self.random.integers(len(self.emotions)))]
            sentence = self._sentence()
            job = self._job(f"{self.name}-{index:05d}", speaker, emotion, sentence)
            planned.append(Planned(job, sentence, speaker.name, emotion))
        return planned

    def _sentence(self) -> Sentence:
        """Draw until a sentence is new, belongs to this split's part, and has a fair length."""
        for _ in range(_DRAWS):
            sentence = self.draw(self.random)
            text = sentence.text
            fits = text not in self.used and len(text) in _LETTERS
            fits = fits and (not self.intents or sentence.intent in self.intents)
            if fits and bucket(text) in _BUCKETS[self.part]:
                self.used.add(text)
                return sentence
        raise SettingsError(
            f"the grammar has no more new sentences for the split {self.name!r}",
            found=f"{len(self.used)} sentences",
            hint="ask for fewer utterances",
        )

    def _job(self, name: str, speaker: Speaker, emotion: str, sentence: Sentence) -> Job:
        random = self.random
        prosody = draw_prosody(emotion, random)
        in_room = random.uniform() < 0.5
        return Job(
            id=name,
            text=_punctuate(sentence.text, prosody.exclaim > 0),
            language=self.language,
            speaker=replace(
                speaker,
                rate=speaker.rate * prosody.rate * float(np.exp(random.normal(0, 0.04))),
                warp=speaker.warp * float(np.exp(random.normal(0, 0.01))),
                tilt=speaker.tilt + float(random.normal(0, 0.05)),
            ),
            prosody=prosody,
            lead=float(random.uniform(0.05, 0.2)),
            trail=float(random.uniform(0.05, 0.2)),
            rt60=float(random.uniform(0.15, 0.5)) if in_room else 0.0,
            direct_db=float(random.uniform(2, 14)),
            noise=NOISES[int(random.integers(len(NOISES)))],
            snr_db=float(random.uniform(6, 26)),
            level_db=float(random.uniform(-30, -20)),
            seed=derive_seed(self.seed, "render", name),
        )


def make_plan(settings: SyntheticSettings) -> dict[str, list[Planned]]:
    """Give the utterances of every split that is not empty."""
    s = settings
    plan: dict[str, list[Planned]] = {}
    for part in ("train", "dev", "test"):
        count, speakers = getattr(s, part), getattr(s, f"{part}_speakers")
        split = _Split(part, "en", part, draw_command, s.seed, plan.get("train", ()))
        plan[part] = split.plan(_speakers(s.seed, part, speakers), count)
    closed = _speakers(s.seed, "sid", s.sid_speakers)
    for part in ("sid_train", "sid_dev", "sid_test"):
        split = _Split(part, "en", part, draw_open, s.seed)
        plan[part] = split.plan(closed, getattr(s, part) * len(closed))
    for part in ("pretrain", "pretrain_dev"):
        speakers = _speakers(s.seed, part, getattr(s, f"{part}_speakers"))
        split = _Split(part, "en", part, _draw_mixed, s.seed)
        plan[part] = split.plan(speakers, getattr(s, part))
    for language in OTHER_LANGUAGES:
        for part in ("train", "dev", "test", "pretrain"):
            name = f"{language}_{part}"
            alone = part == "pretrain"
            number = s.other_pretrain_speakers if alone else s.other_speakers
            train = () if alone else plan.get(f"{language}_train", ())
            draw = partial(draw_open, language=language)
            split = _Split(name, language, part, draw, s.seed, train)
            speakers = _speakers(s.seed, name, number, language)
            plan[name] = split.plan(speakers, getattr(s, f"other_{part}"))
    return {name: utterances for name, utterances in plan.items() if utterances}


def _speakers(seed: int, group: str, count: int, language: str = "en") -> list[Speaker]:
    return [draw_speaker(seed, group, index, language) for index in range(count)]


def _draw_mixed(random: np.random.Generator) -> Sentence:
    return draw_open(random) if random.uniform() < 0.7 else draw_command(random)


def _punctuate(text: str, exclaim: bool) -> str:
    if exclaim:
        return text + "!"
    question = text.split()[0] in {"what", "why", "will", "could", "warum"}
    return text + ("?" if question else ".")
