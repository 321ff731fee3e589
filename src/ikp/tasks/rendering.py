"""Offscreen rendering of MuJoCo scenes with one OpenGL context per process, scene, size and quality."""

from __future__ import annotations

import importlib
import os
import sys
from contextlib import suppress
from dataclasses import dataclass

import mujoco
import numpy as np
from jaxtyping import UInt8

_PLATFORMS = {"egl": "mujoco.egl", "osmesa": "mujoco.osmesa", "glfw": "mujoco.glfw", "cgl": "mujoco.cgl"}


@dataclass(frozen=True)
class RenderQuality:
    """Settings that MuJoCo fixes when it creates a context: tessellation (the largest cost), samples, shadows."""

    slices: int
    stacks: int
    samples: int
    shadow_size: int


FAST = RenderQuality(slices=8, stacks=6, samples=0, shadow_size=0)
NICE = RenderQuality(slices=28, stacks=14, samples=4, shadow_size=1536)


class OffscreenRenderer:
    """Renderer for the states of all models that were compiled from the same scene.

    MuJoCo's own Renderer selects its OpenGL platform when `mujoco` is first imported, this class when it is
    created: the environment variable MUJOCO_GL if set, otherwise EGL on Linux, which needs no display.

    Args:
        model: A model of the scene; its rendering settings change during construction only.
        height: Image height [pixel].
        width: Image width [pixel].
        quality: Tessellation, samples and shadows.

    Raises:
        RuntimeError: No OpenGL context could be created.
    """

    def __init__(self, model: mujoco.MjModel, height: int, width: int, quality: RenderQuality):
        self._model = model
        self._closed = True  # until there is something to free
        self._gl, self._context = _create_contexts(model, height, width, quality)
        self._closed = False
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._scene = mujoco.MjvScene(model, maxgeom=1000)
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = quality.shadow_size > 0
        self._scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = False
        self._option, self._camera = mujoco.MjvOption(), mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._rect = mujoco.MjrRect(0, 0, width, height)
        self._buffer = np.empty((height, width, 3), dtype=np.uint8)

    def render(self, data: mujoco.MjData, camera: str) -> UInt8[np.ndarray, "height width 3"]:
        """RGB image (height, width, 3) uint8 of `data` seen by the named camera."""
        self._gl.make_current()
        self._camera.fixedcamid = self._model.camera(camera).id
        mujoco.mjv_updateScene(
            self._model, data, self._option, None, self._camera, mujoco.mjtCatBit.mjCAT_ALL, self._scene
        )
        mujoco.mjr_render(self._rect, self._scene, self._context)
        mujoco.mjr_readPixels(self._buffer, None, self._rect, self._context)
        return self._buffer[::-1].copy()  # OpenGL's first row is the lowest

    def close(self) -> None:
        """Free the contexts; the renderer cannot be used afterwards."""
        # MuJoCo deletes the OpenGL objects of the current context, so this renderer's context must be current.
        if not self._closed:
            self._closed = True
            self._gl.make_current()
            self._context.free()
            self._gl.free()

    def __del__(self):
        if not sys.is_finalizing():
            self.close()


def _create_contexts(model: mujoco.MjModel, height: int, width: int, quality: RenderQuality):
    """Create an OpenGL context, make it current and create MuJoCo's rendering context in it."""
    # Triton, which torch for GPUs brings, has an LLVM of its own and crashes if Mesa has loaded another one before
    with suppress(ImportError):
        importlib.import_module("triton._C.libtriton")
    setting = model.vis.quality
    saved = (setting.numslices, setting.numstacks, setting.offsamples, setting.shadowsize)
    setting.numslices, setting.numstacks = quality.slices, quality.stacks
    setting.offsamples, setting.shadowsize = quality.samples, max(quality.shadow_size, 1)
    model.vis.global_.offheight, model.vis.global_.offwidth = height, width
    default = "egl" if sys.platform.startswith("linux") else ""
    platform = os.environ.get("MUJOCO_GL", "").lower() or default
    try:
        gl = importlib.import_module(_PLATFORMS.get(platform, "mujoco.gl_context")).GLContext(width, height)
        gl.make_current()
        return gl, mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
    except Exception as error:  # its type depends on the platform
        raise RuntimeError(
            f"no OpenGL context for offscreen rendering with MUJOCO_GL={platform or 'default'} ({error}). "
            "On Debian or Ubuntu install EGL: apt-get install libegl1 libgl1-mesa-dri; or install libosmesa6 "
            "and set MUJOCO_GL=osmesa. Observations without images (observation='state') need neither."
        ) from error
    finally:
        setting.numslices, setting.numstacks, setting.offsamples, setting.shadowsize = saved


_renderers: dict[tuple, OffscreenRenderer] = {}


def shared_renderer(
    scene: str, model: mujoco.MjModel, height: int, width: int, quality: RenderQuality
) -> OffscreenRenderer:
    """The process's renderer for a scene, image size and quality; the first call creates it.

    Contexts are expensive and limited in number, so all environments of one scene share them. Models under one
    scene name may differ in state but not in geoms or cameras.

    Raises:
        RuntimeError: No OpenGL context, or the process is a fork of one that rendered.
    """
    key = (os.getpid(), scene, height, width, quality)
    if any(pid != os.getpid() for pid, *_ in _renderers):
        raise RuntimeError(
            "this process is a fork of one that had already rendered; OpenGL contexts do not survive that. "
            "Start processes with multiprocessing.get_context('spawn'), or render only in the children."
        )
    if key not in _renderers:
        _renderers[key] = OffscreenRenderer(model, height, width, quality)
    return _renderers[key]
