"""Functions that a config names: the two places where they are looked for, and what never runs by chance."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rag_graph.errors import ConfigError
from rag_graph.own_code import digest_of, installed, load, locate, parse, source_of

POLITE = "def polite(episode):\n    return {}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a module, and a package whose modules import each other."""
    (tmp_path / "my_module.py").write_text(POLITE.format(0.25) + "number = 3\n")
    package = tmp_path / "mine"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "helpers.py").write_text("SHARE = 0.5\n")
    (package / "rules.py").write_text("from .helpers import SHARE\n\n\ndef polite(episode):\n    return SHARE\n")
    return tmp_path


def test_a_reference_is_a_module_or_a_file_and_a_function() -> None:
    assert parse("pkg.mine:polite") == ("pkg.mine", "polite")
    assert parse("/a:b/my.py:polite") == ("/a:b/my.py", "polite")
    assert parse("/a/my.py:polite").short == parse("pkg.my:polite").short == "my:polite"
    for wrong in ("polite", "my_module", "my-module:polite", "my_module:", ":polite", "my_module:a b"):
        with pytest.raises(ConfigError, match=r"names no function. Write module:function, such as my_module:polite"):
            parse(wrong)


def test_beside_the_config_comes_first_then_what_is_installed(folder: Path) -> None:
    assert locate("my_module:polite", folder) == f"{folder / 'my_module.py'}:polite"
    assert locate("mine.rules:polite", folder) == f"{folder / 'mine/rules.py'}:polite"
    assert locate("my_module.py:polite", folder) == f"{folder / 'my_module.py'}:polite"
    assert locate("statistics:mean", folder) == "statistics:mean"
    (folder / "statistics.py").write_text(POLITE.format(1.0))
    assert locate("statistics:mean", folder) == f"{folder / 'statistics.py'}:mean"
    assert load(locate("my_module:polite", folder))(None) == 0.25
    assert load(locate("mine.rules:polite", folder))(None) == 0.5, "a package imports its own modules"
    assert load("statistics:mean")([1, 3]) == 2
    assert source_of("json.decoder:scanstring").name == "decoder.py"
    with pytest.raises(ConfigError, match="module 'time' has no Python file"):
        source_of("time:time")


def test_what_is_in_neither_place_is_refused_with_both(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (folder / "elsewhere").mkdir()
    with pytest.raises(
        ConfigError,
        match=r"no module 'my_module' beside the config file \(.*elsewhere/my_module.py\), and none is installed. These two places are searched; "
        r"the working directory is not",
    ):
        locate("my_module:polite", folder / "elsewhere")
    with pytest.raises(ConfigError, match=r"beside a config file \(there is none\), and none is installed"):
        locate("my_module:polite", None)
    with pytest.raises(ConfigError, match="there is no file .*nowhere.py"):
        locate("nowhere.py:polite", folder)
    with pytest.raises(ConfigError, match="no module 'my_module' is installed"):
        load("my_module:polite")


def test_the_working_directory_is_never_searched_by_chance(root: Path, folder: Path) -> None:
    """Python puts it on its path with -m, with -c and for a script. PYTHONPATH says that it is meant."""
    code = "from rag_graph.own_code import installed; print(installed('my_module') is not None)"
    (folder / "script.py").write_text(code)

    def found(*arguments: str, path: str = "") -> str:
        env = {"PYTHONPATH": f"{root}:{path}".rstrip(":"), "PATH": ""}
        done = subprocess.run([sys.executable, *arguments], cwd=folder, env=env, capture_output=True, text=True)
        assert not done.stderr
        return done.stdout.strip()

    assert found("-c", code) == found("script.py") == found("-m", "script") == "False"
    assert found("-c", code, path=str(folder)) == "True"


def test_a_module_of_that_name_hides_nothing(folder: Path) -> None:
    """A file beside a config has a name of its own in Python, and a changed file is read again."""
    (folder / "json.py").write_text(POLITE.format(0.75))
    function = load(locate("json:polite", folder))
    assert function(None) == 0.75
    assert sys.modules["json"].__file__ != str(folder / "json.py")
    before = digest_of(folder / "json.py")
    (folder / "json.py").write_text(POLITE.format(0.125))
    assert digest_of(folder / "json.py") != before
    assert load(locate("json:polite", folder))(None) == 0.125
    assert function(None) == 0.75


def test_another_module_of_an_installed_name_is_not_taken_for_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = type(sys)("statistics")
    module.__spec__ = None
    monkeypatch.setitem(sys.modules, "statistics", module)
    with pytest.raises(ConfigError, match="module 'statistics' was imported from elsewhere before, and the installed"):
        load("statistics:mean")
    assert installed("statistics") is not None


def test_code_that_cannot_be_used_is_said(folder: Path) -> None:
    at = f"{folder / 'my_module.py'}"
    with pytest.raises(ConfigError, match=r"has no 'polit'. Did you mean 'polite'\? Its functions: polite"):
        load(f"{at}:polit")
    with pytest.raises(ConfigError, match="'number' of .* is a int, no function"):
        load(f"{at}:number")
    (folder / "my_module.py").write_text("import helpers_of_mine\n")
    with pytest.raises(ConfigError, match=r"cannot be imported: ModuleNotFoundError.*make the folder a package"):
        load(f"{at}:polite")
    (folder / "my_module.py").write_text("def polite(:\n")
    with pytest.raises(ConfigError, match=r"my_module.py cannot be imported: SyntaxError"):
        load(f"{at}:polite")
    (folder / "my_module.py").unlink()
    with pytest.raises(ConfigError, match="there is no file .*my_module.py any more"):
        load(f"{at}:polite")
