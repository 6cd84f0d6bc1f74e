"""How trials develop over epochs."""

import pandas as pd

from analysis.collapse.epochs import at_common_epochs

LOW, HIGH = 0.1, 0.9


def over_epochs(history: pd.DataFrame, outcome: str) -> pd.DataFrame:
    """Mean and spread of the trials of each family at each evaluated epoch.

    Args:
        history: rows of trials that ended well, so that every epoch is about the same trials.
        outcome: a numeric column of it.

    Returns:
        Columns family, epoch, estimate (the mean over configurations and seeds), low, high (10 % and 90 %
        quantiles of the trials: a range of trials, not an interval of the mean). Only epochs at which every
        batch size of the family was evaluated, so that every epoch is about the same settings; no rows where
        there are fewer than two.
    """
    if outcome not in history:
        return pd.DataFrame(columns=["family", "epoch", "estimate", "low", "high"])
    measured = at_common_epochs(history.dropna(subset=[outcome]))
    if measured["epoch"].nunique() < 2:
        return pd.DataFrame(columns=["family", "epoch", "estimate", "low", "high"])
    groups = measured.groupby(["family", "epoch"])[outcome]
    summary = groups.agg(
        estimate="mean", low=lambda values: values.quantile(LOW), high=lambda values: values.quantile(HIGH)
    )
    return summary.reset_index()
