"""Inner products of free embeddings of one data set."""

from collections.abc import Iterator
from typing import Any

from analysis.collapse.settings import products, thinned
from analysis.figures import products_figure
from analysis.labels import counted, level, listed, words
from analysis.report.frame import Frame
from analysis.report.results import Results

_MOST_PANELS = 30


def product_frames(results: Results, dataset: str) -> Iterator[Frame]:
    """The matrices of every setting, at its first seed; nothing for embeddings of images."""
    every = products(results.table, dataset)
    if every.empty:
        return
    families = list(every["family"].unique())
    drawn = thinned(every, most=max(_MOST_PANELS // len(families), 1))
    titles = [_title(row, several=len(families) > 1) for row in drawn.to_dict("records")]
    names = list(dict.fromkeys(words(name) for setting in every["setting"] for name in setting))
    told = listed(["family"] * (len(families) > 1) + names)
    yield Frame(
        section="products",
        name="inner_products",
        title="Inner products of the embeddings",
        caption=(
            "Cosines of view 1 of every pair (down) with view 2 of every pair (across), of the first seed of each "
            f"setting{f'; titles tell {told}' if told else ''}. The regular simplex is a red diagonal on an even pale "
            "blue; with one deep blue cell in each row it is the cross-polytope; red off the diagonal are pairs that "
            f"were not told apart.{_left_out(len(drawn), len(every))}"
        ),
        description=" ".join(map(_told, titles, drawn["products"])),
        figure=products_figure(drawn.assign(title=titles)),
    )


def _title(row: dict[Any, Any], *, several: bool) -> str:
    values = [level(value) for value in row["setting"].values()]
    return ", ".join([row["family"], *values] if several or not values else values)


def _told(title: str, matrix: Any) -> str:
    positives = matrix.trace() / len(matrix)
    others = (matrix.sum() - matrix.trace()) / (matrix.size - len(matrix))
    return f"{title}: mean of positives {positives:.2f}, of others {others:.2f}."


def _left_out(drawn: int, every: int) -> str:
    return "" if drawn == every else f" Drawn are {drawn} of {counted(every, 'setting')}, evenly spaced."
