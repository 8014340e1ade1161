"""Functions that a config names, as `my_module:polite`: where their code is, and how it is loaded.

A module is looked for in two places: beside the config file, then among what is installed. The working directory, and the folder of the script
that Python was started with, are not searched: what happens to lie there must not run. A name that was found beside the config file becomes
`/folder/my_module.py:polite`, so whoever reads the resolved config finds the same file.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Mapping
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from rag_graph.errors import ConfigError, near_miss


def _working_directory() -> set[Path]:
    try:
        return {Path.cwd()}
    except OSError:  # it was deleted
        return set()


_STARTED_IN = _working_directory()
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


class Named(NamedTuple):
    """The parts of a reference: a module, or a file that ends in .py, and a function in it."""

    module: str
    function: str

    @property
    def is_file(self) -> bool:
        return self.module.endswith(".py")

    @property
    def short(self) -> str:
        """`my_module:polite`, wherever the module is."""
        name = Path(self.module).stem if self.is_file else self.module.rpartition(".")[2]
        return f"{name}:{self.function}"


def parse(reference: str) -> Named:
    """
    Raises:
        ConfigError: it is not written as `module:function`.
    """
    module, _, function = reference.rpartition(":")
    if not function.isidentifier() or not (module.endswith(".py") or _MODULE.fullmatch(module)):
        raise ConfigError(
            f"'{reference}' names no function. Write module:function, such as my_module:polite, or file.py:function."
        )
    return Named(module, function)


def locate(reference: str, folder: Path | None) -> str:
    """A reference with the absolute path of its file where that is found in `folder`; as it is where the module is installed. Runs no code
    of the module.

    Args:
        folder: of the config file; None: only installed modules are found, and absolute paths.

    Raises:
        ConfigError: found in neither place; names both.
    """
    named = parse(reference)
    if named.is_file:
        file = Path(named.module).expanduser()
        found = [file] if file.is_absolute() else [folder / file] if folder else []
        if not any(path.is_file() for path in found):
            raise ConfigError(f"'{reference}': there is no file {found[0] if found else file}.")
        return f"{found[0].absolute()}:{named.function}"
    parts = named.module.split(".")
    beside = [] if folder is None else [folder.joinpath(*parts).with_suffix(".py"), folder.joinpath(*parts, "__init__.py")]  # fmt: skip
    for path in beside:
        if path.is_file():
            return f"{path.absolute()}:{named.function}"
    if installed(parts[0]) is not None:
        return reference
    where = f"beside the config file ({beside[0].absolute()})" if beside else "beside a config file (there is none)"
    raise ConfigError(
        f"'{reference}': there is no module '{named.module}' {where}, and none is installed. These two places are searched; the working "
        "directory is not. Put the file beside the config, or install the module."
    )


def locate_all(references: Mapping[str, str], folder: Path | None, key: str) -> dict[str, str]:
    """Name -> reference with its place; see `locate`. key: of the config that has them, for the errors.

    Raises:
        ConfigError: all that were not found.
    """
    found, problems = {}, []
    for name, reference in references.items():
        try:
            found[name] = locate(reference, folder)
        except ConfigError as error:
            problems.append(f"{key}.{name}: {error}")
    if problems:
        raise ConfigError("\n".join(problems))
    return found


def installed(name: str) -> ModuleSpec | None:
    """Where `import name` of a top-level module comes from, without what Python finds only because of where it was started."""
    path, by_chance = _search_path()
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        if find is None:
            continue
        spec = find(
            name, path if finder is PathFinder else None
        )  # others: built-in modules, projects installed to be edited
        file = None if spec is None or not spec.has_location else Path(str(spec.origin))
        if file is not None and (file.parent.parent if spec.submodule_search_locations else file.parent) in by_chance:
            continue  # found by something that searches all of sys.path
        if spec is not None:
            return spec  # type: ignore[no-any-return]
    return None


def _search_path() -> tuple[list[str], set[Path]]:
    """sys.path without the first mention of the working directory and of the script's folder, and what is not in it therefore. Python puts them there
    by itself; where PYTHONPATH or an installed project names them again, they stay."""
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    chance = _working_directory() | _STARTED_IN | ({Path(script).absolute().parent} if script else set())
    once, kept = set(chance), []
    for entry in sys.path:
        place = Path(entry)
        if entry == "" or place in once:
            once -= _working_directory() if entry == "" else {place}
        else:
            kept.append(entry)
    return kept, chance - set(map(Path, kept))


def source_of(reference: str) -> Path:
    """The file of the code. The module is not imported; a module inside an installed package needs the package around it, which is.

    Raises:
        ConfigError: there is no such file, or no such module is installed any more.
    """
    named = parse(reference)
    if named.is_file:
        if not Path(named.module).is_file():
            raise ConfigError(f"'{reference}': there is no file {named.module} any more.")
        return Path(named.module)
    top, dot, _ = named.module.partition(".")
    if dot:
        _import_top(top)
    spec = importlib.util.find_spec(named.module) if dot else installed(top)
    if spec is None:
        raise ConfigError(f"'{reference}': no module '{named.module}' is installed. Install it where this runs.")
    if spec.origin is None or not Path(spec.origin).is_file():
        raise ConfigError(
            f"'{reference}': module '{named.module}' has no Python file, so its code cannot be told apart. Name a function of your own that calls it."
        )
    return Path(spec.origin)


def digest_of(file: Path) -> str:
    """SHA-256 of a file, 64 hex digits."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def load(reference: str) -> Callable[..., Any]:
    """Import the module, which runs its code, and return the function.

    Raises:
        ConfigError: the module cannot be imported, lacks the function, or has something there that cannot be called.
    """
    named, file = parse(reference), source_of(reference)
    try:
        module = _from_file(file) if named.is_file else _installed_module(named.module)
    except ConfigError:
        raise
    except Exception as error:  # anyone's code: say whose
        hint = ""
        if isinstance(error, ModuleNotFoundError):
            hint = (
                f" A file beside a config imports what is installed. To import '{error.name}' from the same folder, make the folder a package "
                "(an __init__.py in it) and write 'from . import ...'."
            )
        raise ConfigError(
            f"'{reference}': {file} cannot be imported: {type(error).__name__}: {error}.{hint}"
        ) from error
    if not hasattr(module, named.function):
        own = [name for name, value in vars(module).items() if inspect.isroutine(value) and not name.startswith("_")]
        raise ConfigError(
            f"'{reference}': {file} has no '{named.function}'.{near_miss(named.function, own)} Its functions: {', '.join(own) or 'none'}."
        )
    function = getattr(module, named.function)
    if not callable(function):
        raise ConfigError(f"'{reference}': '{named.function}' of {file} is a {type(function).__name__}, no function.")
    return function  # type: ignore[no-any-return]


def _from_file(file: Path) -> ModuleType:
    """Under a name of its own, which no other module has: it hides none, and a changed file is read again."""
    root = file.parent if file.name == "__init__.py" else file
    while (root.parent / "__init__.py").is_file():
        root = root.parent
    at = root if root == file else root / "__init__.py"
    mark = hashlib.sha256(f"{at}\0{digest_of(file)}".encode()).hexdigest()[:12]
    top = f"_own_code_{mark}_{root.stem}"
    if top not in sys.modules:
        places = None if root == file else [str(root)]
        spec = importlib.util.spec_from_file_location(top, at, submodule_search_locations=places)
        assert spec is not None
        _execute(top, spec)
    inner = [] if root == file else [*file.relative_to(root).with_suffix("").parts]
    if inner and inner[-1] == "__init__":
        inner.pop()
    return importlib.import_module(".".join([top, *inner]))


def _installed_module(name: str) -> ModuleType:
    _import_top(name.partition(".")[0])
    return importlib.import_module(name)


def _import_top(name: str) -> None:
    """Import an installed top-level module by its place.

    Raises:
        ConfigError: it is not installed, or another module of this name is imported already.
    """
    spec = installed(name)
    if spec is None:
        raise ConfigError(f"no module '{name}' is installed. Install it where this runs.")
    there = sys.modules.get(name)
    if there is None:
        _execute(name, spec)
    elif getattr(there.__spec__, "origin", None) != spec.origin:
        raise ConfigError(
            f"module '{name}' was imported from {getattr(there, '__file__', 'elsewhere')} before, and the installed one is {spec.origin}. Rename one."
        )


def _execute(name: str, spec: ModuleSpec) -> None:
    assert spec.loader is not None
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
