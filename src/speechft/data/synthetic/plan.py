"""The plan of a corpus: which speaker says which sentence how, as jobs of plain values.

Everything random is drawn here or derived from a job's own seed, so that the result does not depend
on the number of processes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from speechft.core.errors import SettingsError
from speechft.core.seeding import derive_seed, numpy_generator
from speechft.data.synthetic.effects import NOISES
from speechft.data.synthetic.emotions import EMOTIONS, draw_prosody
from speechft.data.synthetic.grammar import Sentence, bucket, draw_command, draw_open
from speechft.data.synthetic.languages import OTHER_LANGUAGES, draw_other
from speechft.data.synthetic.render import Job
from speechft.data.synthetic.settings import SyntheticSettings
from speechft.data.synthetic.speakers import Speaker, draw_speaker

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
        return [self._one(speakers[index % len(speakers)], index) for index in range(count)]

    def _one(self, speaker: Speaker, index: int) -> Planned:
        emotion = self.emotions[int(self.random.integers(len(self.emotions)))]
        sentence = self._sentence()
        name = f"{self.name}-{index:05d}"
        return Planned(self._job(name, speaker, emotion, sentence), sentence, speaker.name, emotion)

    def _sentence(self) -> Sentence:
        """Draw until a sentence is new, belongs to this split's part, and has a fair length."""
        for _ in range(_DRAWS):
            sentence = self.draw(self.random)
            text = sentence.text
            if text in self.used or len(text) not in _LETTERS:
                continue
            if self.intents and sentence.intent not in self.intents:
                continue
            if bucket(text) in _BUCKETS[self.part]:
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
            voice=speaker.voice,
            rate=speaker.rate * prosody.rate * float(np.exp(random.normal(0, 0.04))),
            pitch=speaker.pitch + prosody.pitch,
            pitch_range=speaker.pitch_range + prosody.pitch_range,
            word_gap=prosody.word_gap,
            warp=speaker.warp * float(np.exp(random.normal(0, 0.01))),
            tilt=speaker.tilt + float(random.normal(0, 0.05)),
            bump_hz=speaker.bump_hz,
            bump_db=speaker.bump_db,
            bright_start=prosody.bright_start,
            bright_end=prosody.bright_end,
            breath=prosody.breath,
            tremor=prosody.tremor,
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
    for name, count, speakers in (
        ("train", s.train, s.train_speakers),
        ("dev", s.dev, s.dev_speakers),
        ("test", s.test, s.test_speakers),
    ):
        split = _Split(name, "en", name, draw_command, s.seed, plan.get("train", ()))
        plan[name] = split.plan(_speakers(s.seed, name, speakers), count)
    closed = _speakers(s.seed, "sid", s.sid_speakers)
    for name, each in (
        ("sid_train", s.sid_train),
        ("sid_dev", s.sid_dev),
        ("sid_test", s.sid_test),
    ):
        split = _Split(name, "en", name, draw_open, s.seed)
        plan[name] = split.plan(closed, each * len(closed))
    for name, count, speakers in (
        ("pretrain", s.pretrain, s.pretrain_speakers),
        ("pretrain_dev", s.pretrain_dev, s.pretrain_dev_speakers),
    ):
        split = _Split(name, "en", name, _draw_mixed, s.seed)
        plan[name] = split.plan(_speakers(s.seed, name, speakers), count)
    for language in OTHER_LANGUAGES:
        plan |= _plan_language(s, language)
    return {name: utterances for name, utterances in plan.items() if utterances}


def _plan_language(s: SyntheticSettings, language: str) -> dict[str, list[Planned]]:
    plan: dict[str, list[Planned]] = {}
    for part, count, speakers in (
        ("train", s.other_train, s.other_speakers),
        ("dev", s.other_dev, s.other_speakers),
        ("test", s.other_test, s.other_speakers),
        ("pretrain", s.other_pretrain, s.other_pretrain_speakers),
    ):
        name = f"{language}_{part}"
        train = () if part == "pretrain" else plan.get(f"{language}_train", ())
        split = _Split(name, language, part, lambda r: draw_other(language, r), s.seed, train)
        plan[name] = split.plan(_speakers(s.seed, name, speakers, language), count)
    return plan


def _speakers(seed: int, group: str, count: int, language: str = "en") -> list[Speaker]:
    return [draw_speaker(seed, group, index, language) for index in range(count)]


def _draw_mixed(random: np.random.Generator) -> Sentence:
    return draw_open(random) if random.uniform() < 0.7 else draw_command(random)


def _punctuate(text: str, exclaim: bool) -> str:
    if exclaim:
        return text + "!"
    question = text.split()[0] in {"what", "why", "will", "could", "warum"}
    return text + ("?" if question else ".")
