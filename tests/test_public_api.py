"""The public API equals `public_api.txt`: dotted names and signatures.

A difference is a decision. If it is intended, write the file again with

    python tests/test_public_api.py

and describe the change in CHANGELOG.md.
"""

import importlib
import importlib.util
import inspect
import pkgutil
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FROZEN = Path(__file__).with_name("public_api.txt")


def public_api():
    """One line per name: `tfrs_distill.module.Name(parameters) -> result`."""
    import tfrs_distill

    names = [f"tfrs_distill.{info.name}" for info in pkgutil.iter_modules(tfrs_distill.__path__)]
    lines, described = set(), set()
    for dotted in [*(name for name in names if not name.endswith("__main__")), "tfrs_distill"]:
        module = importlib.import_module(dotted)
        for name in getattr(module, "__all__", []):
            thing = getattr(module, name)
            lines.add(line_of(f"{dotted}.{name}", thing))
            if inspect.isclass(thing) and id(thing) not in described:
                described.add(id(thing))
                lines |= set(members_of(f"{dotted}.{name}", thing))
    return sorted(lines)


def line_of(dotted, thing):
    """A module, a function or a class with its parameters."""
    if hasattr(thing, "_fields"):  # a NamedTuple
        return f"{dotted}({', '.join(thing._fields)})"
    if inspect.isclass(thing):
        return dotted + signature(own_member(thing, "__init__"), skip_self=True)
    return dotted if inspect.ismodule(thing) else dotted + signature(thing)


def members_of(dotted, cls):
    """The public methods and properties defined by the class or a base class of this package."""
    ours = [part for part in cls.__mro__ if part.__module__.startswith("tfrs_distill")]
    for name in {name for part in ours for name in vars(part)}:
        member = own_member(cls, name)
        is_method = inspect.isfunction(getattr(member, "__func__", member))
        if name[0] != "_" and (is_method or isinstance(member, property)):
            yield f"{dotted}.{name}{signature(member, skip_self=True)}"


def own_member(cls, name):
    """The member as in the class body, not as shown by Keras or a descriptor."""
    return next(vars(part)[name] for part in cls.__mro__ if name in vars(part))


def signature(member, skip_self=False):
    """The parameters as written; the same text in every Python."""
    if isinstance(member, property):
        return f" -> {annotation(inspect.signature(member.fget).return_annotation)}"
    skip_self = skip_self and not isinstance(member, staticmethod)
    function = getattr(member, "__func__", member)
    if not inspect.isfunction(function):
        return "()"
    found = inspect.signature(function)
    parts, keyword_only = [], False
    for place, parameter in enumerate(found.parameters.values()):
        if skip_self and place == 0:
            continue
        if parameter.kind is parameter.VAR_POSITIONAL:
            keyword_only = True
        elif parameter.kind is parameter.KEYWORD_ONLY and not keyword_only:
            parts.append("*")
            keyword_only = True
        stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}
        text = stars.get(parameter.kind, "") + parameter.name
        if parameter.annotation is not parameter.empty:
            text += f": {annotation(parameter.annotation)}"
        if parameter.default is not parameter.empty:
            text += f" = {default(parameter.default)}"
        parts.append(text)
    result = found.return_annotation
    arrow = "" if result in (inspect.Signature.empty, None, "None") else f" -> {annotation(result)}"
    return f"({', '.join(parts)}){arrow}"


def annotation(value):
    return value if isinstance(value, str) else getattr(value, "__name__", str(value))


def default(value):
    """A default as text; for an object, only its type."""
    simple = isinstance(value, (str, int, float, bool, tuple, type(None)))
    return repr(value) if simple else f"<{type(value).__name__.strip('_')}>"


def test_public_api_equals_the_file():
    frozen, found = set(FROZEN.read_text().splitlines()), set(public_api())
    gone = "".join(f"\n- {line}" for line in sorted(frozen - found))
    new = "".join(f"\n+ {line}" for line in sorted(found - frozen))
    assert frozen == found, (
        f"The public API has changed:{gone}{new}\n"
        "If that is meant: python tests/test_public_api.py, and say so in CHANGELOG.md."
    )


def test_every_public_name_can_be_imported_and_has_a_docstring():
    import tfrs_distill

    assert dir(tfrs_distill) == sorted(tfrs_distill.__all__)
    for name in tfrs_distill.__all__:
        assert inspect.getdoc(getattr(tfrs_distill, name)), name


def test_no_public_name_is_also_a_modules_name():
    """Importing a module binds its name in the package, over a function of the same name."""
    import tfrs_distill

    for name in tfrs_distill.__all__:
        if not inspect.ismodule(importlib.import_module("tfrs_distill").__getattr__(name)):
            assert importlib.util.find_spec(f"tfrs_distill.{name}") is None, name


def test_names_used_in_benchmarks_exist():
    """No other test runs the benchmarks: a removed name would be found only after hours."""
    import tfrs_distill

    for path in sorted((ROOT / "benchmarks").rglob("*.py")):
        for module, name in sorted(set(re.findall(r"\btd\.(\w+)\.(\w+)", path.read_text()))):
            assert hasattr(getattr(tfrs_distill, module), name), f"{path}: td.{module}.{name}"


def test_an_unknown_name_is_an_attribute_error():
    import tfrs_distill

    with pytest.raises(AttributeError, match="nothing"):
        _ = tfrs_distill.nothing


if __name__ == "__main__":
    sys.path.insert(0, str(FROZEN.parents[1]))
    FROZEN.write_text("\n".join(public_api()) + "\n")
