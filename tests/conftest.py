import os
import secrets

import torch
from jaxtyping import install_import_hook

os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

# As in a worker with one CPU, so that what tests compute here equals what a sweep stores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(1)

# Shapes and types of signatures are checked at run time here, and only here.
_CHECKED = ["robustness.losses", "robustness.metrics", "robustness.data", "robustness.models"]
install_import_hook(_CHECKED, "beartype.beartype").__enter__()
