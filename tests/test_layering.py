"""The one-way rule: a package imports only those above it; and import-time restrictions."""

import ast
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "tfrs_distill"
LAYERS = (
    "keras_version errors columns progress files losses serving data models teachers knowledge "
    "distiller evaluation export compress pipeline cli"
).split()
SERVING_MAY_IMPORT = {"errors", "columns", "files", "serving"}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__main__.py")


def imported_modules(path):
    """Every module that a file imports anywhere, with the line of the import."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            yield node.module, node.lineno
            for alias in node.names:
                yield f"{node.module}.{alias.name}", node.lineno


def packages_of(path):
    """The packages that a file imports, its own included."""
    for module, line in imported_modules(path):
        parts = module.split(".")
        if parts[0] == "tfrs_distill" and len(parts) > 1 and parts[1] != "__version__":
            yield parts[1], line


def layer(path):
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def name(path):
    return path.relative_to(PACKAGE).as_posix()


def test_every_package_is_in_the_order():
    found = {layer(path) for path in FILES} - {"__init__"}
    assert found | {"compress"} == set(LAYERS), "a package was added or removed: give it its place"


def test_a_package_imports_only_those_above_it():
    wrong = []
    for path in FILES:
        if layer(path) == "__init__":
            continue
        for imported, line in packages_of(path):
            if imported not in LAYERS:
                wrong.append(f"{name(path)}:{line} imports {imported}, which is no layer")
            elif LAYERS.index(imported) > LAYERS.index(layer(path)):
                wrong.append(f"{name(path)}:{line}: {layer(path)} imports {imported} below it")
    assert wrong == []


def test_nothing_imports_keras_directly():
    wrong = [
        f"{name(path)}:{line}: use `tf.keras`, which is the Keras that TensorFlow has chosen"
        for path in FILES
        for module, line in imported_modules(path)
        if module.split(".")[0] in ("keras", "tf_keras")
    ]
    assert wrong == []


def test_serving_needs_few_packages_and_no_tensorflow_at_import():
    wrong = []
    for path in FILES:
        if layer(path) == "serving":
            tree = ast.parse(path.read_text())
            at_import = [
                node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))
            ]
            wrong += [
                f"{name(path)}:{node.lineno}: imports TensorFlow"
                for node in at_import
                if "tensorflow" in ast.unparse(node)
            ]
            wrong += [
                f"{name(path)}:{line} imports {imported}"
                for imported, line in packages_of(path)
                if imported not in SERVING_MAY_IMPORT
            ]
    assert wrong == []


def test_the_package_imports_only_the_keras_check_before_a_name_is_used():
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    eager = [node.module for node in tree.body if isinstance(node, ast.ImportFrom)]
    assert [module for module in eager if module.startswith("tfrs_distill")] == [
        "tfrs_distill.keras_version"
    ]


def run(code):
    """Run code in a fresh interpreter that can import the package."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_importing_the_package_does_not_import_tensorflow():
    code = "import sys, tfrs_distill; print(*(m for m in sys.modules if '.' not in m))"
    modules = run(code)
    assert "tfrs_distill" in modules
    assert not {"tensorflow", "tf_keras", "keras", "transformers", "numpy"} & set(modules)


def test_everything_imports_without_transformers_and_without_keras_3():
    code = (
        "import sys; sys.modules['transformers'] = sys.modules['huggingface_hub'] = None\n"
        "import tfrs_distill as td\n"
        "for name in td.__all__: getattr(td, name)\n"
        "print('keras' in sys.modules, 'tf_keras' in sys.modules)"
    )
    assert run(code)[-2:] == ["False", "True"]
