from __future__ import annotations

WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go", "cat", "bed")
# Where the hash of these names puts them.
TRAIN, DEV, DISCARDED = ("00000001", "00000003"), ("00000000",), ("00000002",)
TEST = (*WORDS[:10], "_unknown_", "_silence_")


def lay_out(root, speech, words=WORDS, each=1):
    """Speech Commands v0.01 and its test set; a word is always said by the same voice.

    `each` utterances per word and speaker.
    """
    train, test = root / "speech_commands_v0.01", root / "speech_commands_test_set_v0.01"
    for voice, word in enumerate(words):
        for speaker in (*TRAIN, *DEV, *DISCARDED):
            for index in range(each):
                speech.lay(train / word / f"{speaker}_nohash_{index}.wav", voice, 1.0)
    for voice, name in enumerate(("running_tap", "white_noise")):
        speech.lay(train / "_background_noise_" / f"{name}.wav", voice, 4.5)
    (train / "_background_noise_" / "README.md").write_text("Noise.\n")
    for voice, name in enumerate(TEST):
        for index in range(each):
            speech.lay(test / name / f"0a7c2a8d_nohash_{index}.wav", voice, 1.0)
    return root
