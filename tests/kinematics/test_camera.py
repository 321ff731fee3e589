"""The pinhole camera: against its definition, round trips, gradients, files, errors. MuJoCo's pixels: tests/tasks."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch

from ikp.kinematics import Camera, back_project, project
from ikp.kinematics.rotations import inverse_pose

CAMERA = Camera.look_at((1.2, -0.4, 1.1), (0.4, 0.1, 0.05), fovy=30.0, width=120, height=80)


def points(count: int = 50) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    middle = torch.tensor([0.4, 0.1, 0.05], dtype=torch.float64)
    return middle + 0.3 * (torch.rand(count, 3, generator=generator, dtype=torch.float64) - 0.5)


def test_projection_is_the_pinholes_definition():
    T_camera_base = torch.linalg.inv(CAMERA.pose())
    p = points()
    in_camera = p @ T_camera_base[:3, :3].T + T_camera_base[:3, 3]
    expected = torch.stack(
        [
            CAMERA.fx * in_camera[:, 0] / in_camera[:, 2] + CAMERA.cx,
            CAMERA.fy * in_camera[:, 1] / in_camera[:, 2] + CAMERA.cy,
        ],
        -1,
    )
    torch.testing.assert_close(project(CAMERA.intrinsics(), CAMERA.pose(), p), expected)


def test_look_at_puts_the_target_in_the_middle_and_up_upwards():
    K, T = CAMERA.intrinsics(), CAMERA.pose()
    target = torch.tensor([0.4, 0.1, 0.05], dtype=torch.float64)
    torch.testing.assert_close(project(K, T, target), torch.tensor([60.0, 40.0], dtype=torch.float64))
    higher = project(K, T, target + torch.tensor([0.0, 0.0, 0.05], dtype=torch.float64))
    assert higher[1] < 39
    assert float(higher[0]) == pytest.approx(60.0)


def test_pixels_come_back_to_their_plane():
    K, T = CAMERA.intrinsics(), CAMERA.pose()
    for height in (0.0, 0.05, -0.2):
        p = points()
        p[:, 2] = height
        back = back_project(K, T, project(K, T, p), height)
        torch.testing.assert_close(back, p[:, :2], atol=1e-10, rtol=0)


def test_gradients_equal_finite_differences():
    inputs = [x.requires_grad_(True) for x in (CAMERA.intrinsics(), CAMERA.pose(), points(3))]
    assert torch.autograd.gradcheck(project, inputs)
    K, T, _ = inputs
    pixels = torch.tensor([[30.0, 50.0], [100.0, 20.0]], dtype=torch.float64, requires_grad=True)
    height = torch.tensor(0.03, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(back_project, [K, T, pixels, height])


def test_points_behind_the_camera_stay_finite():
    behind = torch.tensor([[3.0, -1.0, 3.0]], dtype=torch.float64, requires_grad=True)
    pixels = project(CAMERA.intrinsics(), CAMERA.pose(), behind)
    pixels.sum().backward()
    assert pixels.isfinite().all()
    assert behind.grad is not None
    assert behind.grad.isfinite().all()


def test_a_resized_camera_sees_the_same():
    half = CAMERA.resized(40, 60)
    p = points()
    full = project(CAMERA.intrinsics(), CAMERA.pose(), p)
    torch.testing.assert_close(project(half.intrinsics(), half.pose(), p), full / 2)


def test_a_displaced_camera_moves_along_and_turns_about_its_own_axes():
    moved = CAMERA.displaced((0.1, 0.0, 0.02), (0.0, 0.0, math.pi / 2))
    # the camera's own x axis seen from where it was: turned to y; its origin 10 cm to the right, 2 cm ahead
    relative = inverse_pose(CAMERA.pose()) @ moved.pose()
    expected = torch.tensor(
        [[0, -1, 0, 0.1], [1, 0, 0, 0], [0, 0, 1, 0.02], [0, 0, 0, 1]], dtype=torch.float64
    )
    torch.testing.assert_close(relative, expected)
    assert moved.intrinsics().equal(CAMERA.intrinsics())


def test_files(tmp_path):
    path = tmp_path / "camera.json"
    path.write_text(json.dumps(CAMERA.to_json()))
    assert Camera.load(path) == CAMERA
    path.write_text(json.dumps({"fx": 1.0}))
    with pytest.raises(ValueError, match="camera.json is no camera: a camera has the keys"):
        Camera.load(path)
    path.write_text("[1]")
    with pytest.raises(ValueError, match="holds a list"):
        Camera.load(path)


def test_wrong_values():
    with pytest.raises(ValueError, match="fx is 0.0: it must be a positive number"):
        replace(CAMERA, fx=0.0)
    with pytest.raises(ValueError, match="it must be a pose"):
        replace(CAMERA, T_base_camera=((2.0, 0, 0, 0), (0, 1.0, 0, 0), (0, 0, 1.0, 0), (0, 0, 0, 1.0)))
    with pytest.raises(ValueError, match="it must be 4 x 4"):
        replace(CAMERA, T_base_camera=((1.0, 0.0), (0.0, 1.0)))
    with pytest.raises(ValueError, match="lie above each other"):
        Camera.look_at((0, 0, 1), (0, 0, 0), fovy=30, width=4, height=4)
    with pytest.raises(ValueError, match="between 0 and 180"):
        Camera.look_at((1, 0, 1), (0, 0, 0), fovy=180, width=4, height=4)
