"""Docstrings -> docs/reference.md. Run it after a change of a public signature or docstring.

    python scripts/make_reference.py           # writes the page
    python scripts/make_reference.py --check   # only says whether it is as it would be written

Signatures are read from the sources, and from the stubs of compiled modules, so that the page does
not depend on the Python that makes it; docstrings come from the running package, which has those of
compiled methods too. One page of Markdown, rather than a site: it can be read where the sources
are, and a test can hold it to them.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import harmony

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "reference.md"

# Beside the names of `harmony` itself.
MODULES = ["harmony.openai", "harmony.view", "harmony.datasets", "harmony.arrow", "harmony.ray"]

HEAD = """# Reference

Every public name with its docstring. Written by `scripts/make_reference.py`; edit the docstrings
instead of this page.
"""


def main() -> None:
    text = page()
    if "--check" not in sys.argv:
        PAGE.write_text(text, encoding="utf-8")
    elif PAGE.read_text(encoding="utf-8") != text:
        sys.exit("docs/reference.md is stale: run scripts/make_reference.py")


def page() -> str:
    """The whole page."""
    sections = [HEAD]
    for module, names in harmony._NAMES_OF_MODULE.items():
        sections += _section(f"harmony.{module}", names, "harmony")
    sections += _section("harmony.parsed", ["views"], "harmony.parsed")
    for module in MODULES:
        if (ROOT / f"{module.replace('.', '/')}.py").exists() or _folder(module).exists():
            sections += _section(module, _names_of(module), module)
    return "\n".join(sections)


def _folder(module: str) -> Path:
    return ROOT / module.replace(".", "/")


def _names_of(module: str) -> list[str]:
    """What a module says is public: its `__all__`, or else what it defines without underscore."""
    tree = _tree(module)
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return sorted(ast.literal_eval(node.value), key=str.lower)
    return [
        node.name
        for node in tree.body
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not node.name.startswith("_")
    ]


def _tree(module: str) -> ast.Module:
    path = _folder(module)
    files = [path / "__init__.py", path.with_suffix(".py"), path.with_suffix(".pyi")]
    source = next(file for file in files if file.exists())
    return ast.parse(source.read_text(encoding="utf-8"))


def _section(module: str, names: list[str], shown_as: str) -> Iterator[str]:
    introduction = ast.get_docstring(_tree(module)) or ""
    yield f"## {module}\n\n{introduction.partition(chr(10))[0]}\n"
    for name in names:
        found = _definition(module, name)
        if found is not None:
            yield from _entry(f"{shown_as}.{name}", *found)


def _definition(module: str, name: str) -> tuple[str, ast.stmt] | None:
    """Where a name is defined, through the imports that bring it."""
    for node in _tree(module).body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name == name:
            return module, node
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                if (alias.asname or alias.name) == name and node.module.startswith("harmony"):
                    return _definition(node.module, alias.name)
    return None


def _entry(title: str, module: str, node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef):
        yield f"### `{title}{_signature(node)}`\n\n{_docstring(module, node.name)}\n"
        return
    assert isinstance(node, ast.ClassDef)
    bases = ", ".join(ast.unparse(base) for base in node.bases)
    yield f"### class `{title}{f'({bases})' if bases else ''}`\n\n{_docstring(module, node.name)}\n"
    is_enum = "Enum" in bases
    fields = [
        f"- `{_plain(item)}`"
        for item in node.body
        if (isinstance(item, ast.AnnAssign) and not ast.unparse(item.target).startswith("_"))
        or (isinstance(item, ast.Assign) and is_enum)
    ]
    if fields:
        yield "\n".join(fields) + "\n"
    for item in _members(module, node):
        text = _docstring(module, f"{node.name}.{item.name}")
        decorators = [ast.unparse(decorator) for decorator in item.decorator_list]
        if "overload" in decorators or not text:
            continue
        signature = "" if "property" in decorators else _signature(item)
        yield f"- **`{item.name}{signature}`**: {' '.join(text.split())}\n"


def _members(module: str, node: ast.ClassDef) -> Iterator[ast.FunctionDef]:
    """Public methods and properties of a class, and of the compiled base behind it."""
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and (
            item.name == "__init__" or not item.name.startswith("_")
        ):
            yield item
    for base in node.bases:
        found = _definition(module, ast.unparse(base))
        if found is not None and found[0].rpartition(".")[2].startswith("_"):
            assert isinstance(found[1], ast.ClassDef)
            yield from (member for member in _members(*found) if member.name != "__init__")


def _signature(node: ast.FunctionDef) -> str:
    """Without `self` and `cls`."""
    arguments = node.args
    if arguments.args and arguments.args[0].arg in ("self", "cls"):
        arguments.args = arguments.args[1:]
    returns = f" -> {_plain(node.returns)}" if node.returns and node.name != "__init__" else ""
    return f"({_plain(arguments)}){returns}"


def _plain(node: ast.AST) -> str:
    """The source of it, where names of the package stand alone."""
    return re.sub(r"\bharmony\.(?=[A-Z])", "", ast.unparse(node))


def _docstring(module: str, path: str) -> str:
    found: Any = importlib.import_module(module)
    for name in path.split("."):
        found = inspect.getattr_static(found, name, None) if "." in path else getattr(found, name)
        found = getattr(found, "__func__", found)
    own = getattr(found, "__doc__", None)
    return inspect.cleandoc(own) if isinstance(own, str) else ""


if __name__ == "__main__":
    main()
