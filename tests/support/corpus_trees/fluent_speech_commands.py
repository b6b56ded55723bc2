from __future__ import annotations

HEADER = ",path,speakerId,transcription,action,object,location\n"
SPEAKERS = {"train": "2BqVo8kVB2Skwgyb", "valid": "2ojo7YRL7Gck83Z3", "test": "4BrX8aDqK2cLZRYl"}
INTENTS = ("activate,lights,kitchen", '"change language",none,none', "increase,heat,bedroom")


def lay_out(root, speech, each=1, intents=INTENTS):
    """Three tables and the audio that they name.

    `each` utterances per intent, one number or one per split; `speech` is asked for voice n for
    the nth intent.
    """
    base = root / "fluent_speech_commands_dataset"
    (base / "data").mkdir(parents=True)
    for split, speaker in SPEAKERS.items():
        rows = []
        for index, slots in enumerate(intents * (each if isinstance(each, int) else each[split])):
            path = f"wavs/speakers/{speaker}/{index}.wav"
            speech.lay(base / path, index % len(intents))
            rows.append(f'{index},{path},{speaker},"Turn on, please",{slots}\n')
        (base / "data" / f"{split}_data.csv").write_text(HEADER + "".join(rows))
    return base
