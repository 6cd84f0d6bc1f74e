"""What a study leaves behind: the only package that writes plan, trials and history, and knows their columns."""

from robustness.store.compaction import compact
from robustness.store.encoders import read_encoder, remove_encoder, write_encoder
from robustness.store.files import Folder, StoreError, open_folder, write_bytes
from robustness.store.migration import migrate
from robustness.store.replacement import replace_in_pack
from robustness.store.schema import (
    HISTORY_SCHEMA,
    HYPERPARAMETER_COLUMNS,
    NUMERIC_OUTCOMES,
    OUTCOMES,
    PLAN_SCHEMA,
    SCHEMA_VERSION,
    TRIALS_SCHEMA,
)
from robustness.store.study import add_to_plan, prepare, read_plan, read_study, write_plan
from robustness.store.trials import Row, read, read_history, stored_packs, write_pack
from robustness.store.verification import Findings, set_aside_damaged, verify

__all__ = [
    "HISTORY_SCHEMA",
    "HYPERPARAMETER_COLUMNS",
    "NUMERIC_OUTCOMES",
    "OUTCOMES",
    "PLAN_SCHEMA",
    "SCHEMA_VERSION",
    "TRIALS_SCHEMA",
    "Findings",
    "Folder",
    "Row",
    "StoreError",
    "add_to_plan",
    "compact",
    "migrate",
    "open_folder",
    "prepare",
    "read",
    "read_encoder",
    "read_history",
    "read_plan",
    "read_study",
    "remove_encoder",
    "replace_in_pack",
    "set_aside_damaged",
    "stored_packs",
    "verify",
    "write_bytes",
    "write_encoder",
    "write_pack",
    "write_plan",
]
