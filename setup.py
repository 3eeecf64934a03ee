"""Metadata and bounded dependencies; what each extra is for stands beside it."""

from pathlib import Path

from setuptools import find_packages, setup

HUB, TABLES, BEAM = "tensorflow-hub==0.16.1", "pyarrow>=20", "apache-beam>=2.77,<3"
ALS = "implicit>=0.7.2,<0.8"
PRUNE = "tensorflow-model-optimization==0.8.1"
TUNE = ["optuna>=4,<6", "matplotlib>=3.8"]
TFDS = ["tensorflow-datasets==4.9.10", "importlib_resources>=6"]

setup(
    name="tfrs-distill",
    version="0.1.0",
    description="Knowledge distillation and compression for TensorFlow Recommenders",
    long_description=(Path(__file__).parent / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in (10, 11, 12)),
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    packages=find_packages(include=["tfrs_distill", "tfrs_distill.*"]),
    package_data={
        "tfrs_distill": ["py.typed", "__init__.pyi"],
        "tfrs_distill.serving": ["__init__.pyi"],
        "tfrs_distill.pipeline.report": ["page.html.jinja", "page.css"],
        "tfrs_distill.pipeline.search": ["tune.html.jinja"],
        "tfrs_distill.pipeline.compression": ["compress.html.jinja"],
    },
    python_requires=">=3.10,<3.13",
    install_requires=[
        "tensorflow>=2.18,<2.22",
        "tf-keras>=2.18,<2.22",
        "tensorflow-recommenders==0.7.7",
        "transformers>=4.49,<5",
        "safetensors>=0.4.5",
        "tokenizers>=0.21,<1",
        "filelock>=3.30,<5",  # older ones remove lock files themselves, after another took them
        "numpy>=2,<3",
        "setuptools<81",
        "ai-edge-litert>=2.1,<3",
        "rich>=13",
        "jinja2>=3.1,<4",
        "lazy-loader>=0.4,<1",
        "tomli>=2; python_version < '3.11'",
        "tomli-w>=1",
    ],
    extras_require={
        "tfds": TFDS,  # td.data.from_tfds
        "hub": [HUB],  # td.teachers.HubEncoder
        "tables": [TABLES],  # td.data.read_table, .parquet files of arrays and clothing reviews
        "als": [ALS],  # td.teachers.ALSTeacher
        "beam": [BEAM],  # tfrs_distill.knowledge.beam
        "prune": [PRUNE],  # tfrs_distill.compress.magnitude
        "tune": TUNE,  # tfrs_distill.pipeline.tune
        "test": [
            *(
                "pytest>=8,<10",
                "pytest-xdist>=3.5,<4",
                "nbclient>=0.10",
                "ipykernel>=6",
            ),
            "scikit-learn>=1.5,<2",  # what tests/metrics compare with
            "pandas>=2.2,<4",  # what columns come from, and what reads RecBole's files
            *(ALS, HUB, TABLES, BEAM, PRUNE, *TFDS, *TUNE),
        ],
        "lint": ["ruff>=0.14,<1", "mypy>=1.18"],
    },
    entry_points={"console_scripts": ["tfrs-distill=tfrs_distill.cli:main"]},
)
