"""Small files that cost hours, gigabytes or a traceback: gzip bombs, nesting, long numbers."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import time

import pytest

from speechft.core.errors import DataError
from speechft.data.load import load_data

CUT = {
    "id": "a",
    "start": 0,
    "duration": 1.0,
    "channel": 0,
    "type": "MonoCut",
    "supervisions": [],
    "recording": {
        "id": "a",
        "sampling_rate": 16000,
        "num_samples": 16000,
        "duration": 1.0,
        "channel_ids": [0],
        "sources": [{"type": "file", "channels": [0], "source": "a.wav"}],
    },
}
DEEP = '{"audio": ' + "[" * 100_000
FILES = {
    "bomb.jsonl.gz": lambda: gzip.compress((json.dumps(CUT) + "\n").encode() * 150_000),
    "zeros.jsonl.gz": lambda: gzip.compress(bytes(200_000_000), 1),
    "deep.jsonl": lambda: DEEP.encode(),
    "deep_cut.jsonl": lambda: json.dumps({**CUT, "custom": 0})[:-2].encode() + DEEP.encode(),
    "digits.jsonl": lambda: b'{"audio": "a.wav", "start": ' + b"1" * 100_000 + b"}",
    "digits_cut.jsonl": lambda: json.dumps(CUT).replace("1.0", "1" * 100_000, 1).encode(),
    "huge_cut.jsonl": lambda: json.dumps(CUT).replace("1.0", "1e999", 1).encode(),
    "nan_cut.jsonl": lambda: json.dumps(CUT).replace("1.0", "NaN", 1).encode(),
    "text_cut.jsonl": lambda: json.dumps(CUT).replace("1.0", '"x"', 1).encode(),
    "list_cut.jsonl": lambda: json.dumps(CUT).encode() + b"\n[1, 2]\n",
    "half.jsonl.gz": lambda: gzip.compress((json.dumps(CUT) + "\n").encode() * 9)[:-20],
    "damaged.jsonl.gz": lambda: gzip.compress(json.dumps(CUT).encode())[:20] + bytes(200),
}


@pytest.mark.parametrize("name", FILES)
def test_refused_at_once_and_by_name(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(FILES[name]())
    begin = time.process_time()
    with pytest.raises(DataError, match=name.partition(".")[0]):
        load_data(str(path))
    assert time.process_time() - begin < 2


def test_a_bomb_takes_no_memory(tmp_path):
    path = tmp_path / "bomb.jsonl.gz"
    path.write_bytes(FILES["zeros.jsonl.gz"]())
    code = (
        "import resource, sys\nfrom speechft.data.load import load_data\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10\n"
        "before = peak()\n"
        "try:\n    load_data(sys.argv[1])\nexcept Exception:\n    print(peak() - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert int(done.stdout) < 200, done.stderr
