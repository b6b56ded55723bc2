"""The English words of the synthetic sentences, by their part in a sentence."""

from __future__ import annotations


def split_words(text: str) -> tuple[str, ...]:
    """Give the words of a text."""
    return tuple(text.split())


PEOPLE = split_words(
    "anna martin julia oscar emily victor nora peter sofia daniel laura henry alice thomas clara "
    "simon marie robert helen george paula edward irene frank olivia walter susan philip diana "
    "arthur rosa kevin monica stephen grace leonard judith vincent carol benjamin"
)
CITIES = split_words(
    "london paris boston madrid berlin vienna dublin oslo chicago rome lisbon prague denver "
    "warsaw athens toronto sydney moscow cairo geneva munich dallas milan glasgow seattle"
)
ROOMS = split_words("kitchen bedroom garage bathroom hallway office cellar nursery attic library")
DEVICES = split_words(
    "lights heater fan radio television oven lamp speaker camera curtains printer washer"
)
TIMES = (
    *split_words("one two three four five six seven eight nine ten eleven twelve noon midnight"),
    "half past two",
    "half past six",
    "quarter past nine",
    "quarter to five",
    "ten past seven",
)
DAYS = split_words(
    "monday tuesday wednesday thursday friday saturday sunday today tomorrow tonight"
)
FOODS = split_words(
    "pizza noodles salad soup burgers dumplings curry pancakes sushi tacos chicken rice pasta"
)
ITEMS = split_words(
    "milk butter bread apples sugar coffee cheese onions tomatoes honey candles batteries soap "
    "paper eggs lemons"
)
GENRES = split_words("jazz rock opera folk blues piano techno reggae country gospel")
NUMBERS = split_words("ten fifteen twenty thirty forty fifty sixty seventy eighty ninety")
COLOURS = split_words("red green blue yellow purple orange white pink")
ADJECTIVES = split_words(
    "quiet yellow heavy broken gentle ancient clever narrow golden bitter hollow shallow frozen "
    "young rusty silver polite curious tiny wooden hungry modern lonely purple wicked smooth "
    "humble foreign sudden fragile royal dusty careful proud rough simple brave western sleepy "
    "cheerful distant empty famous grey huge icy jolly kind lazy muddy noisy odd plain rapid "
    "sharp thick useful vivid warm crooked bold damp faded giant honest"
)
NOUNS = split_words(
    "farmer bridge window doctor garden river teacher mountain engine basket soldier village "
    "letter market painter forest captain pencil ladder castle dragon kettle mirror blanket "
    "hammer island lawyer monkey needle orchard parrot rabbit sailor temple uncle valley wagon "
    "barrel button camel desert eagle feather gardener harbour jacket kitten lantern meadow "
    "nephew ocean palace quarrel ribbon shadow tailor umbrella violin whistle anchor butcher "
    "cabin daughter elbow fountain goat honeycomb insect judge key leather magnet neighbour "
    "oyster pocket queen rocket station thunder vase weather young yard zebra army baker chimney "
    "dentist envelope fisherman glove hunter journey king lizard museum notebook oil pilot ring "
    "shepherd tiger tunnel witness author bishop clock donkey fence guitar horse ink jewel knife "
    "lake mouse nurse owl piano road shoe tower voice wheel bear church dish fox goose hill"
)
TRANSITIVE = split_words(
    "carried watched painted followed forgot borrowed dropped repaired noticed measured greeted "
    "chased covered described offered opened pushed remembered rescued searched touched visited "
    "wrapped admired blamed counted delivered examined found guarded hated invited joined kicked "
    "loved mentioned needed observed pulled questioned reached sold taught understood washed "
    "brought chose drew fixed gathered hid ignored kept lifted moved"
)
INTRANSITIVE = split_words(
    "laughed waited slept vanished arrived danced shivered listened returned whispered hesitated "
    "coughed smiled wandered complained fainted giggled jumped knelt left nodded paused recovered "
    "shouted trembled worked yawned"
)
ADVERBS = split_words(
    "slowly quickly again quietly yesterday never always suddenly often together badly "
    "carefully early finally gladly happily later nearly outside perhaps rarely softly twice "
    "usually warmly away"
)
PREPOSITIONS = split_words(
    "near behind under across beside above through without beyond inside around"
)
PLURALS = split_words(
    "horses children flowers stones chairs bottles birds soldiers cousins bells boats brothers "
    "cherries doors feathers guests hats islands jokes keys leaves machines nails oranges "
    "pictures roses ships songs teeth villagers wolves women"
)
