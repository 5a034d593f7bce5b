"""One training as transformers' Trainer runs it, watched step by step."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_model, save_model
from torch.utils.data import Dataset
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback, TrainerControl, TrainerState

from pyprof import device as devices
from pyprof.errors import UsageError
from pyprof.quality import checkpoints
from pyprof.quality.judge import judged
from pyprof.quality.plan import Plan
from pyprof.quality.task import Example, Task

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pyprof.device.base import EnergyMeter
    from pyprof.quality.training import Data, Tell

_WEIGHTS = "model.safetensors"
_OPTIMIZERS = {"adamw": "adamw_torch", "adafactor": "adafactor", "sgd": "sgd"}
# Checkpoints take no more than a twentieth of the time, unless the plan says after how many steps to write them.
_SHARE = 20
# Seconds between two tellings of how far a training is.
_TELL_EVERY = 0.5


class DivergedError(Exception):
    """The loss is no number any more."""


class _Examples(Dataset[Example]):
    def __init__(self, examples: Sequence[Example]) -> None:
        self._examples = examples

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, number: int) -> Example:
        return self._examples[number]


class _Trainer(Trainer):  # type: ignore[misc]
    """Saves modules whose parameters are shared too, and stops where a loss is no number."""

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        loss: Tensor = super().training_step(model, inputs, num_items_in_batch)
        self.seen_loss = float(loss)
        if not math.isfinite(self.seen_loss):
            raise DivergedError(f"the loss is {self.seen_loss} after {self.state.global_step:,} steps")
        return loss

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        place = Path(output_dir or self.args.output_dir)
        place.mkdir(parents=True, exist_ok=True)
        save_model(self.model, str(place / _WEIGHTS))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        load_model(self.model if model is None else model, Path(resume_from_checkpoint) / _WEIGHTS)


@dataclass(eq=False)
class Loop(TrainerCallback):  # type: ignore[misc]
    """A training from one seed in a directory, where it goes on from its newest checkpoint.

    `identity` is what an earlier part of it has to have in common with it, as plain JSON.
    After `run`: the `step` reached, seconds `elapsed` (of all its parts), the last `loss`, the `curve` of the quality
    on validation examples, `joules` or why there are none, and why it diverged, None where it did not.
    """

    task: Task
    module: nn.Module
    data: Data
    plan: Plan
    seed: int
    directory: Path
    device: str
    budget: float | None = None
    tell: Tell | None = None
    shuffled: bool = False
    identity: Mapping[str, Any] = field(default_factory=dict)
    step: int = 0
    elapsed: float = 0.0
    loss: float | None = None
    curve: list[tuple[int, float]] = field(default_factory=list)
    joules: float | None = None
    joules_reason: str | None = None
    why_diverged: str | None = None

    def run(self, keep: float | None) -> None:
        """Train; with `keep` checkpoints are written, every so many seconds where the plan does not say after how many
        steps, and an earlier run in the directory is continued.
        """
        found = None if keep is None else checkpoints.newest(self.directory)
        own_forward = "forward" in vars(self.module)
        meter = self._meter()
        # What earlier parts of this training took.
        self._before, self._joules_before = (0.0, 0.0) if found is None else self._resumed(found[1])
        self._told = -math.inf
        self._keep = math.inf if keep is None or self.plan.save_every else keep
        trainer = self._trainer(keep=keep is not None)
        self._trainer_seen = trainer
        self._began = time.perf_counter()
        self._next_save = self._began + self._keep
        joules = None if meter is None else meter.joules()
        try:
            trainer.train(resume_from_checkpoint=None if found is None else str(found[0]))
        except DivergedError as error:
            self.why_diverged = str(error)
        self.step = trainer.state.global_step
        self.elapsed = self._before + time.perf_counter() - self._began
        if meter is not None and joules is not None:
            self.joules = self._joules_before + meter.joules() - joules
        # With mixed precision accelerate has put a wrapper of its own around the module's forward.
        trainer.accelerator.unwrap_model(self.module, keep_fp32_wrapper=False)
        if not own_forward:
            vars(self.module).pop("forward", None)
        self._check_weights()

    def _resumed(self, state: Mapping[str, Any]) -> tuple[float, float]:
        if state.get("identity") != self.identity:
            raise UsageError(f"{self.directory} holds another training: choose another directory")
        self.curve = [(int(step), float(quality)) for step, quality in state["curve"]]
        return float(state["seconds"]), float(state["joules"] or 0.0)

    def _meter(self) -> EnergyMeter | None:
        try:
            return devices.of(self.device).energy_meter()
        except UsageError as error:
            self.joules_reason = str(error)
            return None

    def _check_weights(self) -> None:
        """A loss of before the last step tells nothing of what that step did to the weights."""
        if self.why_diverged is None and not all(bool(each.isfinite().all()) for each in self.module.parameters()):
            self.why_diverged = f"weights are no numbers after {self.step:,} steps"

    def _trainer(self, *, keep: bool) -> _Trainer:
        self.module.accepts_loss_kwargs = False  # type: ignore[assignment]
        trainer = _Trainer(
            model=self.module,
            args=_arguments(self.plan, self.seed, self.directory, self.device, keep=keep),
            train_dataset=_Examples(self.data.train),
            data_collator=self.task.collate,
            callbacks=[self],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.create_optimizer()
        trainer.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(trainer.optimizer, lambda step: self.plan.rate(step))
        return trainer

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Look at the validation examples where it is their turn, tell how far it is, and end with the budget."""
        self.step, self.loss = state.global_step, self._trainer_seen.seen_loss
        if self.plan.check_every and self.step % self.plan.check_every == 0:
            rows = judged(self.task, self.module, self.data.validation, self.plan.batch)
            self.curve.append((self.step, self.task.quality(rows)))
        now = time.perf_counter()
        self.elapsed = self._before + now - self._began
        if self.budget is not None and self.elapsed >= self.budget:
            control.should_training_stop = True
        if now >= self._next_save and self.step < self.plan.steps:
            control.should_save = True
            self._saving_since = now
        last = self.step >= self.plan.steps or control.should_training_stop
        if self.tell is not None and (last or now - self._told >= _TELL_EVERY):
            self._told = now
            self._tell(self.tell)

    def _tell(self, tell: Tell) -> None:
        from pyprof.quality.training import Progress

        left = self.elapsed / self.step * (self.plan.steps - self.step)
        if self.budget is not None:
            left = min(left, max(0.0, self.budget - self.elapsed))
        examples = self.step * self.plan.batch
        tell(
            Progress(
                self.seed, self.step, self.plan.steps, examples, self.loss, self.elapsed, left, shuffled=self.shuffled
            )
        )

    def on_save(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Let the checkpoint count that was just written."""
        told = {
            "identity": dict(self.identity),
            "seconds": self.elapsed,
            "joules": self.joules,
            "curve": [list(point) for point in self.curve],
        }
        checkpoints.mark(self.directory, state.global_step, told)
        if self._keep < math.inf:
            now = time.perf_counter()
            self._next_save = now + max(self._keep, _SHARE * (now - self._saving_since))


def _arguments(plan: Plan, seed: int, directory: Path, device: str, *, keep: bool) -> TrainingArguments:
    if device not in ("cpu", "cuda", "cuda:0"):
        raise UsageError(f"training runs on cpu or cuda, not {device}: choose a card by CUDA_VISIBLE_DEVICES")
    if device != "cpu":
        reason = devices.of(device).available()
        if reason is not None:
            raise UsageError(reason)
    arguments = TrainingArguments(
        output_dir=str(directory),
        max_steps=plan.steps,
        per_device_train_batch_size=plan.batch // plan.accumulate,
        gradient_accumulation_steps=plan.accumulate,
        learning_rate=plan.learning_rate,
        optim=_OPTIMIZERS[plan.optimizer],
        weight_decay=plan.weight_decay,
        adam_beta1=plan.betas[0],
        adam_beta2=plan.betas[1],
        max_grad_norm=plan.clip,
        bf16=plan.dtype == "autocast-bfloat16",
        seed=seed,
        data_seed=seed,
        use_cpu=device == "cpu",
        # What is kept every so many seconds, the loop asks for.
        save_strategy="steps" if keep and plan.save_every else "no",
        save_steps=plan.save_every or 1,
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_drop_last=False,
        dataloader_pin_memory=device != "cpu",
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments
