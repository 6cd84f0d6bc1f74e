"""How long a study takes: by a rule of thumb, or by updates measured on this machine."""

import pandas as pd
import torch
from rich.table import Table

from robustness.cli.terminal import progress, show
from robustness.durations import duration
from robustness.plan import batch_policy, ends, in_order, pack_costs, update_cost
from robustness.training.measure import Measured, measure
from robustness.trial import Trial
from search_spaces import Study

_Kind = tuple[str, str, int, str]


def print_estimate(
    study: Study, rows: pd.DataFrame, *, measure: bool, workers: int | None, budget_hours: float | None
) -> None:
    """Print how much work the planned trials are, and what so many workers make of it.

    Measured updates correct the rule of thumb for each kind of pack: a pack takes what the rule says, times measured
    over expected seconds of its updates. That covers evaluation only as far as both err alike, and not what batch
    policies take to choose, nor that workers get in each other's way.

    Args:
        rows: planned trials.
        measure: whether to measure.
        workers: how many packs run at once; without it nothing is said about when they end.
        budget_hours: of a sweep with this option.
    """
    costs = pack_costs(rows, every=study.evaluation.every)
    resources, how = study.resources, "on a current CPU, by a rule of thumb; --measure measures"
    if measure:
        costs, how = _measured_costs(study, rows, costs)
    seconds = sum(costs.values())
    on_gpu = measure and resources.gpus_per_pack and torch.cuda.is_available()
    unit, share = "GPU", resources.gpus_per_pack
    if not on_gpu:
        unit, share = "core", resources.cpus_per_pack if measure else 1
    hours = f"about {seconds * share / 3600:,.1f} {unit}-hours"
    print(f"{study.name}: {len(rows):,} trials in {len(costs):,} packs; {hours} {how}")
    if resources.gpus_per_pack and not on_gpu:
        print("its packs take GPUs: --measure on a machine with one tells how long they take there")
    if workers is None and budget_hours is None:
        return
    count = workers or 1
    order = in_order(rows, costs, by_seed=budget_hours is not None)
    times = dict(zip(order, ends([costs[pack] for pack in order], workers=count), strict=True))
    who = "one worker" if count == 1 else f"{count:,} workers"
    print(f"{who} done after about {duration(max(times.values()))}")
    if budget_hours is not None:
        fits = rows["pack_id"].map(times) <= 3600 * budget_hours
        whole = fits.groupby(rows["seed"]).all()
        print(
            f"after {budget_hours:g} h: {int(fits.sum()):,} of {len(rows):,} trials, "
            f"{int(whole.sum())} of {len(whole)} seeds whole; the same command again does the rest"
        )


def _measured_costs(study: Study, rows: pd.DataFrame, costs: dict[str, float]) -> tuple[dict[str, float], str]:
    """Seconds of each pack on one worker of this machine, and where they were measured; prints the measured updates."""
    resources = study.resources
    device = torch.device("cuda" if resources.gpus_per_pack and torch.cuda.is_available() else "cpu")
    torch.set_num_threads(max(1, int(resources.cpus_per_pack)))
    packs: dict[str, list[Trial]] = {}
    for pack, text in zip(rows["pack_id"], rows["trial"], strict=True):
        packs.setdefault(str(pack), []).append(Trial.from_json(text))
    kinds: dict[_Kind, list[Trial]] = {}
    for trials in packs.values():
        trained = [trial for trial in trials if trial.training is not None]
        if trained and len(trained) > len(kinds.get(_kind(trained[0]), [])):
            kinds[_kind(trained[0])] = trained
    found: dict[_Kind, Measured] = {}
    with progress() as bar:
        for kind, trials in bar.track(kinds.items(), description="measuring"):
            found[kind] = measure(trials, device=device, fuse=study.pack.fuse)
    table = Table("data", "encoder", "batch")
    for name in ("trained at once", "ms an update of each", "images a second"):
        table.add_column(name, justify="right")
    for (data, encoder, size, policy), one in found.items():
        batch = f"{size:,}" if policy == "shuffled" else f"{size:,} {policy}"
        numbers = (f"{one.members}", f"{1000 * one.seconds:.3g}", f"{one.images_per_second:,.0f}")
        table.add_row(data, encoder, batch, *numbers)
    show(table)
    scale = {kind: found[kind].seconds / update_cost(trials[0]) for kind, trials in kinds.items()}
    usual = sum(scale.values()) / len(scale) if scale else 1.0
    seconds = {
        pack: costs[pack] * next((scale[_kind(trial)] for trial in trials if trial.training is not None), usual)
        for pack, trials in packs.items()
    }
    names = sorted({one.device for one in found.values()})
    return seconds, f"measured on {', '.join(names) or 'nothing'}"


def _kind(trial: Trial) -> _Kind:
    assert trial.training is not None
    size = int(trial.training["batch_size"])
    return str(trial.data["dataset"]), str(trial.model["encoder"]), size, batch_policy(trial)
