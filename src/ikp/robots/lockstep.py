"""Controller and simulated world in this process, in lock-step: the same loop without waiting for the clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ikp.robots.commands import Command, Telemetry
from ikp.robots.config import ControllerConfig
from ikp.robots.controller import ControlLoop
from ikp.robots.interfaces import Arm, RobotStopped
from ikp.robots.link import Blackboard, MotionHistory
from ikp.robots.twin.world import World


class LockstepController:
    """A `ControllerLink` whose time is the world's; it passes in `sleep_until` alone.

    The loop runs at the rate of the simulation, if the settings ask for more.

    Args:
        make_arm: makes the arm, from a clock.
        world: the simulation.
        config: settings.

    Raises:
        RobotStopped: as `ControlLoop`.
    """

    def __init__(
        self, make_arm: Callable[[Callable[[], float]], Arm], world: World, config: ControllerConfig
    ) -> None:
        every = max(round(1.0 / (config.rate * world.sim_dt)), 1)
        self._config = replace(config, rate=1.0 / (every * world.sim_dt))
        self._world, self._every = world, every
        self._arm = make_arm(self.now)
        self._arm.open()
        self._loop = ControlLoop(self._arm, self._config, self.now())
        self._board = Blackboard(self._arm.robot.dof, None)
        self._inbox: list[Command] = []
        self._reason: str | None = None
        self._tick()

    def now(self) -> float:
        """The simulated time, which starts at 1 s."""
        return 1.0 + self._world.time

    def sleep_until(self, time: float) -> None:
        """Simulate until a time."""
        while self.now() < time - 1e-9:
            self._world.step()
            if self._world.steps % self._every == 0:
                self._tick()

    def send(self, command: Command) -> None:
        """Send a command to the next period."""
        self._inbox.append(command)

    def _tick(self) -> None:
        if self._reason is not None:
            return
        inbox, self._inbox = self._inbox, []
        try:
            self._loop.tick(self.now(), inbox)
        except (RobotStopped, OSError) as error:
            self._arm.stop()
            self._reason = str(error)
        else:
            self._board.publish(self._loop, self.now(), 0.0)

    def telemetry(self) -> Telemetry:
        """The newest state."""
        if self._reason is not None:
            raise RobotStopped(self._reason)
        return self._board.read()[0]

    def motion(self) -> MotionHistory:
        """The last seconds."""
        return self._board.motion()

    def close(self) -> None:
        """Stop the arm."""
        self._arm.close()
        self._reason = self._reason or "the session has ended"
