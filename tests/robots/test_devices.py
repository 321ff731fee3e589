"""Drivers of camera, mouse and gripper, over stand-ins for their libraries and sockets."""

import socket
import sys
import threading
import time
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from faulty_session import camera_library
from ikp.robots.config import ControllerConfig
from ikp.robots.extras import PACKAGES, load
from ikp.robots.grippers import RobotiqGripper
from ikp.robots.interfaces import CameraStream
from ikp.robots.realsense import RealSense
from ikp.robots.shared import SharedNumbers
from ikp.robots.spacemouse import SpaceMouse
from ikp.robots.station import open_station

from .bench import wait_for


@pytest.mark.parametrize("module", PACKAGES)
def test_a_missing_module_is_named_with_its_package_and_extra(module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    package, extra = PACKAGES[module]
    with pytest.raises(
        OSError, match=rf"my device needs the package {package}, .*pip install 'ikp\[{extra}\]'"
    ):
        load(module, "my device")


def test_the_camera_delivers_the_newest_image_until_it_freezes_and_is_lost(monkeypatch):
    switches = SharedNumbers(None, {"frozen": 1})
    monkeypatch.setitem(sys.modules, "pyrealsense2", camera_library(switches))
    monkeypatch.setattr("ikp.robots.realsense.WAIT", 200)
    camera = RealSense()
    assert isinstance(camera, CameraStream)
    first = camera.read()
    assert first.image.shape == (480, 640, 3)
    wait_for(lambda: camera.read().time > first.time)
    switches.write(frozen=1.0)
    with pytest.raises(
        OSError, match=r"RealSense camera is lost \(Frame didn't arrive within 200\): check the cable"
    ):
        wait_for(lambda: camera.taken_at() == np.inf)
    camera.close()


def test_an_image_has_the_time_of_its_stamp_where_that_is_of_this_clock(monkeypatch):
    switches = SharedNumbers(None, {"frozen": 1, "late": 1})
    switches.write(late=0.4)
    library = camera_library(switches)
    monkeypatch.setitem(sys.modules, "pyrealsense2", library)
    camera = RealSense()
    assert 0.3 < time.monotonic() - camera.taken_at() < 5.0
    library.timestamp_domain.system_time = library.timestamp_domain.global_time = None  # its own clock
    before = time.monotonic()
    wait_for(lambda: camera.taken_at() > before)
    camera.close()


class Reports:
    """A SpaceMouse whose library takes one report at a time."""

    def __init__(self):
        self.waiting, self.state = (
            [],
            SimpleNamespace(t=0.0, x=0.0, y=0.0, z=0.0, roll=0.0, pitch=0.0, yaw=0.0, buttons=[0, 0]),
        )

    def read(self):
        if self.waiting:
            report = self.waiting.pop(0)
            if isinstance(report, Exception):
                raise report
            vars(self.state).update(report, t=self.state.t + 1.0)
        return self.state

    def close(self):
        pass


@pytest.fixture
def mouse(monkeypatch):
    reports, library = Reports(), ModuleType("pyspacemouse")
    library.open = lambda: reports
    monkeypatch.setitem(sys.modules, "pyspacemouse", library)
    return SpaceMouse(), reports


def test_the_mouse_is_read_up_to_its_newest_report(mouse):
    device, reports = mouse
    reports.waiting = [{"y": k / 10} for k in range(11)]
    assert device.read(0.0).axes[0] == 1.0
    assert not reports.waiting
    reports.waiting = [{"y": 0.0}, {"buttons": [1, 0]}, {"x": -1.0}]
    motion = device.read(0.01)
    np.testing.assert_allclose(motion.axes, [0, 1, 0, 0, 0, 0])
    assert motion.closed == 1.0


def test_a_mouse_that_is_pulled_out_is_lost(mouse):
    device, reports = mouse
    reports.waiting = [OSError("read error")]
    with pytest.raises(OSError, match=r"the SpaceMouse is lost \(read error\): check its cable"):
        device.read(0.0)


def test_a_gripper_that_falls_silent_is_named(monkeypatch):
    monkeypatch.setattr("ikp.robots.grippers.TIMEOUT", 0.3)
    listener = socket.create_server(("127.0.0.46", 0))

    def answer():
        connection, _ = listener.accept()
        with connection:
            for reply in (b"STA 3\n", b"ack\n", b"POS 51\n"):
                connection.recv(100)
                connection.sendall(reply)
            time.sleep(2.0)

    threading.Thread(target=answer, daemon=True).start()
    gripper = RobotiqGripper("127.0.0.46", listener.getsockname()[1])
    assert gripper.read() == 0.2
    with pytest.raises(OSError, match=r"the gripper at 127\.0\.0\.46:\d+ is lost \(timed out\): check"):
        gripper.read()
    gripper.close()
    listener.close()


@pytest.mark.parametrize(
    ("module", "library"), [("pyrealsense2", "libusb-1.0-0"), ("pyspacemouse", "libhidapi-hidraw0")]
)
def test_a_missing_library_of_the_system_is_named_with_its_package(module, library, monkeypatch, tmp_path):
    (tmp_path / f"{module}.py").write_text("raise ImportError('lib.so.0: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(
        OSError, match=rf"installed, but does not load .*cannot open.*sudo apt install {library}"
    ):
        load(module, "my device")


def test_an_address_at_which_nothing_answers_is_told_soon(monkeypatch):
    monkeypatch.setattr("ikp.robots.station.CONNECTING", 0.2)
    monkeypatch.setattr("ikp.robots.station.load", lambda *_: None)

    def silent(where, seconds):
        assert where == ("10.255.255.1", 30004)
        assert seconds == 0.2
        raise TimeoutError("timed out")

    monkeypatch.setattr("socket.create_connection", silent)
    with pytest.raises(
        OSError, match=r"no UR controller answers at 10\.255\.255\.1.*\(timed out\): check the address"
    ):
        open_station("ur5e:10.255.255.1", ControllerConfig())
