"""The page as text: the study and everything in it are data, never markup."""

from datetime import datetime
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from analysis.labels import on_page, quantity, setting, short
from robustness.watch.live import View


def page(view: View, *, now: datetime) -> str:
    """The whole page."""
    return _render("page.html.j2", view, now)


def status(view: View, *, now: datetime) -> str:
    """The part of it that changes: elements by id, which a script puts in place of the old ones."""
    return _render("status.html.j2", view, now)


def clock(moment: datetime, *, now: datetime) -> str:
    """`12:03:20` here, with its date on another day than `now`."""
    here = moment.astimezone()
    return f"{here:%H:%M:%S}" if here.date() == now.astimezone().date() else f"{here:%Y-%m-%d %H:%M:%S}"


def _render(name: str, view: View, now: datetime) -> str:
    found = view.standing
    return _template(name).render(
        view=view,
        standing=found,
        rows=[*found.families, found.total] if len(found.families) > 1 else found.families,
        pace=found.pace(now),
        outcome=quantity(found.outcome),
        several=len({best.dataset for best in found.best}) > 1,
        setting=setting,
        short=short,
        as_of=None if view.report is None else clock(view.report.as_of, now=now),
    )


@cache
def _template(name: str) -> Template:
    environment = Environment(
        loader=PackageLoader("robustness.watch"),
        autoescape=True,
        finalize=on_page,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)
