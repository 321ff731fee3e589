"""Forward kinematics of all links and its gradient, float32, beside other libraries and a copy of the output.

.venv/bin/python benchmarks/bench_kinematics.py [--threads N] [--sizes 1 64 4096 65536]

Writes results/bench/kinematics.json; with one thread results/bench/kinematics_1_thread.json. Forward is every
link's pose from q; forward and gradient adds d<G, T>/dq for given weights G of all poses T. Sequential is what
a policy asks that chooses joint after joint: for each joint in turn, the pose of its link's far end for 256
candidates of 128 examples. Before anything is timed, the peers' poses and gradients are compared with ours.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import torch
from torch import Tensor

from common import (
    Contender,
    Row,
    command_line,
    keep_freed_memory,
    measure,
    missing,
    not_run,
    or_reason,
    write_rows,
)
from ikp.kinematics import PrefixPose, Robot, forward_kinematics, iiwa14, ur5e
from kinematics_peers import PEERS, Peer

EXAMPLES, CANDIDATES = 128, 256
POSES_AGREE, GRADIENTS_AGREE = 5e-6, 1e-4


def batch(robot: Robot, n: int, device: str = "cpu") -> tuple[Tensor, Tensor]:
    """Joint positions (n, dof) and weights (n, link, 4, 4) in the memory layout of the poses."""
    q = robot.random_q((n,), dtype=torch.float32).to(device)
    return q, torch.randn_like(forward_kinematics(robot, q))


def ours(robot: Robot, q: Tensor, G: Tensor) -> Peer:
    leaf = q.clone().requires_grad_()

    def gradient() -> Tensor:
        return torch.autograd.grad(forward_kinematics(robot, leaf), leaf, G)[0]

    return Peer(
        lambda: forward_kinematics(robot, q), lambda: forward_kinematics(robot, q), gradient, gradient
    )


def built(name: str, robot: Robot, q: Tensor, G: Tensor) -> Peer | str:
    """That peer for this batch, or why it cannot be run."""
    try:
        return PEERS[name](robot, q, G)
    except ModuleNotFoundError as error:
        return missing(error)
    except NotImplementedError as error:
        return str(error)


def peers_on(device: str) -> list[str]:
    return [name for name in PEERS if device == "cpu" or name.startswith("pytorch_kinematics")]


def check_agreement(robot: Robot, device: str = "cpu") -> None:
    """Every installed peer gives our poses and gradients, or the benchmark ends here."""
    q, G = batch(robot, 64, device)
    mine = ours(robot, q, G)
    for name in peers_on(device):
        peer = built(name, robot, q, G)
        if isinstance(peer, str):
            continue
        compare(f"poses of {robot.name} by {name}", peer.poses(), mine.poses(), POSES_AGREE)
        if peer.gradient and mine.gradient:
            compare(f"gradient of {robot.name} by {name}", peer.gradient(), mine.gradient(), GRADIENTS_AGREE)


def compare(what: str, theirs: Tensor, expected: Tensor, allowed: float) -> None:
    off = ((theirs - expected).abs().max() / expected.abs().max().clamp_min(1)).item()
    if not off <= allowed:
        raise SystemExit(f"the {what} is not ours: off by {off:.2g}, allowed {allowed:g}")


def all_links(robot: Robot, sizes: list[int], device: str = "cpu") -> list[Row]:
    """Forward at every size, then forward and gradient."""
    label = robot.name if device == "cpu" else f"{robot.name} on the GPU"
    rows = []
    for work, title in (("forward", "forward"), ("forward_and_gradient", "forward and gradient")):
        for n in sizes:
            q, G = batch(robot, n, device)
            contenders = {"ours": getattr(ours(robot, q, G), work)}
            for name in peers_on(device):
                peer = built(name, robot, q, G)
                contenders[name] = (
                    peer if isinstance(peer, str) else getattr(peer, work) or "it has no gradient"
                )
            contenders["copy of the poses"] = G.clone
            unit = "us" if n < 4096 else "ms"
            rows.append(measure(f"{title}, {label}", f"batch {n}", contenders, unit=unit, device=device))
    return rows


def sequential(robot: Robot) -> Row:
    """Every joint in turn: our incremental form, and full kinematics of every candidate."""
    q = robot.random_q((EXAMPLES,), dtype=torch.float32)
    candidates = robot.random_q((EXAMPLES, CANDIDATES), dtype=torch.float32)
    candidates = [positions.contiguous() for positions in candidates.unbind(-1)]
    chosen = q.unbind(-1)

    def incremental() -> list[Tensor]:
        prefix = PrefixPose(robot, (EXAMPLES,))
        poses = []
        for j in range(robot.dof):
            poses.append(prefix.arc(j).at(candidates[j]))
            prefix.commit(j, chosen[j])
        return poses

    batches = []
    for j in range(robot.dof):
        full = q[:, None].expand(EXAMPLES, CANDIDATES, robot.dof).clone()
        full[..., j] = candidates[j]
        batches.append(full.reshape(-1, robot.dof))
    for j, (poses, q_j) in enumerate(zip(incremental(), batches, strict=True)):
        full = forward_kinematics(robot, q_j)[:, robot.joint_links[j], :3, :3]
        compare(f"incremental form of {robot.name}", poses[..., :3].reshape(full.shape), full, POSES_AGREE)

    def full_kinematics(build: Callable[[Robot, Tensor, Tensor], Peer]) -> Callable[[], object]:
        unused = torch.zeros(1, len(robot.links), 4, 4).expand(len(batches[0]), -1, -1, -1)
        peers = [build(robot, q_j, unused) for q_j in batches]
        return lambda: [peer.forward() for peer in peers]

    contenders: dict[str, Contender] = {"ours": incremental, "ours, full kinematics": full_kinematics(ours)}
    for name in ("pytorch_kinematics, compiled", "pytorch_kinematics, dictionary", "JAX, jitted"):
        contenders[name] = or_reason(lambda name=name: full_kinematics(PEERS[name]))
    outputs = incremental()
    contenders["copy of the poses"] = lambda: [poses.clone() for poses in outputs]
    size = f"{robot.dof} joints, {EXAMPLES} x {CANDIDATES} candidates"
    return measure(f"sequential, {robot.name}", size, contenders)


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 64, 4096, 65536])
    args = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    if args.threads == 1:  # JAX reads it when it starts
        os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    keep_freed_memory()
    rows = []
    for robot in (iiwa14(), ur5e()):
        check_agreement(robot)
        rows += all_links(robot, args.sizes)
    rows.append(sequential(iiwa14()))
    if torch.cuda.is_available():
        check_agreement(iiwa14(), "cuda")
        rows += all_links(iiwa14(), args.sizes, "cuda")
    else:
        rows.append(not_run("forward and gradient, iiwa14 on the GPU", "", "torch finds no GPU"))
    write_rows("kinematics", "Kinematics of all links", rows)


if __name__ == "__main__":
    main()
