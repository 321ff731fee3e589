"""Training: one loop for every method, resumable after a kill, deterministic for a seed on one machine."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from ikp.checks import instance
from ikp.data import Demonstrations
from ikp.files import remove_temporary, writable_folder
from ikp.interrupts import interrupts_wait
from ikp.locks import locked_folder
from ikp.policies import Policy, save_policy
from ikp.policies.policy import batch_to
from ikp.spec import Batch, check_same_data
from ikp.training.config import TrainConfig
from ikp.training.crowding import Crowding
from ikp.training.dependence import dependence, warn_of_copied_motion
from ikp.training.diagnostics import input_scales, warn_of_scales
from ikp.training.log import RunLog
from ikp.training.memory import reuse_freed_memory
from ikp.training.optimizer import CLIP, MovingAverage, make_optimizers, schedule
from ikp.training.probe import perception_probe
from ikp.training.residual_posterior import ResidualPosterior, residual_posterior
from ikp.training.scene_motion import SceneMotion, working_height
from ikp.training.settings import SETTINGS_FILE, check_settings, run_settings, write_settings
from ikp.training.state import Progress, has_state, load_state, save_state
from ikp.training.state_noise import state_noise
from ikp.training.validation import action_errors, evenly_spaced, frames_at_once, frames_of_a_batch

VALIDATION_FRAMES = 512
"""Largest number of frames of a validation; large images are fewer (`frames_of_a_batch`)."""
SAVED_EVERY = 60.0
"""Seconds after which a state is saved, whatever the number of steps."""
Callback = Callable[[Policy, int, float], None]


@dataclass(frozen=True)
class TrainResult:
    """Result of a run.

    Attributes:
        policy: the averaged policy, also saved in `out/policy`.
        steps: optimiser steps done.
        seconds: time spent in steps, without validation.
        validation: action errors at the end (`ikp.training.validation`).
        probe: result of the perception probe at the end (`ikp.training.probe`).
        dependence: what the decisions depend on at the end (`ikp.training.dependence`).
        arms: action errors at the end on held-out demonstrations of each arm, where several are pooled.
        residual: learned corrections of the kinematics at the end, with their intervals; None where none are learned.
    """

    policy: Policy
    steps: int
    seconds: float
    validation: dict[str, dict[str, float]]
    probe: dict[str, float]
    dependence: dict[str, float]
    arms: dict[str, dict[str, float]] = field(default_factory=dict)
    residual: ResidualPosterior | None = None

    def __repr__(self) -> str:
        """Steps, time and errors on held-out demonstrations."""
        errors = ", ".join(
            f"{name}={value:.3g}" for name, value in self.validation.get("held_out", {}).items()
        )
        return f"TrainResult({self.steps} steps in {self.seconds:.0f} s; held out: {errors})"


def train(
    policy: Policy,
    dataset: Demonstrations,
    config: TrainConfig | None = None,
    *,
    out: Path | str,
    resume: bool = False,
    callback: Callback | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> TrainResult:
    """Train a policy on demonstrations.

    Args:
        policy: a new policy (`ikp.make_policy`); this function sets its scales from the data.
        dataset: demonstrations in memory.
        config: budget and optimisation.
        out: folder of the run: `policy/` (the result), `state/` (to resume), `metrics.jsonl`, TensorBoard events.
        resume: continue the run in `out` if there is one; otherwise a folder with a run is an error. Ctrl-C and
            SIGTERM keep a state after the step that they fall into.
        callback: called at every validation with the averaged policy, the step and the seconds so far.
        provenance: recipe, method, data set and task of the policy, stored with the result.

    Raises:
        FileExistsError: `out` contains a run and `resume` is off.
        FloatingPointError: the loss is no longer finite.
        OSError: `out` cannot be written, or another process trains there.
        ValueError: the policy was made for other data, there are too few episodes to hold some out, `moved_scenes` does
            not fit policy or data, the device is unknown, the run in `out` has other settings, or all its states are
            damaged.
    """
    out, config = Path(out), TrainConfig() if config is None else config
    instance("policy", policy, Policy, "make one with ikp.make_policy(robot, dataset.spec)")
    instance("dataset", dataset, Demonstrations, "load one with ikp.load_dataset(folder, robot=robot)")
    instance("config", config, TrainConfig, "give an ikp.TrainConfig, such as ikp.TrainConfig(steps=1000)")
    check_same_data(policy.spec, dataset.spec)
    if dataset.episodes < 2:
        raise ValueError(
            "the data have 1 episode: at least 2 are needed, since one is held out for validation; use more episodes"
        )
    device = _device(config.device)
    check_new(out, resume=resume)
    with locked_folder(writable_folder(out)):
        for folder in (out, out / "state", out / "policy"):
            remove_temporary(folder)
        run = _Run(policy, dataset, config, device, out, dict(provenance or {}), resume=resume)
        return run.execute(callback)


def check_new(out: Path, *, resume: bool) -> None:
    """Refuse to train into the folder of another run.

    Raises:
        FileExistsError: the folder holds a run and `resume` is off.
    """
    if not resume and (out / "state").exists():
        raise FileExistsError(
            f"{out} holds a run already: continue it with resume=True (ikp train --resume), or choose another folder"
        )


class _Run:
    def __init__(
        self,
        policy: Policy,
        dataset: Demonstrations,
        config: TrainConfig,
        device: torch.device,
        out: Path,
        provenance: dict[str, Any],
        *,
        resume: bool,
    ) -> None:
        self.config, self.device, self.out, self.provenance = config, device, out, provenance
        reuse_freed_memory()
        if config.threads:
            torch.set_num_threads(config.threads)
        settings = run_settings(policy, dataset, config, provenance)
        # a run that was killed before its first state has settings alone
        if has_state(out / "state") or (resume and (out / SETTINGS_FILE).is_file()):
            check_settings(out, settings)
        self.motion = _scene_motion(policy, dataset) if config.moved_scenes else None
        self.noise = state_noise(dataset, policy, config.state_noise)
        goals = dataset.goal_state if policy.plane is not None else None
        action = dataset.way_points(policy.due)
        policy.fit_scales(dataset.state, action, dataset.environment_state, goals)
        self.policy = policy.to(self.device)
        self.averaged = copy.deepcopy(policy).eval()
        self.dataset = dataset
        self.training, self.held_out = dataset.split(config.held_out, seed=config.seed)
        self.optimizers = make_optimizers(policy, config)
        self.average = MovingAverage(policy)
        self.progress = load_state(out / "state", policy, self.optimizers, self.average) or Progress()
        write_settings(out, settings)
        self.log = RunLog(out, self.progress.step + 1)
        self.validation: dict[str, dict[str, float]] = {}
        self._saved = time.monotonic()

    def execute(self, callback: Callback | None) -> TrainResult:
        config = self.config
        if self.progress.step == 0:
            self._check_scales()
        crowding = Crowding(self.device)
        bar = tqdm(total=config.steps, initial=self.progress.step, unit="step", desc="training")
        with interrupts_wait() as stopping, bar:
            while not self._done() and not stopping:
                parts = self._step()
                # the expected number of steps, if the clock ends the run
                bar.total = max(self.progress.step, round(self.progress.step / self._fraction()))
                bar.update()
                crowding.look()
                step = self.progress.step
                if step % config.log_every == 0:
                    self._log(parts, bar)
                if step % config.validate_every == 0 and not self._done():
                    self._validate(callback)
                if step % config.checkpoint_every == 0 or time.monotonic() - self._saved > SAVED_EVERY:
                    self._save_state()
            if stopping:
                self._save_state()
        self._validate(callback)
        self._save_state()
        probe = perception_probe(self.averaged, self.dataset, self.training, self.held_out)
        depends = dependence(self.averaged, self.dataset, self.training, self.held_out)
        arms = self._errors_of_arms()
        trained = len(self.dataset.episode_index[self.training].unique())
        residual = residual_posterior(self.averaged, self.dataset, self.held_out, trained)
        found = {f"arm {name}": errors for name, errors in arms.items()}
        found |= {} if residual is None else {"residual": residual.to_json()}
        self._record({"probe": probe, "dependence": depends, **found})
        warn_of_copied_motion(depends)
        self.averaged.to("cpu")
        done = {"steps": self.progress.step, "seconds": round(self.progress.seconds, 1)}
        provenance = {**self.provenance, "train": config.to_json(), **done}
        save_policy(self.averaged, self.out / "policy", provenance=provenance)
        self.log.close()
        progress = self.progress
        return TrainResult(
            self.averaged,
            progress.step,
            progress.seconds,
            self.validation,
            probe,
            depends,
            arms=arms,
            residual=residual,
        )

    def _save_state(self) -> None:
        save_state(self.out / "state", self.policy, self.optimizers, self.average, self.progress)
        self._saved = time.monotonic()

    def _check_scales(self) -> None:
        most = min(VALIDATION_FRAMES, frames_at_once(self.policy))
        scales = input_scales(self.policy, self._validation_batch(self.training, most))
        self._record({"input_scales": scales})
        warn_of_scales(scales)

    def _fraction(self) -> float:
        """Fraction of the schedule that is done, by steps or by the clock."""
        by_steps = self.progress.step / self.config.steps
        if self.config.minutes is None:
            return by_steps
        return max(by_steps, self.progress.seconds / (60 * self.config.minutes))

    def _done(self) -> bool:
        return self._fraction() >= 1

    def _step(self) -> dict[str, torch.Tensor]:
        started = time.perf_counter()
        config, step = self.config, self.progress.step
        # The randomness of a step depends only on (seed, step), so that a resumed run repeats it.
        torch.manual_seed(config.seed * 1_000_003 + step)
        frames = batch_indices(self.training, config.batch_size, step, config.seed)
        has_goal = self.policy.plane is not None
        batch = self._batch(frames, goals=has_goal)
        self._prefetch(step + 1)
        if self.motion is not None:
            batch = self.motion(batch)
        if self.noise is not None:
            batch = self.noise(batch)
        factor = schedule(self._fraction())
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
            for group in optimizer.param_groups:
                group["lr"] = group["base_lr"] * factor
        self.policy.train()
        loss, parts = self.policy.loss(batch)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.average.parameters, CLIP, foreach=True)
        if not torch.isfinite(norm):
            kept = self.out / "state"
            raise FloatingPointError(
                f"the loss or its gradient is not finite at step {step} ({loss.item()}): look for extreme values in "
                "the data or lower the learning rate; "
                + (
                    f"the last good state is in {kept}"
                    if has_state(kept)
                    else "no state was kept before that"
                )
            )
        for optimizer in self.optimizers:
            optimizer.step()
        self.average.update(step)
        self.progress = Progress(step + 1, self.progress.seconds + time.perf_counter() - started)
        return {"loss": loss.detach(), "gradient_norm": norm, **parts}

    def _log(self, parts: dict[str, torch.Tensor], bar: tqdm) -> None:
        values = {name: float(value) for name, value in parts.items()}
        self._record({"train": values})
        shown = f"loss={values['loss']:.3f}"
        held_out = self.validation.get("held_out", {})
        if "tip_mm_median" in held_out:
            shown += f", held-out tip error {held_out['tip_mm_median']:.1f} mm"
        bar.set_postfix_str(shown)

    def _validate(self, callback: Callback | None) -> None:
        self.average.copy_to(self.averaged)
        for name, pool in (("training", self.training), ("held_out", self.held_out)):
            self.validation[name] = action_errors(self.averaged, self._validation_batch(pool))
        self._record(self.validation)
        if callback is not None:
            callback(self.averaged, self.progress.step, self.progress.seconds)

    def _errors_of_arms(self) -> dict[str, dict[str, float]]:
        """Action errors on the held-out demonstrations of each arm, where several are pooled."""
        found = {}
        for arm in self.dataset.arm_names:
            own = self.dataset.frames_of_arm(arm, self.held_out)
            found[arm] = action_errors(self.averaged, self._validation_batch(own))
        return found

    def _validation_batch(self, pool: torch.Tensor, most: int = VALIDATION_FRAMES) -> Batch:
        return self._batch(evenly_spaced(pool, frames_of_a_batch(self.policy, most)))

    def _prefetch(self, step: int) -> None:
        """Let the images of a later step be read while this one computes."""
        if self.dataset.on_disk:
            options = {key: self.policy.batch_options[key] for key in ("history", "stride")}
            frames = batch_indices(self.training, self.config.batch_size, step, self.config.seed)
            self.dataset.prefetch(frames, **options)

    def _batch(self, frames: torch.Tensor, *, goals: bool = False) -> Batch:
        return batch_to(self.dataset.batch(frames, goals=goals, **self.policy.batch_options), self.device)

    def _record(self, values: dict[str, Any]) -> None:
        self.log.record(self.progress.step, self.progress.seconds, values)


def _scene_motion(policy: Policy, dataset: Demonstrations) -> SceneMotion:
    height = 0.0 if policy.robot is None else working_height(policy.robot, dataset)
    return SceneMotion(policy.robot, policy.spec, height=height)


def batch_indices(pool: torch.Tensor, size: int, step: int, seed: int) -> torch.Tensor:
    """Frames of one step: every epoch is a new permutation of the pool, which depends only on (seed, step)."""
    size = min(size, len(pool))
    per_epoch = len(pool) // size
    epoch, place = divmod(step, per_epoch)
    order = _permutation(len(pool), seed, epoch)
    return pool[order[place * size : (place + 1) * size]]


@lru_cache(maxsize=2)
def _permutation(count: int, seed: int, epoch: int) -> torch.Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed * 1_000_003 + epoch))


def _device(name: str) -> torch.device:
    """The device of a name. Raises ValueError if it is unknown, or this machine has none."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device).cpu()  # torch tells only by use whether a device is there
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"device is {name!r} ({reason}): use auto or cpu") from None
    return device
