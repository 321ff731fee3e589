"""`ikp calibrate` end to end, and one clear line for every bad file."""

import csv
import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

import ikp
from ikp import cli
from ikp.calibration.tables import read_poses
from simulated_arms import TrueArm


def write(path, arm, q, position=None, labels=None, unit="_deg", length="_mm"):
    """A CSV file of poses in degrees and millimetres."""
    columns = {f"{name}{unit}": np.degrees(q[:, i]) for i, name in enumerate(arm.robot.joint_names)}
    if position is not None:
        columns |= {f"{axis}{length}": 1000 * position[:, i] for i, axis in enumerate("xyz")}
    if labels is not None:
        columns["socket"] = labels
    with Path(path).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(list(columns))
        writer.writerows(zip(*columns.values(), strict=True))
    return str(path)


def failed(capsys, *arguments):
    capsys.readouterr()
    assert cli.main(["calibrate", *map(str, arguments)]) == 1
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("ikp: error: ")
    return line


def poses_of(path, arm, count):
    poses = arm.tip_poses(count, rotations=False)
    return write(path, arm, poses.q, poses.position)


def test_from_poses_to_a_joint_map_a_urdf_and_a_verification(capsys):
    arm = TrueArm("ur5e")
    assert (
        cli.main(
            [
                "calibrate",
                "--robot",
                "ur5e",
                "--poses",
                poses_of("tips.csv", arm, 30),
                "--out",
                "arm.json",
                "--urdf",
                "arm.urdf",
            ]
        )
        == 0
    )
    shown = capsys.readouterr().out
    assert (
        "wrist_3_joint        offset  0 deg        -          not identified: these measurements do not depend on it"
        in shown
    )
    joint_map = ikp.JointMap.load("arm.json")
    offsets = [one.offset for one in joint_map.state]
    np.testing.assert_allclose(offsets[:5], arm.beta[:5], atol=math.radians(0.1))
    report = json.loads(Path("arm.report.json").read_text())
    assert report["provenance"]["command"]
    assert [one["identified"] for one in report["parameters"]] == [True] * 5 + [False]
    corrected = ikp.load_robot("arm.urdf")
    q = torch.from_numpy(arm.q(20))
    reached = ikp.forward_kinematics(corrected, q)[:, corrected.link_index("flange"), :3, 3].numpy()
    np.testing.assert_allclose(reached, arm.poses(q.numpy())[:, :3, 3], atol=1e-3)

    verify = ["calibrate", "--robot", "ur5e", "--verify", "arm.json", "--poses"]
    assert cli.main([*verify, poses_of("five.csv", arm, 5)]) == 0
    arm.beta[2] += math.radians(0.5)
    with pytest.raises(SystemExit) as ended:
        cli.main([*verify, poses_of("later.csv", arm, 5)])
    assert ended.value.code == 1
    assert "most likely drifted: elbow_joint by " in capsys.readouterr().out


def test_a_ball_in_sockets_and_a_plane_from_files(capsys):
    arm = TrueArm("ur5e", 1)
    ball = arm.sockets({"a": (-0.45, -0.2, 0.15), "b": (-0.45, 0.0, 0.15)}, 30)
    sockets = write("ball.csv", arm, ball.q, labels=ball.labels)
    plane = write("plane.csv", arm, arm.plane(0.05, 20).q)
    command = ["calibrate", "--robot", "ur5e", "--sockets", sockets, "--plane", plane]
    assert cli.main([*command, "--distance", "a,b=200mm", "--out", "arm.json"]) == 0
    shown = capsys.readouterr().out
    assert "offset from ball in 2 sockets (30), known distances (1), touching the plane (20)" in shown
    report = json.loads(Path("arm.report.json").read_text())
    assert np.linalg.norm(
        np.subtract(report["unknowns"]["socket a"], report["unknowns"]["socket b"])
    ) == pytest.approx(0.2, abs=1e-4)
    assert "--distance names c" in failed(capsys, *command[1:], "--distance", "a,c=200mm")
    assert "write A,B=LENGTH" in failed(capsys, *command[1:], "--distance", "a,c=0.2")
    assert "no column 'socket'" in failed(capsys, "--robot", "ur5e", "--sockets", plane)


def test_json_and_rotations_of_three_kinds_are_read_alike():
    arm = TrueArm("ur5e")
    rotation = {
        "quaternion": {"qw": math.cos(0.2), "qx": 0.0, "qy": 0.0, "qz": math.sin(0.2)},
        "vector": {"rx_rad": 0.0, "ry_rad": 0.0, "rz_rad": 0.4},
        "rpy": {"roll_deg": 0.0, "pitch_deg": 0.0, "yaw [deg]": math.degrees(0.4)},
    }
    joints = {f"{name} [rad]": 0.1 * i for i, name in enumerate(arm.robot.joint_names)}
    for turned in rotation.values():
        row = {**joints, "x_m": 0.1, "y_m": 0.2, "z_m": 0.3, **turned}
        Path("poses.json").write_text(json.dumps({"poses": [row]}))
        table = read_poses("poses.json", arm.robot)
        np.testing.assert_allclose(table.q[0], 0.1 * np.arange(6))
        np.testing.assert_allclose(table.position[0], (0.1, 0.2, 0.3))
        expected = [[math.cos(0.4), -math.sin(0.4), 0], [math.sin(0.4), math.cos(0.4), 0], [0, 0, 1]]
        np.testing.assert_allclose(table.rotation[0], expected, atol=1e-12)


def test_columns_in_any_order_are_matched_by_name():
    arm = TrueArm("ur5e")
    poses = arm.tip_poses(4, rotations=False)
    one = read_poses(write("a.csv", arm, poses.q, poses.position), arm.robot)
    rows = [line.split(",") for line in Path("a.csv").read_text().splitlines()]
    with Path("b.csv").open("w", newline="") as file:
        csv.writer(file).writerows([row[::-1] for row in rows])
    np.testing.assert_array_equal(read_poses("b.csv", arm.robot).q, one.q)
    np.testing.assert_allclose(one.q, poses.q, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("_deg", "_rad"), "said to be in rad, but reaches"),
        (("_mm", "_m"), "give their true unit"),
        (("x_mm", "x"), "needs its unit: name it x_m or x_mm"),
        (("x_mm", "u"), "columns for y, z, but not for all"),
        (("elbow_joint_deg", "knee_deg"), "no column for the joints elbow_joint of robot 'ur5e'"),
        (("y_mm", "x_mm"), "a name is there twice"),
        ((".", ".x"), "give a finite number"),
        (("\n", ",7\n"), "pose 1 has 10 values for 9 names"),
    ],
)
def test_bad_files_are_refused_with_the_fix(change, message, capsys):
    arm = TrueArm("ur5e")
    poses_of("good.csv", arm, 12)
    head, *rows = Path("good.csv").read_text().splitlines()
    if change[0] in head:
        head = head.replace(*change)
    else:
        rows = [row.replace(*change) if change[0] != "\n" else f"{row},7" for row in rows]
    Path("bad.csv").write_text("\n".join([head, *rows]))
    line = failed(capsys, "--robot", "ur5e", "--poses", "bad.csv")
    assert "bad.csv" in line
    assert message in line


def test_bad_arguments_are_refused_with_the_fix(capsys):
    arm = TrueArm("ur5e")
    good = ["--robot", "ur5e", "--poses", poses_of("good.csv", arm, 12)]
    assert "no column for the joints joint_1" in failed(capsys, "--robot", "iiwa14", *good[2:])
    assert "there are no measurements" in failed(capsys, "--robot", "ur5e")
    assert "no file 'none.csv'" in failed(capsys, "--robot", "ur5e", "--poses", "none.csv")
    assert "such as 0.1mm" in failed(capsys, *good, "--noise", "0.1")
    assert "one length and one angle" in failed(capsys, *good, "--noise", "1mm", "2mm")
    assert "choose any of offset" in failed(capsys, *good, "--estimate", "zero")
    assert "leave out --joint-map" in failed(capsys, *good, "--verify", "arm.json", "--out", "b.json")
    assert "estimates nothing" in failed(capsys, *good, "--verify", "arm.json", "--estimate", "scale")
    assert "there is no joint map" in failed(capsys, *good, "--verify", "arm.json")
    assert "between sockets" in failed(capsys, *good, "--distance", "a,b=2mm")
    assert "add 1 pose" in failed(capsys, *good[:2], "--poses", poses_of("two.csv", arm, 2))
    assert cli.main(["calibrate", *good, "--out", "arm.json"]) == 0
    report = json.loads(Path("arm.report.json").read_text())
    for damage in ({"covariance": [[1.0]]}, {"joints": ["a"]}, {"parameters": [1]}, {"terms": ["links"]}):
        Path("arm.report.json").write_text(json.dumps({**report, **damage}))
        assert "arm.report.json" in failed(capsys, *good, "--verify", "arm.json")


def test_rows_that_a_logger_wrote_twice_count_once(capsys):
    arm = TrueArm("ur5e")
    once = poses_of("tips.csv", arm, 12)
    lines = Path(once).read_text().splitlines()
    Path("twice.csv").write_text("\n".join([lines[0], *(line for line in lines[1:] for _ in range(10))]))
    with pytest.warns(UserWarning, match="108 of 120 poses repeat another one"):
        table = read_poses("twice.csv", arm.robot)
    np.testing.assert_array_equal(table.q, read_poses(once, arm.robot).q)


def test_columns_that_hold_the_same_and_sockets_without_a_name_are_refused(capsys):
    arm = TrueArm("ur5e")
    q, place = arm.q(12), np.zeros((12, 3))
    text = Path(write("tips.csv", arm, q, place)).read_text().splitlines()
    Path("both.csv").write_text("\n".join([text[0] + ",x_m", *(line + ",0.1" for line in text[1:])]))
    assert "the columns x_mm and x_m hold the same: keep one" in failed(
        capsys, "--robot", "ur5e", "--poses", "both.csv"
    )
    write("ball.csv", arm, q, labels=["left", *[""] * 11])
    assert "pose 2 names no socket" in failed(capsys, "--robot", "ur5e", "--sockets", "ball.csv")


def test_tabs_separate_columns_and_a_decimal_comma_is_told(capsys):
    arm = TrueArm("ur5e")
    path = Path(poses_of("tips.csv", arm, 10))
    text = path.read_text()
    path.with_name("tabs.tsv").write_text(text.replace(",", "\t"))
    np.testing.assert_array_equal(read_poses("tabs.tsv", arm.robot).q, read_poses(path, arm.robot).q)
    path.write_text(text.replace(",", ";").replace(".", ","))
    assert "write a decimal point" in failed(capsys, "--robot", "ur5e", "--poses", path)


def test_wrong_distances_and_a_length_as_noise_of_turning_joints_are_told(capsys):
    arm = TrueArm("ur5e", 1)
    ball = arm.sockets({"a": (-0.45, -0.2, 0.15), "b": (-0.45, 0.0, 0.15)}, 30)
    command = ["--robot", "ur5e", "--sockets", write("ball.csv", arm, ball.q, labels=ball.labels)]
    for wrong in ("201", "210", "300"):
        line = failed(capsys, *command, "--distance", f"a,b={wrong}mm")
        assert f"'a' and 'b' is given as {wrong}.000 +- 0.050 mm, the poses show " in line
        assert float(line.partition("show ")[2].partition(" ")[0]) == pytest.approx(200, abs=0.4)
    assert cli.main(["calibrate", *command, "--distance", "a,b=201+-1mm"]) == 0
    assert "positive standard deviation" in failed(capsys, *command, "--distance", "a,b=200+-0mm")
    assert "write A,B=LENGTH" in failed(capsys, *command, "--distance", "a,b=200+-mm")
    line = failed(capsys, *command, "--joint-noise", "1mm")
    assert "no joint of 'ur5e' can slide: give an angle" in line


def test_touches_of_no_plane_are_refused(capsys):
    arm = TrueArm("ur5e", 1)
    held = arm.sockets({"point": (-0.45, -0.2, 0.15)}, 20)
    line = failed(capsys, "--robot", "ur5e", "--plane", write("point.csv", arm, held.q), "--out", "arm.json")
    assert "explains the touching the plane" in line
    assert not Path("arm.json").exists()


def test_a_socket_that_a_slip_of_the_pen_made_is_refused(capsys):
    arm = TrueArm("ur5e", 1)
    ball = arm.sockets({"a": (-0.45, -0.2, 0.15), "b": (-0.45, 0.0, 0.15)}, 12)
    for wrong, message in (("aa", "one touch of the socket 'aa'"), ("A", "the sockets 'a' and 'A'")):
        labels = [*ball.labels]
        labels[3] = wrong
        line = failed(capsys, "--robot", "ur5e", "--sockets", write("ball.csv", arm, ball.q, labels=labels))
        assert message in line
        assert "'a' (5), " in line


def test_the_report_tells_large_offsets_and_an_overstated_noise(capsys):
    arm = TrueArm("ur5e")
    arm.beta[1] += math.radians(20)
    poses = arm.tip_poses(30)
    found = ikp.calibrate(arm.robot, [dataclasses.replace(poses, position_noise=1e-2, rotation_noise=1e-2)])
    assert "shoulder_lift_joint by 18 deg: encoders are not off by as much" in str(found)
    assert "% of the stated noise" in str(found)


def test_a_map_without_its_report_is_taken_as_exact(capsys):
    arm = TrueArm("ur5e")
    assert (
        cli.main(["calibrate", "--robot", "ur5e", "--poses", poses_of("a.csv", arm, 30), "--out", "arm.json"])
        == 0
    )
    Path("arm.report.json").unlink()
    cli.main(["calibrate", "--robot", "ur5e", "--verify", "arm.json", "--poses", poses_of("b.csv", arm, 5)])
    assert "no arm.report.json beside it: its offsets are taken as exact" in capsys.readouterr().out
