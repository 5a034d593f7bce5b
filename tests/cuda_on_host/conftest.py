"""What is compiled is shared by all tests of the session."""

from __future__ import annotations

import pytest
from building import Workshop


@pytest.fixture(scope="session")
def workshop(tmp_path_factory):
    return Workshop(tmp_path_factory.mktemp("cuda_on_host"))
