"""Commands at the frame rate of the data, interpolated between the way-points of a policy's decisions."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ikp.policies.timing import TimingConfig

Command = Float[Tensor, " action"]


class Execution:
    """The commands of one control loop or episode.

    Between two way-points numbers are interpolated in time, from the last command on; the dimensions in `held`, such as
    a two-valued gripper, keep their value until the way-point is due. The joints in `turns` take the shorter way round:
    the first way-point of a decision keeps its turn, which is that of the measured joint, and the others continue from
    there.

    Args:
        timing: rates of the policy.
        fps: frames per second of the loop and of the data.
        held: dimensions of the action that are not interpolated.
        turns: size of a full turn, by the dimension of each continuous joint.

    Example:
        execution = policy.new_execution()
        while True:
            history.add(frame)
            if execution.is_due:
                execution.follow(*(each[0] for each in policy.plan(history.observation)))
            frame, *_ = env.step(execution.next().numpy())
    """

    def __init__(
        self,
        timing: TimingConfig,
        fps: float,
        held: Sequence[int] = (),
        turns: Mapping[int, float] | None = None,
    ) -> None:
        self.times, self.length = (0, *timing.due(fps)), timing.frames_executed(fps)
        self.held, self.turns = list(held), dict(turns or {})
        self.reset()

    def reset(self) -> None:
        """Forget the decision and the last command, at the start of an episode."""
        self._frame, self._points = self.length, ()
        self._command: Command | None = None

    @property
    def is_due(self) -> bool:
        """Whether the next command needs a new decision."""
        return self._frame >= self.length

    def follow(self, action: Command | Float[Tensor, "way_points action"], rest: Command) -> None:
        """Start a new decision.

        Args:
            action: the command, or the commands at the way-points.
            rest: the command that keeps the robot where it is; an episode's first motion starts there.
        """
        start = rest if self._command is None else self._command
        points = torch.cat([start.to(action)[None], action.reshape(len(self.times) - 1, -1)])
        for dim, turn in self.turns.items():  # an encoder may have wrapped since the last command
            excess = (points[:, dim].diff() / turn).round() * turn
            points[0, dim] += excess[0]
            points[2:, dim] -= excess[1:].cumsum(0)
        self._points = tuple(points)
        self._frame = 0

    def next(self) -> Command:
        """The command of the next frame."""
        self._frame += 1
        self._command = self._at(self._frame)
        return self._command

    @property
    def upcoming(self) -> Float[Tensor, "frames action"]:
        """The commands of the frames until the next decision, for a robot that is told of them ahead.

        Raises:
            ValueError: the next decision is due.
        """
        if self.is_due:
            raise ValueError("the next decision is due: call follow first")
        return torch.stack([self._at(frame) for frame in range(self._frame + 1, self.length + 1)])

    def _at(self, frame: int) -> Command:
        """The command of a frame after the decision."""
        after = bisect_left(self.times, frame)
        begin, end = self.times[after - 1], self.times[after]
        command = self._points[after]
        if frame < end:
            before = self._points[after - 1]
            command = torch.lerp(before, command, (frame - begin) / (end - begin))
            command[self.held] = before[self.held]
        return command
