"""What is compiled is shared by all tests of the session."""

from __future__ import annotations

import ctypes

import pytest
from building import Workshop
from cuda_part import build_fake_cupti, build_module
from fake_gpu import Gpu, card


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


@pytest.fixture
def gpu(cuda_module, fake_cupti, monkeypatch):
    """The controls of a card over the fake driver, on which every module is."""
    control = Gpu(ctypes.CDLL(str(fake_cupti)))
    control.repair()
    control.plant(hands_out_running=1)
    card(control, fake_cupti, cuda_module[0], monkeypatch)
    yield control
    assert control.repair() == 0, "CUPTI was not left as it was found"
