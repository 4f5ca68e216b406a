"""The shape of the house: which layer may import which, and which libraries live where."""

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).parents[1]

# A module imports only from its own layer and from layers to the left.
LAYERS = (
    "errors", "cache_home", "child_process", "vnext", "references", "audit", "settings", "history", "evaluation",
    "curves", "policy", "batch", "report", "mirror", "recording", "testing", "cli",
)  # fmt: skip
UPWARD = {  # the two ways up: a recorder starts its own mirror, and has its run watched
    ("gradience.vnext.mirroring", "gradience.mirror.live"),
    ("gradience.vnext.monitoring", "gradience.policy"),
}
LIBRARIES = {"click", "msgspec", "yaml"}  # what gradience may import anywhere, beside the standard library
HEAVY = {"numpy", "safetensors", "threadpoolctl", "torch"}  # what nothing imports before it must
PLACES = {  # what may be imported in one place alone
    ".audit": {"blake3", *HEAVY},
    ".report.html": {"jinja2"},
    ".cli.live": {"rich"},
}
TOOLS = {  # each integration: its outside tool and what that brings along
    "gradience_accelerate": {"accelerate"},
    "gradience_fsspec": {"fsspec"},
    "gradience_hub": {"huggingface_hub"},
    "gradience_lightning": {"lightning", "pytorch_lightning"},
    "gradience_mlflow": {"mlflow", "requests", "sqlalchemy", "alembic"},
    "gradience_wandb": {"wandb", "wandb_workspaces"},
    "gradience_transformers": {"transformers", "peft", "axolotl", "pydantic"},
    "gradience_webhook": set(),
}


class Import(NamedTuple):
    """One imported name: by which module, and whether importing that module already imports it."""

    importer: str
    imported: str
    at_once: bool


def _module(path: Path, root: Path) -> str:
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def _sources(root: Path, package: str) -> dict[str, Path]:
    return {_module(path, root): path for path in sorted((root / package).rglob("*.py"))}


def _imports(module: str, path: Path) -> Iterator[Import]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    deferred = {
        inner
        for outer in ast.walk(tree)
        if isinstance(outer, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for inner in ast.walk(outer)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Import(module, alias.name, node not in deferred) for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are written out in full"
            yield from (Import(module, f"{node.module}.{alias.name}", node not in deferred) for alias in node.names)


def _all_imports(root: Path, package: str) -> list[Import]:
    return [found for module, path in _sources(root, package).items() for found in _imports(module, path)]


def _layer(module: str) -> int:
    _, _, rest = module.partition(".")
    part = rest.partition(".")[0]
    return LAYERS.index(part) if part in LAYERS else len(LAYERS) if part == "__main__" else -1


def _is_allowed(found: Import) -> bool:
    return any(found.importer == low and found.imported.startswith(f"{high}.") for low, high in UPWARD)


GRADIENCE = _all_imports(ROOT, "gradience")


def test_every_part_of_the_package_has_its_layer() -> None:
    """A new folder or file at the top of the package names its place in the order first."""
    parts = {module.split(".")[1] for module in _sources(ROOT, "gradience") if "." in module}
    assert set() == parts - {*LAYERS, "__main__"}


def test_imports_point_down() -> None:
    """No module imports from a layer above its own, not even inside a function; the one exception does it lazily."""
    upward = [
        found
        for found in GRADIENCE
        if found.imported.startswith("gradience.") and _layer(found.imported) > _layer(found.importer)
    ]
    assert [found for found in upward if found.at_once or not _is_allowed(found)] == []


def test_modules_do_not_import_each_other_in_circles() -> None:
    """A circle of imports means that a type stands in the wrong file."""
    known = _sources(ROOT, "gradience")
    graph: dict[str, set[str]] = {module: set() for module in known}
    for found in GRADIENCE:
        target = found.imported if found.imported in known else found.imported.rpartition(".")[0]
        if found.at_once and target in known and target != found.importer:
            graph[found.importer].add(target)
    TopologicalSorter(graph).prepare()  # raises CycleError and names the circle


def test_the_core_imports_its_few_libraries_and_nothing_else() -> None:
    """No tracker and no training library under gradience/; torch, numpy and safetensors only under gradience/audit/."""
    everywhere = {*sys.stdlib_module_names, *LIBRARIES, "gradience"}
    strangers = [
        found
        for found in GRADIENCE
        if found.imported.partition(".")[0]
        not in everywhere.union(*(libraries for place, libraries in PLACES.items() if place in found.importer))
    ]
    assert strangers == []


@pytest.mark.parametrize("package", sorted(TOOLS))
def test_an_integration_imports_only_its_own_tool(package: str) -> None:
    """Each package under integrations/ knows one outside tool."""
    allowed = {*sys.stdlib_module_names, *LIBRARIES, "gradience", package, *TOOLS[package]}
    found = _all_imports(ROOT / "integrations", package)
    assert [one for one in found if one.imported.partition(".")[0] not in allowed] == []
    assert [one for one in found if one.imported.startswith("gradience.cli")] == []


def test_every_integration_says_which_tool_it_is_for() -> None:
    """The table above is complete."""
    assert set(TOOLS) == {path.parent.name for path in (ROOT / "integrations").glob("*/__init__.py")}


def test_importing_gradience_stays_light() -> None:
    """Importing any module that does not compute on tensors brings neither torch nor numpy nor a tracker."""
    light = [module for module in _sources(ROOT, "gradience") if ".audit." not in module and "__main__" not in module]
    light += ["gradience.audit.disk.adapter", "gradience.audit.columns", "gradience.audit.record"]
    assert _heavy_after(light) == ""


@pytest.mark.parametrize("package", sorted(TOOLS))
def test_importing_an_integration_does_not_import_its_tool(package: str) -> None:
    """Listing or naming a sink costs nothing: the tracker is imported when a run is opened."""
    assert _heavy_after([package]) == ""


def _heavy_after(modules: list[str]) -> str:
    """Import `modules` in a fresh interpreter; name the first one that brought a heavy library, and the library."""
    tools = {tool for tools in TOOLS.values() for tool in tools}
    heavy = sorted({*HEAVY, *tools, "wandb", "transformers", "peft", "rich", "jinja2"})
    script = (
        "import importlib, sys\n"
        f"for module in {modules!r}:\n"
        "    importlib.import_module(module)\n"
        f"    heavy = sorted(set({heavy!r}) & set(sys.modules))\n"
        "    if heavy:\n"
        "        sys.exit(f'{module} imports {heavy}')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False)
    return done.stderr.strip()


def _pyproject() -> dict[str, Any]:
    tomllib = pytest.importorskip("tomllib", reason="the standard library reads TOML from Python 3.11 on")
    parsed: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return parsed


def test_entry_points_lead_somewhere() -> None:
    """Every console script, sink and resolver that pyproject.toml promises can be imported."""
    project = _pyproject()["project"]
    offered = project["entry-points"].values()
    targets = [*project["scripts"].values(), *(target for group in offered for target in group.values())]
    for target in targets:
        module, _, name = target.partition(":")
        assert callable(getattr(importlib.import_module(module), name))


def test_the_wheel_ships_every_package() -> None:
    """A new integration that is missing from the wheel's list would only fail for users."""
    shipped = _pyproject()["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    integrations = {path.parent.relative_to(ROOT).as_posix() for path in ROOT.glob("integrations/*/__init__.py")}
    assert {"gradience", *integrations} == set(shipped)
