"""What a study leaves behind: the only package that writes plan, trials and history, and knows their columns."""

from robustness.store.encoders import read_encoder, remove_encoder, write_encoder
from robustness.store.files import (
    Row,
    StoreError,
    prepare,
    read,
    read_history,
    read_plan,
    read_study,
    stored_packs,
    write_pack,
    write_plan,
)
from robustness.store.schema import (
    HISTORY_SCHEMA,
    HYPERPARAMETER_COLUMNS,
    NUMERIC_OUTCOMES,
    OUTCOMES,
    PLAN_SCHEMA,
    SCHEMA_VERSION,
    TRIALS_SCHEMA,
)

__all__ = [
    "HISTORY_SCHEMA",
    "HYPERPARAMETER_COLUMNS",
    "NUMERIC_OUTCOMES",
    "OUTCOMES",
    "PLAN_SCHEMA",
    "SCHEMA_VERSION",
    "TRIALS_SCHEMA",
    "Row",
    "StoreError",
    "prepare",
    "read",
    "read_encoder",
    "read_history",
    "read_plan",
    "read_study",
    "remove_encoder",
    "stored_packs",
    "write_encoder",
    "write_pack",
    "write_plan",
]
