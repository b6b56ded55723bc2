"""What must not drift apart: registries, files, docs, recipes, versions."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.version import Version

import speechft
from speechft.cli.command_table import COMMANDS
from speechft.core.settings import parse_settings
from speechft.merging.methods import METHODS
from speechft.metrics.measures import DIRECTIONS, TITLES
from speechft.pipeline.recipe.stage import RunSettings, load_recipe, plan_run
from speechft.pipeline.study.stage import load_study, plan_studies
from speechft.tasks import TASKS

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "speechft"
FILES = sorted(SOURCE.rglob("*.py"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
STUDIES = sorted((ROOT / "studies").glob("*.yaml"))
SHARED_CLI = {
    "__init__",
    "app",
    "command_table",
    "completion",
    "error_messages",
    "console",
    "options",
}


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_every_file_of_the_command_line_is_of_a_command() -> None:
    files = {p.stem for p in (SOURCE / "cli").glob("*.py")} - SHARED_CLI
    assert files == {entry.module for entry in COMMANDS} - {""}


def test_public_names_are_there() -> None:
    for name in speechft.__all__:
        assert getattr(speechft, name) is not None
    assert set(speechft.__all__) <= set(dir(speechft))


def test_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="finetun"):
        speechft.finetun  # noqa: B018


@pytest.mark.parametrize("task", sorted([*TASKS, *TASKS.on_columns]))
def test_every_task_is_whole(task: str) -> None:
    kind = TASKS.on_columns[task] if task in TASKS.on_columns else TASKS[task]
    assert kind.id == task
    assert (SOURCE / "tasks" / f"{task}.py").is_file()
    assert set(kind.metrics) <= set(DIRECTIONS)
    assert set(kind.plans) == {"mini", "superb"}
    line = re.search(rf"^\| `{task}` \|.*$", (ROOT / "docs/tasks.md").read_text(), re.MULTILINE)
    assert line, "no line in docs/tasks.md"
    assert kind.title in line[0]
    for metric in kind.metrics:
        arrow = {"higher": "↑", "lower": "↓"}[DIRECTIONS[metric]]
        assert f"{TITLES[metric]} {arrow}" in line[0]


def test_every_task_in_the_docs_exists() -> None:
    named = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/tasks.md").read_text(), re.MULTILINE)
    assert set(named) == {*TASKS, *TASKS.on_columns}


def test_every_merge_method_is_documented() -> None:
    text = (ROOT / "docs" / "merging.md").read_text()
    assert not [method for method in METHODS if f"`{method}`" not in text]


@pytest.mark.parametrize(
    "recipe",
    sorted((SOURCE / "recipes").glob("*.yaml")),
    ids=lambda path: path.stem,
)
def test_every_recipe_makes_a_plan(recipe: Path, tmp_path: Path) -> None:
    if "finetune" not in yaml.safe_load(recipe.read_text()):
        pytest.skip("settings of one stage, not a chain")
    assert plan_run(load_recipe(recipe), tmp_path).steps


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_study_makes_a_plan(path: Path, tmp_path: Path) -> None:
    study = load_study(path)
    assert study.name == path.stem
    assert len(study.seeds) >= 3, "no spread without seeds"
    assert plan_studies([study], tmp_path).jobs
    grids = {row.name: len(row.choose) for row in study.rows if row.choose}
    assert len(set(grids.values())) <= 1, f"not tuned as hard: {grids}"


def test_the_study_in_the_docs_is_valid(tmp_path: Path) -> None:
    (block,) = blocks(ROOT / "docs" / "studies.md", "yaml")
    (tmp_path / "speaker.yaml").write_text(block)
    assert plan_studies([load_study(tmp_path / "speaker.yaml")], tmp_path).jobs


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("number", range(2))
def test_recipes_in_the_docs_are_valid(number: int, tmp_path: Path) -> None:
    found = blocks(ROOT / "docs" / "recipes.md", "yaml")
    assert len(found) == 2
    settings = parse_settings(RunSettings, yaml.safe_load(found[number]), "docs/recipes.md")
    assert plan_run(settings, tmp_path).steps


def test_generated_pages_are_up_to_date() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "make_docs.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stderr}run: make docs"


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"(?<!!)\[[^\]]*\]\(([^)#]+)[^)]*\)", page.read_text())
    local = [link for link in links if "://" not in link]
    missing = [link for link in local if not (page.parent / link).exists()]
    assert not missing


def test_commands_in_the_docs_exist() -> None:
    known = {entry.name.split()[0] for entry in COMMANDS}
    for page in PAGES:
        for language in ("sh", "bash"):
            for block in blocks(page, language):
                for name in re.findall(r"^speechft (?!-)(\S+)", block, re.MULTILINE):
                    assert name in known | {"COMMAND"}, f"{page.name}: speechft {name}"


def test_options_in_the_docs_exist() -> None:
    said = (ROOT / "docs" / "cli.md").read_text().split("\n## ")
    option = re.compile(r"(?<![\w-])--[a-z][\w-]*")
    of = {part.partition("\n")[0]: set(option.findall(part)) for part in said}
    known = set().union(*of.values()) | {"--completion"}
    for page in PAGES:
        text = page.read_text()
        for found in re.findall(r"`(--[a-z][a-z-]*)(?![\w-])", text):
            assert found in known, f"{page.name}: {found}"
        for line in re.findall(r"^ *speechft .*", text.replace("\\\n", ""), re.MULTILINE):
            words = line.partition(" #")[0].partition("|")[0].split()[1:]
            name = " ".join(words[:2]) if words[0] in ("data", "check") else words[0]
            lost = set(option.findall(" ".join(words))) - of.get(name, known)
            assert not lost, f"{page.name}: speechft {name} has no {', '.join(lost)}"


def test_results_name_no_folder_of_a_machine() -> None:
    kept = [p for p in (ROOT / "results").rglob("*") if p.suffix in (".json", ".jsonl", ".yaml")]
    assert kept
    absolute = re.compile(r"""["' ](/[a-z]+/|~/|[A-Z]:\\)""")
    assert not [relative(p) for p in kept if absolute.search(p.read_text(encoding="utf-8"))]


def test_one_version_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == speechft.__version__
    assert f"## {speechft.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_every_dependency_has_an_exact_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = list(project["dependencies"])
    for extra in project["optional-dependencies"].values():
        wanted += extra
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {normal(line.partition("==")[0]) for line in lines if "==" in line}
    names = {normal(re.split(r"[<>=\[; ]", item)[0]) for item in wanted}
    assert names <= pinned
    assert not [line for line in lines if line and not line.startswith("#") and "==" not in line]


def test_lower_bounds_are_the_versions_that_were_tried() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    project, lines = tomllib.loads(text), (ROOT / "constraints-oldest.txt").read_text().splitlines()
    tried = dict(line.split("==") for line in lines if not line.startswith("#"))
    tried = {normal(name): Version(version) for name, version in tried.items()}
    asked = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    asked += [x for extra in project["project"]["optional-dependencies"].values() for x in extra]
    bounds = [re.split(r"(?:\[\w+\])?>=", item) for item in asked if ">=" in item]
    assert len(bounds) > 40
    assert not [f"{n}>={v}" for n, v in bounds if tried.get(normal(n)) != Version(v)]


def test_what_is_imported_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [
        x for n, extra in project["optional-dependencies"].items() if n != "dev" for x in extra
    ]
    declared = {normal(re.split(r"[<>=]", x)[0]) for x in [*project["dependencies"], *extras]}
    trees = [ast.walk(ast.parse(path.read_text(encoding="utf-8"))) for path in FILES]
    nodes = [node for tree in trees for node in tree]
    names = {x.name for node in nodes if isinstance(node, ast.Import) for x in node.names}
    names |= {x.module or "" for x in nodes if isinstance(x, ast.ImportFrom) and not x.level}
    others = {name.partition(".")[0] for name in names} - sys.stdlib_module_names
    known = packages_distributions()
    # MTEB calls what imports it
    lost = others - {"speechft", "mteb"}
    assert not {n for n in lost if not {normal(d) for d in known.get(n, [n])} & declared}


def normal(name: str) -> str:
    return name.strip().lower().replace("_", "-").replace(".", "-")


def test_ci_runs_the_tests_and_nothing_more() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    commands = [x for x in script.read_text().splitlines() if x and x[0] != "#"]
    assert commands == ["set -eu", 'cd "$(dirname "$0")/.."', "exec make test"]


@pytest.mark.parametrize(
    "target", ["setup", "demo", "test", "lint", "check", "bench", "docs", "study"]
)
def test_make_knows(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_every_package_has_tests() -> None:
    packages = {p.name for p in SOURCE.iterdir() if (p / "__init__.py").is_file()}
    tested = {p.parent.name for p in (ROOT / "tests").glob("*/test_*.py")}
    assert packages <= tested


def test_only_the_command_line_prints() -> None:
    pattern = re.compile(r"^\s*print\(", re.MULTILINE)
    assert not [
        relative(p) for p in FILES if p.parent.name != "cli" and pattern.search(p.read_text())
    ]


def test_no_pickle_is_trusted() -> None:
    """`torch.load` runs code unless it is told not to."""
    for path in FILES:
        for call in re.findall(r"torch\.load\([^)]*\)", path.read_text()):
            assert "weights_only=True" in call, f"{relative(path)}: {call}"


def test_nothing_is_left_to_do() -> None:
    pattern = re.compile(r"\b(TODO|FIXME|XXX)\b|raise NotImplementedError")
    assert not [relative(p) for p in FILES if pattern.search(p.read_text())]


def test_floors_are_kept() -> None:
    """The import contracts of pyproject.toml."""
    tool = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([tool], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
