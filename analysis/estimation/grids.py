"""Configurations of a grid by the numbers of their levels."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Codes = NDArray[np.intp]


def level_codes(settings: pd.DataFrame) -> Codes:
    """(n, axes) number of each configuration's level among the levels there are on that axis."""
    columns = [np.unique(settings[name].to_numpy(), return_inverse=True)[1].ravel() for name in settings]
    return np.column_stack(columns).astype(np.intp) if columns else np.zeros((len(settings), 0), dtype=np.intp)


def same(codes: Codes) -> Codes:
    """(n,) number of the group of configurations that agree on all these columns; 0 for all without columns."""
    if not codes.shape[1]:
        return np.zeros(len(codes), dtype=np.intp)
    sizes = codes.max(axis=0, initial=0) + 1
    flat = np.ravel_multi_index(tuple(codes.T), tuple(sizes))
    return np.unique(flat, return_inverse=True)[1].ravel().astype(np.intp)
