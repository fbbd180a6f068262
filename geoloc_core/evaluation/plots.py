"""Plots as PNG, each below 100 kB, in the colours of the maps."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba_array
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from geoloc_core.evaluation.certainty import Calibration
from geoloc_core.evaluation.fairness import MINIMUM_PHOTOS
from geoloc_core.evaluation.maps import ANSWER, INK, label_points, png_bytes
from geoloc_core.evaluation.metrics import RADII_KM, distance_curve

# Colours that stay apart for colour-blind readers (Okabe and Ito, 2008), then their dashes.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
DASHES = ("-", "--", ":", "-.")
LABELLED = 14
LEGEND: dict[str, Any] = {"fontsize": 8, "framealpha": 0.85, "edgecolor": "#d5d8dc"}


def reliability_plot(calibration: Calibration, title: str) -> bytes:
    """The share that is right against the promised probability, with the number of photos in each bin below."""
    figure = Figure(figsize=(6.0, 6.0), dpi=120, layout="tight")
    axes, bars = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    bins = calibration.table[calibration.table["n"] > 0]
    axes.plot([0, 1], [0, 1], color="#7f8c8d", linewidth=1, linestyle="--", label="perfectly calibrated")
    axes.vlines(bins["confidence"], bins["confidence"], bins["accuracy"], color=ANSWER, linewidth=1.2, alpha=0.7)
    axes.plot(bins["confidence"], bins["accuracy"], color=COLOURS[0], marker="o", markersize=5, label="this model")
    axes.set(xlim=(0, 1), ylim=(0, 1), ylabel="share that is right")
    axes.legend(loc="upper left", frameon=False, fontsize=9)
    bars.bar(bins["low"], bins["n"], width=bins["high"] - bins["low"], align="edge", color=COLOURS[0], alpha=0.6)
    bars.set(xlabel="probability of the answer", ylabel="photos")
    _style(axes, f"{title}\nECE {calibration.ece:.3f}, Brier {calibration.brier:.3f}")
    _style(bars)
    return png_bytes(figure)


def risk_coverage_plot(curves: Mapping[str, pd.DataFrame], title: str) -> bytes:
    """Accuracy over the answered photos against the share that is answered; one line for each model."""
    figure, axes = _axes(title)
    for name, curve in curves.items():
        axes.plot(curve["coverage"], curve["accuracy"], label=name, linewidth=1.8)
    axes.set(xlim=(0, 100), ylim=(0, 101), xlabel="photos answered (%)", ylabel="of these right (%)")
    if len(curves) > 1:
        axes.legend(loc="lower left", **LEGEND)
    return png_bytes(figure)


def distance_curves_plot(predictions: Mapping[str, pd.DataFrame], title: str) -> bytes:
    """Share of photos answered within each distance, 1 to 20,000 km, with the radii of Table 3 marked."""
    figure, axes = _axes(title)
    radii = np.geomspace(1.0, 20_015.0, 300)
    for radius in RADII_KM:
        axes.axvline(radius, color="#d5d8dc", linewidth=1, zorder=0)
    for name, frame in predictions.items():
        axes.plot(radii, distance_curve(frame, radii), label=name, linewidth=1.8)
    axes.set_xscale("log")
    axes.set_xticks([*RADII_KM, 10_000], [f"{radius:,}" for radius in (*RADII_KM, 10_000)])
    axes.set_xticks([], minor=True)
    axes.set(xlim=(1, 20_015), ylim=(0, 100), xlabel="distance (km)", ylabel="photos answered within (%)")
    axes.legend(loc="upper left", **LEGEND)
    return png_bytes(figure)


def confusion_plot(matrix: pd.DataFrame, names: Mapping[str, str], title: str) -> bytes:
    """The matrix of `confusion` with its figures, in per cent of each row."""
    rows, columns = ([names.get(key, key) for key in keys] for keys in (matrix.index, matrix.columns))
    size = (max(5.0, 2.6 + 0.5 * len(columns)), max(3.0, 2.0 + 0.42 * len(rows)))
    figure = Figure(figsize=size, dpi=110, layout="tight")
    axes = figure.subplots()
    values = matrix.to_numpy(dtype=np.float64)
    axes.imshow(values, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    for row, column in zip(*np.nonzero(values >= 0.5), strict=True):
        colour = "white" if values[row, column] > 55 else INK
        axes.text(column, row, f"{values[row, column]:.0f}", ha="center", va="center", fontsize=8, color=colour)
    axes.set_xticks(range(len(columns)), columns, rotation=45, ha="right", fontsize=8)
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    axes.set(xlabel="answer", ylabel="true country")
    axes.set_title(title, fontsize=11, color=INK)
    return png_bytes(figure)


def fairness_plot(recall: pd.DataFrame, names: Mapping[str, str], title: str) -> bytes:
    """Recall of each country against its number of training photos, with intervals; the largest are named.

    A country without any training photo is drawn at the left edge; one of few photos is pale and has no interval.
    """
    figure, axes = _axes(title)
    # The logarithm has no place for 0: countries that training never saw stand where half a photo would.
    training = np.maximum(recall["n_train"].to_numpy(dtype=np.float64), 0.5)
    value = recall["recall"].to_numpy(dtype=np.float64)
    spread = np.maximum(np.vstack([value - recall["recall_low"], recall["recall_high"] - value]), 0)
    enough = recall["n"].to_numpy() >= MINIMUM_PHOTOS
    axes.errorbar(training[enough], value[enough], spread[:, enough], fmt="none", ecolor="#b2bec8", elinewidth=0.8)
    for number, continent in enumerate(sorted(set(recall["continent"]))):
        mask, colour = (recall["continent"] == continent).to_numpy(), COLOURS[number % len(COLOURS)]
        size = 12 + 3 * np.sqrt(recall["n"].to_numpy(dtype=np.float64)[mask])
        shades = to_rgba_array(colour, np.where(enough[mask], 1.0, 0.3))
        axes.scatter(training[mask], value[mask], s=size, color=shades, linewidths=0, zorder=2)
        axes.scatter([], [], s=30, color=colour, label=continent)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:,.0f}" if number >= 1 else ""))
    axes.margins(x=0.1)
    axes.set(ylim=(-3, 106), xlabel="training photos of the country", ylabel="recall (%)")
    axes.legend(loc="upper left", **LEGEND)
    largest = zip(recall["country_id"].head(LABELLED), training, value, strict=False)
    label_points(figure, axes, [(names.get(key, key), x, y) for key, x, y in largest])
    return png_bytes(figure)


def _axes(title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(8.0, 5.0), dpi=120, layout="tight")
    axes = figure.subplots()
    axes.set_prop_cycle(color=COLOURS * len(DASHES), linestyle=DASHES * len(COLOURS))
    _style(axes, title)
    return figure, axes


def _style(axes: Axes, title: str = "") -> None:
    axes.set_title(title, fontsize=11, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, color="#eceff1", linewidth=0.8)
    axes.set_axisbelow(True)
