"""The simulated twin: devices, a copy of the scene in another process, and demonstrations by a simulated hand."""

import os
import pty

import numpy as np
import pytest

from ikp.robots.commands import TipVelocity
from ikp.robots.interfaces import Arm, CameraStream, Gripper, Teleoperator
from ikp.robots.keyboard import Keyboard
from ikp.robots.scripted import ScriptedMouse
from ikp.robots.twin.devices import TwinArm, TwinCamera, TwinGripper, TwinView
from ikp.robots.twin.world import World
from ikp.tasks.registry import task_entry

from .bench import Bench


def test_the_devices_have_the_interfaces():
    bench = Bench()
    mouse = ScriptedMouse(bench.view.update, task_entry("insertion").expert_class(), bench.config)
    assert isinstance(bench.arm, Arm)
    assert isinstance(TwinGripper(bench.world.link), Gripper)
    assert isinstance(TwinCamera(bench.view), CameraStream)
    assert isinstance(mouse, Teleoperator)


def test_a_copy_of_the_scene_shows_the_world_as_it_is():
    world = World("insertion", {}, seed=3)
    view = TwinView("insertion", {}, world.link)
    world.link.motion.write(servo=1.0, q=world.measured() + 0.1, lookahead=0.05)
    for _ in range(100):
        world.step()
    copy = view.update()
    assert copy is not world.env
    ours, theirs = copy.true_state(), world.env.true_state()
    np.testing.assert_allclose(ours.q_true, theirs.q_true)
    np.testing.assert_allclose(ours.block, theirs.block)
    np.testing.assert_allclose(ours.seat, theirs.seat)
    world.link.bench.write(scene=4)
    world.step()
    np.testing.assert_allclose(view.update().true_state().seat, world.env.true_state().seat)


def test_the_camera_sees_the_arm_move_and_delivers_thirty_images_a_second():
    world = World("insertion", {}, seed=3)
    now = [1.0]
    camera = TwinCamera(TwinView("insertion", {}, world.link, world.env), clock=lambda: now[0])
    first = camera.read()
    assert first.image.shape == (96, 96, 3)
    world.link.motion.write(servo=1.0, q=world.measured() + 0.1, lookahead=0.05)
    for _ in range(100):
        world.step()
    assert camera.read() is first
    now[0] = 1.04
    second = camera.read()
    assert second.time == 1.04
    assert np.abs(second.image.astype(int) - first.image).max() > 30


@pytest.mark.parametrize("task", ["sweeping", "two-elbows"])
def test_a_task_with_two_arms_or_without_a_switched_tool_has_no_twin(task):
    with pytest.raises(ValueError, match=f"'{task}' has no twin: one with a single arm and a switched tool"):
        World(task, {})


def teleoperate(bench, mouse, seconds):
    """Whether the scene was finished with success, and the axes over time."""
    scales = np.repeat([bench.config.linear_speed, bench.config.angular_speed], 3)
    axes = []
    limit = bench.controller.now() + seconds
    while bench.controller.now() < limit:
        motion = mouse.read(bench.controller.now())
        axes.append(motion.axes)
        bench.gripper.set(motion.closed)
        bench.controller.send(TipVelocity(motion.axes * scales, bench.controller.now()))
        bench.wait(0.01)
        if bench.world.link.state.read()["ended"][0]:
            break
    return bool(bench.world.link.state.read()["success"][0]), np.stack(axes)


def test_a_simulated_hand_solves_the_task_through_the_controller():
    bench = Bench(on_limit="clip", rate=100.0)
    mouse = ScriptedMouse(bench.view.update, task_entry("insertion").expert_class(), bench.config)
    success, axes = teleoperate(bench, mouse, 40.0)
    assert success
    assert (np.abs(axes) <= 1).all()
    assert np.abs(np.diff(axes, axis=0)).max() < 0.5  # a hand does not jump


def test_the_keyboard_holds_keys_and_gives_the_terminal_back():
    ours, theirs = pty.openpty()
    keyboard = Keyboard(theirs)
    try:
        os.write(ours, b"wr ")
        motion = keyboard.read(1.0)
        np.testing.assert_allclose(motion.axes, [0.4, 0, 0.4, 0, 0, 0])
        assert (motion.closed, motion.in_joint_space, motion.done) == (1.0, False, False)
        assert not keyboard.read(1.5).axes.any()
        os.write(ours, b"\t\n")
        motion = keyboard.read(2.0)
        assert motion.in_joint_space
        assert motion.done
        keyboard.reset()
        assert not keyboard.read(3.0).done
    finally:
        keyboard.close()
        os.close(ours)
    with pytest.raises(OSError, match="needs a terminal"):
        Keyboard(os.open(os.devnull, os.O_RDONLY))


def test_a_twin_arm_follows_within_the_lag_of_its_lookahead():
    world = World("insertion", {})
    arm = TwinArm(world.env.robot, world.link)
    target = arm.state().q + 0.2
    arm.servo(target, 0.004, 0.05, 300.0)
    for _ in range(round(0.5 / world.sim_dt)):
        world.step()
    np.testing.assert_allclose(arm.state().q, target, atol=2e-3)
