from __future__ import annotations

import numpy as np
import soundfile
from G722 import G722

from corpus_trees import fillets

VOICES = {
    "es_MX_f_Allison": ".g722",
    "es": ".gsm",
    "fr_CA_f_June": ".g722",
    "fr": ".gsm",
    "it_IT_m_Carlo": ".g722",
    "it_IT_f_Menardi": ".alaw",
    "en_US_f_Allison": ".g722",
    "ru_RU_f_IvrvoiceRU": ".g722",
}
CODINGS = {".gsm": "GSM610", ".alaw": "ALAW"}
KEYS = ("vm-intro", "conf-getpin", "digits/hundred", "agent-user", "hello", "goodbye", "call-fwd")


def lay_out(root, speech, prompts=KEYS):
    """Each voice says the same prompts, and one that is too short and one that is no speech."""
    fillets.lay_out(root, speech, levels=10)
    base = root / "usr" / "share" / "asterisk" / "sounds"
    for voice, (folder, suffix) in enumerate(VOICES.items()):
        for key in (*prompts, "digits/1", "beep"):
            wave, _ = speech.take(voice % 2, 0.5 if key == "digits/1" else 1.2)
            write(base / folder / f"{key}{suffix}", wave)
    return base


def write(path, wave):
    """Write a wave at 16 kHz without a header, as telephone exchanges keep it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".g722":
        samples = (np.asarray(wave) * 32767).astype(np.int16)
        path.write_bytes(bytes(G722(16000, 64000).encode(samples.tolist())))
        return
    coding = CODINGS[path.suffix]
    soundfile.write(path, wave[::2], 8000, subtype=coding, format="RAW")
