from __future__ import annotations

HEADER = ",path,speakerId,transcription,action,object,location\n"
SPEAKERS = {"train": "2BqVo8kVB2Skwgyb", "valid": "2ojo7YRL7Gck83Z3", "test": "4BrX8aDqK2cLZRYl"}
INTENTS = ("activate,lights,kitchen", '"change language",none,none', "increase,heat,bedroom")


def lay_out(root, speech, each=1):
    """Three tables and the audio that they name, `each` utterance per intent."""
    base = root / "fluent_speech_commands_dataset"
    (base / "data").mkdir(parents=True)
    for split, speaker in SPEAKERS.items():
        rows = []
        for index, slots in enumerate(INTENTS * each):
            path = f"wavs/speakers/{speaker}/{index}.wav"
            speech.lay(base / path, index % len(INTENTS))
            rows.append(f'{index},{path},{speaker},"Turn on, please",{slots}\n')
        (base / "data" / f"{split}_data.csv").write_text(HEADER + "".join(rows))
    return base
