"""The files of studies: where they lie, and what they say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from speechft.core.errors import SettingsError
from speechft.core.nearest import did_you_mean
from speechft.core.places import home_expanded
from speechft.core.settings import apply_overrides, parse_settings
from speechft.core.yaml12 import read_yaml
from speechft.pipeline.study.expand import expand
from speechft.reporting.study.settings import StudySettings

FOLDER = "studies"


def load_study(study: Path | str, overrides: Sequence[str] = ()) -> StudySettings:
    """Read a study.

    Args:
        study: a YAML file, or the name of one in the folder `studies`.
        overrides: `key.sub=value` changes of the file's own keys.

    Raises:
        SettingsError: no such study, or it is wrong; all mistakes are listed at once.
    """
    path = find_study(study)
    values = expand(apply_overrides(read_yaml(path), overrides), path)
    return parse_settings(StudySettings, values, where=path)


def find_study(study: Path | str) -> Path:
    """Give the file of a study: a path, or a name in the folder `studies`.

    Raises:
        SettingsError: there is none.
    """
    path = home_expanded(study)
    named = Path(FOLDER) / f"{study}.yaml"
    if path.is_file() or (not named.is_file() and path.suffix):
        return path
    if named.is_file():
        return named
    known = sorted(p.stem for p in Path(FOLDER).glob("*.yaml"))
    raise SettingsError(
        "no such study",
        where=study,
        expected=f"a YAML file, or one of {', '.join(known)}" if known else "a YAML file",
        hint=did_you_mean(str(study), known) if known else "there is no folder studies/ here",
    )
