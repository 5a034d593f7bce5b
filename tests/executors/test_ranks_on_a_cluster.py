"""A model over ranks on a cluster: the machine of a job or an actor has all of its ranks, and none is left behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import slurm_tests
from cluster_tests import PYTHONPATH
from simulated_machine import make_study
from slurm_tests import FakeSlurm

from pyprof.executors.ray_executor import RayExecutor, Wanted
from pyprof.executors.remote import LOCAL
from pyprof.records.executor import Executor
from pyprof.records.run_directory import read
from pyprof.study.run import run_study

MODELS = Path(__file__).parents[1] / "worker"
MODEL = "sharded_models:tensor_parallel"


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """The ranks find the models of these tests, whatever the cluster's own fixture says."""
    request.getfixturevalue("ray_mark" if "ray" in request.node.name else "slurm")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(MODELS), PYTHONPATH]))
    monkeypatch.syspath_prepend(str(MODELS))


@pytest.mark.slow
def test_a_job_of_slurm_measures_a_model_over_two_ranks(tmp_path: Path, slurm: FakeSlurm) -> None:
    pytest.importorskip("submitit", reason="submitit is not installed: pip install 'pyprof-transformers[slurm]'")
    measures_over_ranks(tmp_path / "run", slurm_tests.an_executor(tmp_path / "run", 1, worker=LOCAL))
    assert not slurm.running()


@pytest.mark.slow
def test_an_actor_of_ray_measures_a_model_over_two_ranks(tmp_path: Path, ray_mark: str) -> None:
    measures_over_ranks(tmp_path / "run", RayExecutor(Wanted(), 1, address="local", worker=LOCAL))


def measures_over_ranks(directory: Path, executor: Executor) -> None:
    study = make_study(
        metrics=["latency", "parameters"],
        modes=["infer"],
        comparison=[{"vanilla": MODEL, "lengths": [8], "implementations": ["now"]}],
        ranks={MODEL: 2},
        measure={"min_samples": 5, "max_samples": 5, "max_seconds": "20 s", "timeout": "2 min"},
    )
    result = run_study(study, directory, executor=executor)
    assert result.counts == {"ok": 1}
    (record,) = read(directory).records.values()
    assert record.case.ranks == len(record.ranks) == 2
    assert record.kinds["communication"].forward_seconds > 0
    assert record.place is not None
