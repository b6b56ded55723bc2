from __future__ import annotations

import numpy as np

from corpus_trees.speech import write

KINDS = ("dev", "eval")


def lay_out(root, speech, documents=4, queries=2):
    """Documents of two utterances each; a query is the first half of an utterance, at 8 kHz.

    Query n of each set is taken from document n; one document and one query of each set are in
    Basque. The ground truth gives times, and NO_KEYWORD for documents without any query.
    """
    base = root / "quesst14Database"
    lists = {"utterances": [], "dev": [], "eval": []}
    starts = {}
    for number in range(1, documents + 1):
        (one, _), (two, _) = speech.take(number), speech.take(number)
        starts[number] = (one, two)
        name = f"quesst14_{number:05d}"
        write(base / "Audio" / f"{name}.wav", np.concatenate([one, two]), 8000)
        language = "basque" if number == documents else "nnenglish"
        lists["utterances"].append(f"quesst14Database/Audio/{name}.wav {language}\n")
    for kind in KINDS:
        truth = []
        for number in [*range(1, queries + 1), documents]:
            wave = starts[number][kind == "eval"]
            name = f"quesst14_{kind}_{number:04d}"
            write(base / f"{kind}_queries" / f"{name}.wav", wave[: len(wave) // 2], 8000)
            language = "basque" if number == documents else "nnenglish"
            lists[kind].append(f"quesst14Database/{kind}_queries/{name}.wav {language}\n")
            truth.append(f"LEXEME quesst14_{number:05d} 1 0.00 1.00 {name} lex <NA> 0.5\n")
        truth.append("LEXEME quesst14_00003 1 0.00 1.00 NO_KEYWORD lex <NA> 0.5\n")
        truth.append("SPEAKER quesst14_00003 1 0.00 1.00 <NA> <NA> someone <NA>\n")
        folder = base / "scoring" / f"groundtruth_quesst14_{kind}"
        folder.mkdir(parents=True)
        (folder / f"quesst14_{kind}.rttm").write_text("".join(truth))
    for kind, lines in lists.items():
        (base / "scoring" / f"language_key_{kind}.lst").write_text("".join(lines))
    return base
