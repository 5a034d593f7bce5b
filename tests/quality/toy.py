"""A task that a tiny model learns within a second: is the first token larger than the others are on average?"""

from __future__ import annotations

import numpy as np

from pyprof.quality.arena.classification import Classification
from pyprof.quality.plan import Plan

LENGTH = 6


class Toy(Classification):
    name = "toy"
    title = "Toy"
    vocabulary = 5
    layout = "nothing in particular"

    def length(self, size):
        return LENGTH

    def plan(self, size):
        return Plan(steps=12, batch=8, learning_rate=1e-2, schedule="constant")

    def split(self, name, size, seed=0):
        rng = np.random.default_rng([seed, len(name)])
        labels = rng.integers(0, 2, {"train": 64, "validation": 16, "test": 32}[name])
        # Inputs of two lengths, so that batches have padding.
        return [
            {"tokens": rng.integers(1, 3, LENGTH - number % 2) + 2 * label, "label": int(label)}
            for number, label in enumerate(labels)
        ]
