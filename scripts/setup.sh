#!/bin/sh
# Make .venv with the exact versions of constraints.txt. Quick when nothing has changed.
# VENV and CONSTRAINTS name others; SETUP_TORCH=2.13.0 takes that torch instead of the file's.
set -eu
cd "$(dirname "$0")/.."

venv=${VENV:-.venv}
constraints=${CONSTRAINTS:-constraints.txt}
stamp=$venv/.speechft-setup
cpu_index=https://download.pytorch.org/whl/cpu

find_python() {
    for name in "${PYTHON:-python3}" python3.13 python3.12 python3.11; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$name"
            return
        fi
    done
    echo "setup: Python 3.11 or newer is needed, and python3 is $(python3 --version 2>&1)." >&2
    echo "  next: install one, or name it: make setup PYTHON=/path/to/python3.11" >&2
    exit 1
}

torch=${SETUP_TORCH:-$(sed -n 's/^torch==//p' "$constraints")}
wanted="torch $torch $(cat "$constraints" pyproject.toml scripts/setup.sh | cksum)"
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
    touch "$stamp"
    exit 0
fi

if [ ! -x "$venv/bin/python" ]; then
    python=$(find_python)
    echo "setup: making $venv with $("$python" --version)"
    if ! "$python" -m venv "$venv"; then
        rm -rf "$venv"
        echo "setup: '$python -m venv' failed; on Debian and Ubuntu: apt install python3-venv" >&2
        exit 1
    fi
fi

# Torch first and alone. Without an NVIDIA card the CPU build is wanted: the default build on Linux
# brings some gigabytes of CUDA libraries.
pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@"; }
# Python compiles what it imports; pip would compile all that is there, most of it for nobody.
get() { pip install -q --no-compile -c "$venv/constraints.txt" "$@"; }
sed "s/^torch==.*/torch==$torch/" "$constraints" > "$venv/constraints.txt"
if ! pip show torch 2>/dev/null | grep -q "^Version: $torch"; then
    echo "setup: 1 of 2: torch $torch, the largest part (some minutes, by your connection)"
    if [ "$(uname -s)" = Linux ] && ! command -v nvidia-smi >/dev/null 2>&1; then
        if pip install -q --dry-run --no-deps "torch==$torch+cpu" >/dev/null 2>&1; then
            get "torch==$torch+cpu"
        elif "$venv/bin/python" -c "import urllib.request as r; r.urlopen('$cpu_index/torch/', timeout=8)" \
            2>/dev/null; then
            get "torch==$torch+cpu" --extra-index-url "$cpu_index"
        else
            get "torch==$torch"
        fi
    else
        get "torch==$torch"
    fi
fi

echo "setup: 2 of 2: the other packages, with the exact versions of $constraints"
get hatchling editables
get --no-build-isolation -e '.[dev,slurm]'
echo "$wanted" > "$stamp"
echo "setup: done. Now: . $venv/bin/activate && speechft --help"
