"""The house's structure: one direction, no circles, no Dagster in the core."""

import ast
import re
from functools import cache
from pathlib import Path

import yaml

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


# Expressions that hold a folder; a division of anything else is arithmetic.
FOLDER = re.compile(r"folder|path|home|root|cache|parent|layout|Path\(|location|source", re.IGNORECASE)


def joins(module: str) -> set[str]:
    """What a module joins to folders, but for constants: by `/`, `joinpath`, `os.path.join` or `Path` of several parts."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(FILES[module].read_text(encoding="utf-8"))):
        parts: list[ast.expr] = []
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and FOLDER.search(ast.unparse(node.left)):
            parts = [] if isinstance(node.right, ast.BinOp) else [node.right]
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            parts = node.args if name.endswith((".joinpath", "path.join")) else node.args[1:] if name == "Path" else []
        found |= {ast.unparse(part) for part in parts if not isinstance(part, ast.Constant)}
    return found


def test_every_name_that_is_joined_to_a_folder_was_looked_at() -> None:
    """A name from outside goes through `storage.FileName`, or `is_safe_path` and `resolve_inside`: joins.yaml says which."""
    reviewed: dict[str, dict[str, list[str]]] = yaml.safe_load(Path(__file__).with_name("joins.yaml").read_text())
    known = {(module, name) for modules in reviewed.values() for module, names in modules.items() for name in names}
    found = {(module, name) for module in FILES for name in joins(module)}
    assert sorted(found - known) == [], "is this name from outside? Confine it, and say in joins.yaml how"
    assert sorted(known - found) == [], "joins.yaml names joins that are gone"
