"""Calibration of an arm: offsets and further corrections from measurements, with what they do not show.

- `joint_terms`, `arm`: the parameters as one vector around the nominal arm, with a prior.
- `measurement`: what the solver sees of a measurement. `tip_poses`, `sockets`, `plane` and `upright` are such.
- `solver`: the most probable parameters and their covariance. `identifiability`: what is identified, what hides the
  rest, and the pose that is missing.
- `calibrate` puts them together; `result` and `corrected` hold the outcome as a report, a joint map and a robot.
- `signs`: joints that are read in reverse. `verify`: whether a calibration still holds.
- `tables`, `from_tables`, `files`: files of measured poses, reports and corrected URDFs.

Levenberg-Marquardt over kinematic parameters with a tip measured from outside, or held in place, is the classical
method (Hollerbach and Wampler, "The Calibration Index and Taxonomy for Robot Kinematic Calibration Methods", IJRR
1996); the ball in sockets is MUKCa's (arXiv 2503.12584). Angles are in rad, lengths in m.
"""

from ikp.calibration.arm import ArmModel
from ikp.calibration.calibrate import calibrate
from ikp.calibration.identifiability import Parameter
from ikp.calibration.measurement import Linearised, LinkMeasurement, Measurement
from ikp.calibration.plane import Plane
from ikp.calibration.result import Calibration
from ikp.calibration.sockets import SocketDistances, Sockets
from ikp.calibration.solver import Fit, Problem, solve
from ikp.calibration.tip_poses import TipPoses
from ikp.calibration.upright import Upright
from ikp.calibration.verify import Verification, verify

__all__ = [
    "ArmModel",
    "Calibration",
    "Fit",
    "Linearised",
    "LinkMeasurement",
    "Measurement",
    "Parameter",
    "Plane",
    "Problem",
    "SocketDistances",
    "Sockets",
    "TipPoses",
    "Upright",
    "Verification",
    "calibrate",
    "solve",
    "verify",
]
