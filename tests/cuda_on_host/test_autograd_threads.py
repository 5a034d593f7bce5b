"""What autograd's own threads launch is of the layers whose backward they run."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from cuda_part import COMPILER, HERE, ROOT

pytestmark = [pytest.mark.slow, pytest.mark.skipif(COMPILER is None, reason="there is no C++ compiler")]


def test_kernels_of_a_backward_in_autograds_device_thread_find_their_layers(cuda_module, fake_cupti):
    folder = os.path.dirname(cuda_module[0].__file__)
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(ROOT), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, str(HERE / "autograd_threads.py"), folder, str(fake_cupti)]
    done = subprocess.run(command, capture_output=True, text=True, env=environ, timeout=120)
    assert done.returncode == 0, done.stderr[-4000:]
    told = json.loads(done.stdout)
    assert told["threads"] == ["pt_autograd_0"]
    assert told["layers"]["0"] == [3, 5]
    assert told["layers"]["1.0"] == [7, 11]
    assert told["layers"]["1"] == [0, None]
    assert (told["steps"], told["kernels"], told["unknown"], told["outside"]) == (3, 4, 0, 0)
