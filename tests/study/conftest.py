"""A simulated machine for the tests of planning and running."""

from __future__ import annotations

import pytest
from simulated_machine import Simulated, quadratic


@pytest.fixture
def simulated() -> Simulated:
    return Simulated(quadratic)
