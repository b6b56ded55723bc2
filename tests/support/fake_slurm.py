"""A SLURM of this machine: commands that submitit calls, which run jobs as plain processes."""

from __future__ import annotations

import sys
from pathlib import Path

_SBATCH = """#!{python}
import json, os, re, subprocess, sys
from pathlib import Path
home, script = Path({home!r}), sys.argv[-1]
job = 100 + len(list(home.glob("*.job")))
(home / f"{{job}}.job").touch()
text = Path(script).read_text()
found = re.search(r"#SBATCH --array=0-(\\d+)", text)
logs = re.search(r"#SBATCH --output=(\\S+)", text)[1]
for index in range(int(found[1]) + 1) if found else [None]:
    name = str(job) if index is None else f"{{job}}_{{index}}"
    env = {{**os.environ, "SLURM_JOB_ID": str(job), "SLURM_NTASKS": "1", "SLURM_JOB_NUM_NODES": "1",
           "SLURM_NODEID": "0", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}}
    if index is not None:
        env |= {{"SLURM_ARRAY_JOB_ID": str(job), "SLURM_ARRAY_TASK_ID": str(index)}}
    (home / f"{{name}}.json").write_text(json.dumps([script, env]))
    subprocess.run(["scontrol", "requeue", name], env=env, check=True)
print("Submitted batch job", job)
"""
_SCONTROL = """#!{python}
import json, subprocess, sys
from pathlib import Path
home, name = Path({home!r}), sys.argv[-1]
script, env = json.loads((home / f"{{name}}.json").read_text())
log = open(home / f"{{name}}.log", "a")
process = subprocess.Popen(["bash", script], env=env, stdout=log, stderr=log,
                           stdin=subprocess.DEVNULL, start_new_session=True)
(home / f"{{name}}.pid").write_text(str(process.pid))
"""
_SACCT = """#!{python}
import os
from pathlib import Path
print("JobID|State|NodeList")
for file in Path({home!r}).glob("*.pid"):
    try:
        state = Path("/proc", file.read_text(), "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        state = "Z"
    print(f"{{file.stem}}|{{'COMPLETED' if state == 'Z' else 'RUNNING'}}|here")
"""
_SRUN = """#!/bin/bash
while [[ "$1" == --* ]]; do
    case "$1" in --output|--error) shift 2 ;; *) shift ;; esac
done
exec "$@"
"""


def make_slurm(home: Path) -> Path:
    """Write the commands; give the folder for PATH."""
    folder = home / "bin"
    folder.mkdir(parents=True)
    texts = {"sbatch": _SBATCH, "scontrol": _SCONTROL, "sacct": _SACCT}
    texts |= {"srun": _SRUN, "scancel": "#!/bin/sh\n"}
    for name, text in texts.items():
        path = folder / name
        shaped = (
            text
            if name in ("srun", "scancel")
            else text.format(python=sys.executable, home=str(home))
        )
        path.write_text(shaped)
        path.chmod(0o755)
    return folder
