"""What is compiled is shared by all tests of the session."""

from __future__ import annotations

import pytest
from building import Workshop
from cuda_part import build_fake_cupti, build_module


@pytest.fixture(scope="session")
def workshop(tmp_path_factory):
    return Workshop(tmp_path_factory.mktemp("cuda_on_host"))


@pytest.fixture(scope="session")
def cuda_module(tmp_path_factory):
    """The CUDA part over fakes, and the controls of the fake runtime."""
    return build_module(tmp_path_factory.mktemp("cuda"))


@pytest.fixture(scope="session")
def fake_cupti(tmp_path_factory):
    """The path of a libcupti without a device."""
    return build_fake_cupti(tmp_path_factory.mktemp("cupti"))
