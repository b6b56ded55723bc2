#!/bin/sh
# Try the wheel and the sdist of a folder, each in an empty environment outside the repository.
# PIP_CONSTRAINT=constraints.txt takes exact versions; TORCH=torch==2.13.0+cpu names the build of torch.
set -eu
dist=$(cd "${1:-dist}" && pwd)
[ -z "${PIP_CONSTRAINT:-}" ] || export PIP_CONSTRAINT="$(realpath "$PIP_CONSTRAINT")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export SPEECHFT_CACHE="$work/cache"  # no speech that was made before
for file in "$dist"/*.whl "$dist"/*.tar.gz; do
    rm -rf env out
    python3 -m venv env
    if [ -n "${TORCH:-}" ]; then
        env/bin/python -m pip install -q "$TORCH"
    else
        env/bin/python -m pip install -q torch --index-url https://download.pytorch.org/whl/cpu
    fi
    env/bin/python -m pip install -q "$file"
    env/bin/speechft --version
    env/bin/speechft inspect tiny-hubert >/dev/null
    env/bin/speechft merge tiny-hubert tiny-hubert --alpha 0.5 --out out/merged
    env/bin/python -c "import speechft; print(speechft.load_encoder('out/merged').family)"
    # Without the synthesiser the demo says what is missing, in one message.
    if env/bin/speechft demo --out out/demo 2>out/said; then
        echo "check_wheel: the demo ran without a synthesiser" >&2
        exit 1
    fi
    grep -q "espeakng-loader" out/said
    env/bin/python -m pip install -q 'espeakng-loader>=0.2.4'
    env/bin/speechft finetune --encoder tiny-hubert --task sid --data synthetic:tiny --steps 2 \
        --set head_size=mini --out out/sid
    echo "check_wheel: $(basename "$file") works"
done
