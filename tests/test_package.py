"""The package as it is installed: public names, version, type information, build mode."""

import ast
import importlib.metadata
import importlib.resources
import inspect
import os
import subprocess
import sys
import typing

import pytest

import harmony
import harmony._bpe
import harmony._pretokenize

COMPILED = [
    "_parse_batch",
    "_bpe",
    "_codec",
    "_content",
    "_encode",
    "_parser",
    "_pretokenize",
    "_segments",
]
PUBLIC = [
    "HarmonyEncoding",
    "HarmonyEncodingName",
    "HarmonyError",
    "Tokenizer",
    "get_tokenizer",
    "load_harmony_encoding",
]


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names(name):
    assert name in harmony.__all__
    assert name in dir(harmony)
    assert getattr(harmony, name).__doc__


def test_every_name_in_all_is_there():
    assert len(set(harmony.__all__)) == len(harmony.__all__)
    for name in harmony.__all__:
        assert getattr(harmony, name) is not None
    namespace = {}
    exec("from harmony import *", namespace)
    assert set(harmony.__all__) <= namespace.keys()


def test_names_that_are_not_there():
    with pytest.raises(AttributeError, match="no_such_name"):
        harmony.no_such_name  # noqa: B018
    with pytest.raises(ImportError):
        from harmony import no_such_name  # noqa: F401


def test_version():
    assert harmony.__version__ == importlib.metadata.version("cyharmony")


def test_error_class():
    assert issubclass(harmony.HarmonyError, RuntimeError)
    assert harmony.HarmonyError.__module__ == "harmony"


def test_type_information_is_installed():
    files = importlib.resources.files("harmony")
    for name in ("py.typed", *[f"{module}.pyi" for module in COMPILED]):
        assert files.joinpath(name).is_file()


def test_stubs_hold(tmp_path):
    """The hand-written stubs of the compiled modules against what was built."""
    pytest.importorskip("mypy")
    made_by_cython = tmp_path / "allowed"
    made_by_cython.write_text(r"harmony\._\w+\.__(test__|pyx_capi__)" + "\n")
    done = subprocess.run(
        [
            *[sys.executable, "-m", "mypy.stubtest"],
            *[f"harmony.{name}" for name in COMPILED],
            *["--allowlist", str(made_by_cython), "--ignore-unused-allowlist"],
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_type_checkers_see_every_name():
    """__init__.pyi imports what __init__.py loads on first use, from the same modules."""
    stub = ast.parse(importlib.resources.files("harmony").joinpath("__init__.pyi").read_text())
    seen = {
        alias.name: statement.module
        for statement in stub.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
    assert seen == {name: f"harmony.{module}" for name, module in harmony._MODULE_OF.items()}
    (names,) = (
        ast.literal_eval(statement.value)
        for statement in stub.body
        if isinstance(statement, ast.Assign) and statement.targets[0].id == "__all__"
    )
    assert sorted(names) == sorted(harmony.__all__)


def public_functions():
    for name in harmony.__all__:
        value = getattr(harmony, name)
        yield name, value
        for cls in value.__mro__ if isinstance(value, type) else ():
            for method, function in vars(cls).items() if "harmony" in cls.__module__ else ():
                function = getattr(function, "fget", None) or getattr(
                    function, "__func__", function
                )
                is_public = not method.startswith("_") and not method.startswith("model_")
                if inspect.isfunction(function) and is_public:
                    yield f"{name}.{method}", function


@pytest.mark.parametrize(("name", "function"), list(public_functions()))
def test_annotations_can_be_read_at_run_time(name, function):
    typing.get_type_hints(function)


def test_build_mode_is_the_one_asked_for():
    """Nothing of the debug or coverage build may reach a wheel."""
    assert harmony._bpe.build_mode() == os.environ.get("HARMONY_BUILD", "release")


def test_steps_are_counted_in_the_debug_build_only():
    if harmony._bpe.build_mode() == "debug":
        harmony._bpe.reset_steps()
        assert harmony._bpe.steps() == 0
    else:
        with pytest.raises(RuntimeError):
            harmony._bpe.steps()


# Parameters of the public methods, as upstream and tiktoken have them: callers use their names.
SIGNATURES = {
    "encode": "(self, text, *, allowed_special, disallowed_special)",
    "encode_ordinary": "(self, text)",
    "encode_to_numpy": "(self, text, *, allowed_special, disallowed_special)",
    "count_tokens": "(self, text, *, allowed_special)",
    "decode": "(self, tokens, errors)",
    "decode_utf8": "(self, tokens)",
    "decode_bytes": "(self, tokens)",
    "decode_tokens_bytes": "(self, tokens)",
    "decode_with_offsets": "(self, tokens)",
    "decode_single_token_bytes": "(self, token)",
    "encode_single_token": "(self, text_or_bytes)",
    "is_special_token": "(self, token)",
    "token_byte_values": "(self)",
}


@pytest.mark.parametrize("method", SIGNATURES)
def test_signatures(method):
    for cls in (harmony.Tokenizer, harmony.HarmonyEncoding):
        function = getattr(cls, method)
        plain = [
            parameter.replace(annotation=inspect.Parameter.empty, default=inspect.Parameter.empty)
            for parameter in inspect.signature(function).parameters.values()
        ]
        assert str(inspect.Signature(plain)) == SIGNATURES[method]
        assert function.__doc__


def test_defaults():
    parameters = inspect.signature(harmony.HarmonyEncoding.encode).parameters
    assert parameters["allowed_special"].default == set()
    assert parameters["disallowed_special"].default == "all"
    assert (
        inspect.signature(harmony.HarmonyEncoding.decode).parameters["errors"].default == "replace"
    )
