"""How long the fuzzers run: briefly, or with `SECONDLOOK_FUZZ=long` as long as the acceptance asks."""

import os

IS_LONG = os.environ.get("SECONDLOOK_FUZZ") == "long"
SHORT_S, LONG_S = 5.0, 600.0
BUDGET_S = LONG_S if IS_LONG else SHORT_S
HANG_S = 2.0
"""Nothing that one request can hold takes longer."""
