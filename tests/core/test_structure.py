"""The house's structure: one direction, no circles, no Dagster in the core."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("geoloc_core", "geoloc_dagster", "geoloc_sample")
# Data walks from left to right; `line` joins all of them.
ROOMS = ("geography", "photos", "features", "learning", "evaluation", "answers", "line")


def module_name(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(file): file for package in PACKAGES for file in (ROOT / package).rglob("*.py")}


@cache
def imports(module: str) -> frozenset[str]:
    """Every module of ours that a module imports, at its top or inside a function."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(FILES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return frozenset(name for name in names if name in FILES and name != module)


def external(module: str) -> set[str]:
    """The first names of all packages that a module imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(FILES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


def test_no_module_imports_itself_by_way_of_others() -> None:
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            for name in sorted(imports(module)):
                # A package's own __init__ is loaded with each of its modules; only what it imports counts.
                visit(name, (*path, module))
            done.add(module)

    for module in FILES:
        visit(module, ())


def test_the_core_knows_no_dagster() -> None:
    for module in FILES:
        if module.startswith("geoloc_core"):
            assert not {"dagster", "geoloc_dagster"} & external(module), module


def test_data_walks_one_way_through_the_rooms() -> None:
    rank = {room: number for number, room in enumerate(ROOMS)}
    for module in FILES:
        room = module.split(".")[1] if module.startswith("geoloc_core.") else ""
        for name in imports(module) if room in rank else ():
            other = name.split(".")[1] if "." in name else ""
            assert rank.get(other, -1) <= rank[room], f"{module} imports {name}"


def test_no_name_of_a_module_stands_for_two_things() -> None:
    """Steps carry the names of their rooms, and `definitions` is Dagster's; all other names occur once."""
    names = [module.rsplit(".", 1)[-1] for module in FILES if ".steps." not in module]
    assert sorted({name for name in names if names.count(name) > 1}) == []
    assert not {"utils", "helpers", "common", "misc"} & set(names)
