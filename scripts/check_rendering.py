"""Exits with 0 when MuJoCo renders a picture off-screen on this machine.

Uses the back end named by the environment variable ``MUJOCO_GL``, or EGL when it is not set.
"""

import os
import sys

os.environ.setdefault("MUJOCO_GL", "egl")

SCENE = """
<mujoco>
  <worldbody>
    <light pos="0 0 3"/>
    <camera name="front" pos="0 -1 0" xyaxes="1 0 0 0 0 1"/>
    <geom type="sphere" size="0.1" rgba="1 0 0 1"/>
  </worldbody>
</mujoco>
"""


def render_sphere():
    """A 64 x 64 picture of a red sphere in front of black."""
    import mujoco

    model = mujoco.MjModel.from_xml_string(SCENE)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    with mujoco.Renderer(model, height=64, width=64) as renderer:
        renderer.update_scene(data, camera="front")
        return renderer.render()


def main() -> int:
    """The exit status: 0 when the sphere is there, otherwise 1 with the reason on standard error."""
    try:
        image = render_sphere()
    except Exception as error:  # whatever a driver or a missing library raises, the answer is no
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    if image[32, 32, 0] > 100 and image[0, 0, 0] < 50:
        return 0
    print(f"the picture is wrong: centre {image[32, 32]}, corner {image[0, 0]}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
