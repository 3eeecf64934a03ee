"""`tune.html`: the results of a search, with Optuna's own plots."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfrs_distill.files import whole_file
from tfrs_distill.pipeline.report import numbers as show
from tfrs_distill.pipeline.report.page import pages_beside
from tfrs_distill.pipeline.run_folder import TUNE
from tfrs_distill.pipeline.search.space import STUDENT, TWIN, as_text
from tfrs_distill.pipeline.search.study import PAGE_FILE, import_plots, open_study

PLOTS = {
    "plot_optimization_history": "The best so far",
    "plot_param_importances": "How much each setting decides",
    "plot_slice": "Score by setting",
    "plot_intermediate_values": "Validation by epoch",
}


def write_page(found: Mapping[str, Any], out: Path) -> None:
    """Write the page with the results of `tune`."""
    folder = out / found["name"] / TUNE
    pages = pages_beside(Path(__file__).parent)
    text = pages.get_template("tune.html.jinja").render(
        found=found,
        sentence=in_short(found),
        metric=show.metric,
        as_text=as_text,
        plots={name: list(_plots(open_study(folder, of))) for name, of in _studies(found)},
    )
    with whole_file(folder / PAGE_FILE, "w") as file:
        file.write(text)


def in_short(found: Mapping[str, Any]) -> str:
    """Return a summary of the results, in sentences."""
    parts = []
    for name, study in _studies(found):
        best = study["trials"][study["best"]]
        part = f"the best {name} has {show.metric(best['score'])}"
        if study["first"] is not None:
            first = study["trials"][study["first"]]["score"]
            part += f" (the recipe's own settings: {show.metric(first)})"
        parts.append(part)
    metric = found["studies"][STUDENT]["metric"].replace("_", " of ").replace("ndcg", "NDCG")
    trials = found["num_trials"]
    return (
        f"By {metric}, {', and '.join(parts)}, of {trials} trial{'s' * (trials > 1)} each. The "
        "best of many trials overestimates the quality, and two trainings with the same settings "
        "differ: run best.toml to evaluate it on test."
    )


def _studies(found: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    return [(name, found["studies"][name]) for name in (STUDENT, TWIN)]


def _plots(study: Any) -> Iterator[tuple[str, str]]:
    """Return heading and picture of each plot for which there are enough trials."""
    plots, pyplot = import_plots()
    complete = [trial for trial in study.trials if trial.value is not None]
    for name, heading in PLOTS.items():
        if name == "plot_param_importances" and len({trial.value for trial in complete}) < 2:
            continue
        with warnings.catch_warnings(), pyplot.rc_context({"svg.fonttype": "path"}):
            warnings.simplefilter("ignore")  # Optuna calls its plots experimental
            axes = np.ravel(getattr(plots, name)(study))
            drawn = axes[0].figure
            if len(axes) > 1:  # side by side, one per setting
                drawn.set_size_inches(3 * len(axes), 4)
                for one in axes:
                    one.set_xlabel(one.get_xlabel().split(".")[-1])
            picture = io.BytesIO()
            drawn.savefig(picture, format="svg", bbox_inches="tight")
            pyplot.close(drawn)
        yield heading, base64.b64encode(picture.getvalue()).decode()
