"""Where things lie: this checkout, the cases and scripts beside the tests, the data beside both."""

from __future__ import annotations

import os
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent
SUPPORT = TESTS / "support"
CASES = TESTS / "cases"
CLIENTS = TESTS / "clients"
RECORDINGS = TESTS / "recordings"
# Data sets, which no commit carries: what needs them is skipped where they are missing.
DATA = Path(os.environ.get("MIXTURA_TEST_DATA") or ROOT.parent / "shared" / "data")
