"""The executor ray: its options, and how it is made from them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pyprof.executors.kind import Asked, Kind, Option
from pyprof.executors.slurm import how_many, whole
from pyprof.records import validate

if TYPE_CHECKING:
    from pyprof.executors.ray_executor import RayExecutor


def _resources(value: Any) -> dict[str, float]:
    """Resources of the cluster's own, as JSON: {"a100": 1}."""
    try:
        table = json.loads(validate.text(value))
    except ValueError:
        table = None
    if not isinstance(table, dict) or not table:
        raise validate.Refused("must be a JSON object of names and amounts, such as '{\"a100\": 1}'")
    return validate.mapping(validate.real(0, validate.LARGE))(table)  # type: ignore[no-any-return]


def _create(asked: Asked) -> RayExecutor:
    from pyprof.executors.ray_executor import RayExecutor, Wanted

    options = dict(asked.options)
    address = options.pop("address", None)
    workers = None if asked.workers is None else how_many(asked.workers, 1)
    return RayExecutor(Wanted(**options), workers, address=address, tell=asked.tell)


EXECUTOR = Kind(
    name="ray",
    summary="actors of a Ray cluster, one that runs or one on this machine",
    create=_create,
    options=(
        Option("address", validate.text, "address of the cluster, or local (default: RAY_ADDRESS, else local)"),
        Option("cpus", whole(1), "processors of a worker, and its threads unless the study says so (default: 1)"),
        Option("gpus", whole(0), "GPUs of a worker (default: none)"),
        Option("resources", _resources, "other resources of a worker, such as '{\"a100\": 1}'"),
    ),
)
