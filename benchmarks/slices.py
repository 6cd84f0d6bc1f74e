"""Whether members are faster as one computation or in a loop, and how many at once: derives the rule again.

    python benchmarks/slices.py [--encoders mlp convnet] [--batch-sizes 16 64 256] [--members 1 4 16 32] [--device cuda]

Times one update of a slice of nt_xent members, fused and looped in turn, on views that are given: milliseconds per
member and update, medians. `rule` is what `robustness.training.slices` picks for a pack of that size, and `cost` its
time over the best in the row. The last lines say up to how many forward operations per member and batch fused was
at least as fast, which is what `FUSED_FLOPS` stands for.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from options import whole_number
from rich.console import Console
from rich.table import Table

from robustness.training.lockstep import Fused, Lockstep, Looped
from robustness.training.member import members_of
from robustness.training.slices import cost_of, slicing
from robustness.trial import Trial

DATA = {"mlp": "digits"}
KINDS: dict[str, type[Lockstep]] = {"fused": Fused, "looped": Looped}


@dataclass(frozen=True)
class Row:
    """One encoder, batch size and number of members.

    operations: forward, of one member and both views of a batch.
    milliseconds: per member and update, by kind.
    rule: the kind that the rule picks.
    """

    encoder: str
    batch_size: int
    members: int
    operations: int
    milliseconds: dict[str, float]
    rule: str

    @property
    def cost(self) -> float:
        """Time of the rule's choice over the best."""
        return self.milliseconds[self.rule] / min(self.milliseconds.values())


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print the table."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    rows = [
        measure(trials(encoder, batch_size, members), device, repeats=options.repeats)
        for encoder in options.encoders
        for batch_size in options.batch_sizes
        for members in options.members
    ]
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(_table(rows))
    for line in derived(rows):
        console.print(line, highlight=False)
    return 0


def trials(encoder: str, batch_size: int, members: int) -> list[Trial]:
    """Members that differ in temperature."""
    training = {
        "epochs": 1, "optimizer": "sgd", "learning_rate": 0.1, "learning_rate_scaling": "none", "momentum": 0.9,
        "weight_decay": 0.0, "schedule": "constant", "warmup_epochs": 0, "batch_size": batch_size,
    }  # fmt: skip
    return [
        Trial(
            data={"dataset": DATA.get(encoder, "cifar10"), "augmentation": "none"},
            model={"encoder": encoder, "projector": [128, 32], "projector_batch_norm": False},
            training=training,
            evaluation={"probes": [], "images": 2},
            loss="nt_xent",
            hyperparameters={"temperature": 0.1 + 0.01 * member},
            seed=0,
        )
        for member in range(members)
    ]


def measure(pack: list[Trial], device: torch.device, *, repeats: int) -> Row:
    """Fused and looped updates of one slice, in turn."""
    trial = pack[0]
    assert trial.training is not None
    batch_size = int(trial.training["batch_size"])
    slices = {name: kind(members_of(pack, device), device) for name, kind in KINDS.items()}
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.rand(batch_size, *trial.dataset.shape, generator=generator).to(device) for _ in range(2))
    times: dict[str, list[float]] = {name: [] for name in KINDS}
    for turn in range(repeats + 2):
        for name, each in slices.items():
            each.updates = 0
            started = time.perf_counter()
            each.update((first, second))
            if device.type == "cuda":
                torch.cuda.synchronize()
            if turn >= 2:
                times[name].append(time.perf_counter() - started)
    milliseconds = {name: 1e3 * statistics.median(values) / len(pack) for name, values in times.items()}
    rule = "fused" if slicing(pack, device).fused else "looped"
    operations = 2 * batch_size * cost_of(trial).operations
    return Row(trial.model["encoder"], batch_size, len(pack), operations, milliseconds, rule)


def derived(rows: Sequence[Row]) -> list[str]:
    """Per encoder, in slices of more than one: the operations up to which fused is at least as fast as looped."""
    lines = []
    for encoder in dict.fromkeys(row.encoder for row in rows):
        several = sorted((r for r in rows if r.encoder == encoder and r.members > 1), key=lambda r: r.operations)
        faster = [r.operations for r in several if r.milliseconds["fused"] <= r.milliseconds["looped"]]
        most = f"up to 2^{max(faster).bit_length() - 1} operations" if faster else "nowhere"
        lines.append(f"{encoder}: fused is at least as fast {most}")
    return lines


def _table(rows: Sequence[Row]) -> Table:
    table = Table(*("encoder", "batch", "members", "operations", "fused ms", "looped ms", "ratio", "rule", "cost"))
    for row in rows:
        fused, looped = row.milliseconds["fused"], row.milliseconds["looped"]
        table.add_row(
            row.encoder, str(row.batch_size), str(row.members), f"{row.operations:.2e}",
            f"{fused:.2f}", f"{looped:.2f}", f"{looped / fused:.2f}", row.rule, f"{row.cost:.2f}",
        )  # fmt: skip
    return table


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoders", nargs="+", default=["mlp", "convnet_small", "convnet"])
    parser.add_argument("--batch-sizes", nargs="+", type=whole_number(at_least=2), default=[16, 64, 256])
    parser.add_argument("--members", nargs="+", type=whole_number(at_least=1), default=[1, 4, 16, 32])
    parser.add_argument("--repeats", type=whole_number(at_least=1), default=7)
    parser.add_argument("--threads", type=whole_number(at_least=1), default=1)
    parser.add_argument("--device", default="cpu")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
