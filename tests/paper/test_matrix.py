"""The run matrix holds the paper's cells, gives every method the same recipe, and shares what tables have in common."""

from dataclasses import replace

import pytest

from ikp import runs
from ikp.data import load_dataset
from ikp.policies import make_policy
from ikp.policies.config import METHODS
from ikp.policies.policy import batch_to
from ikp.recipes import METHOD_NAMES, PRESETS, preset
from ikp.runs import task_of_data
from ikp.tasks import registered_tasks
from ikp.training.trainer import train
from ikp_paper.execute import rough_cameras
from ikp_paper.matrix import TABLES, TARGETS, Cell, Column, check_target
from ikp_paper.reproduce import Reproduce
from ikp_paper.run import data_sets, plan, resolve
from ikp_paper.variants import ROUGH_METRES, VARIANTS

TASKS = [entry.name for entry in registered_tasks() if entry.env_id.startswith("ikp/")]


def test_the_papers_tables_are_21_cells_and_63_trainings():
    tables = [TABLES["table1"], TABLES["table2"]]
    assert [len(table.cells) for table in tables] == [6, 15]
    assert sum(len(plan(table, "standard", range(3))) for table in tables) == 63
    assert all(cell.published is not None for table in tables for cell in table.cells)


def test_the_abstracts_figures_are_in_the_tables():
    assert TABLES["table1"].cell(Column("sweeping", 1000), "ikp").published == (85.9, 1.5)
    assert TABLES["table1"].cell(Column("flipping", 1000), "ikp").published == (97.5, 1.2)
    assert TABLES["table2"].cell(Column("insertion", 1000), "ikp").published == (92.4, 2.6)


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_well_formed(name):
    table = TABLES[name]
    assert all(len(figures) == len(table.variants) for figures in table.published.values())
    assert set(table.published) <= set(table.columns)
    assert {column.task for column in table.columns} <= set(TASKS)
    assert bool(table.source) == bool(table.published), "a published figure has its source"
    assert {VARIANTS[variant].method for variant in table.variants} <= set(METHOD_NAMES)


@pytest.mark.parametrize("name", PRESETS)
def test_all_methods_of_a_column_share_the_recipe(name):
    for column in TABLES["table2"].columns:
        described = [
            resolve(Cell(column, variant), name, 1).settings() for variant in TABLES["table2"].variants
        ]
        for settings in described:
            for key in ("kind", "action_space", "residual"):
                del settings["policy"][key]
            del settings["method"]
        assert all(settings == described[0] for settings in described)
        assert described[0]["train"]["seed"] == 1
        assert described[0]["episodes"] == preset(name).episodes >= 100


def test_a_variant_that_the_preset_has_anyway_shares_its_runs():
    column = Column("insertion", 100)
    names = {
        (name, variant): resolve(Cell(column, variant), name, 0).name
        for name in ("standard", "paper")
        for variant in ("ikp-residual-none", "ikp-residual-offset", "ikp-residual-dense")
    }
    shared = "insertion-pixels-100-ikp-seed0"
    assert [key for key, name in names.items() if name == shared] == [
        ("standard", "ikp-residual-offset"),
        ("paper", "ikp-residual-dense"),
    ]


def test_budgets_of_steps_and_of_time_replace_the_presets():
    by_steps, by_time = (
        resolve(Cell(column, "ikp"), "standard", 0) for column in TABLES["state"].columns[1:]
    )
    assert (by_steps.train.steps, by_steps.train.minutes) == (2000, None)
    assert by_time.train.minutes == 2
    assert by_steps.task.env_kwargs["observation"] == "state"
    assert by_steps.name == "insertion-state-1000-2000steps-ikp-seed0"
    assert by_time.name == "insertion-state-1000-2min-ikp-seed0"


def test_only_demonstrations_whose_expert_recovers_are_disturbed():
    strength = {task: resolve(Cell(Column(task, 1000), "ikp"), "standard", 0).perturbation for task in TASKS}
    assert strength.pop("insertion") == preset("standard").perturbation > 0
    assert set(strength.values()) == {0.0}
    sweeping, insertion = data_sets(plan(TABLES["table2"], "standard", [0]))
    assert sweeping.endswith("-perturbed0")
    assert not insertion.endswith("-perturbed0")


def test_small_presets_use_fewer_demonstrations_and_doubles_fall_away():
    most = preset("quick").demonstrations
    planned = plan(TABLES["demonstrations"], "quick", [0])
    assert sorted({run.demonstrations for run in planned}) == [25, 50, 100, most]
    assert len(planned) == 4 * len(TABLES["demonstrations"].variants)


def test_the_first_seed_of_every_cell_comes_before_the_second_of_any():
    planned = plan(TABLES["ablations"], "standard", [0, 1])
    seeds = [run.train.seed for run in planned]
    assert seeds == sorted(seeds)
    assert set(seeds) == {0, 1}


def test_demonstrations_are_shared_at_their_largest_number():
    planned = [run for name in ("table2", "state") for run in plan(TABLES[name], "standard", [0])]
    sets = data_sets(planned)
    assert len(sets) == 3, "sweeping, insertion from pixels, insertion from state"
    assert all(run.demonstrations == 1000 for run in sets.values())


def test_an_unknown_task_is_refused():
    with pytest.raises(ValueError, match="task is 'stacking': choose one of insertion, sweeping"):
        resolve(Cell(Column("stacking", 1000), "ikp"), "quick", 0)


def test_settings_that_do_not_change_the_outcome_do_not_count():
    run = resolve(Cell(Column("insertion", 100), "ikp"), "quick", 0)
    faster = replace(run, train=replace(run.train, device="cpu", threads=3, checkpoint_every=7))
    assert faster.settings() == run.settings()
    assert replace(run, train=replace(run.train, batch_size=7)).settings() != run.settings()


def test_the_image_planes_rows_differ_from_their_method_in_the_plane_alone():
    column, rows = TABLES["image"].columns[0], [v for v in TABLES["image"].variants if "image" in v]
    for row in rows:
        run, plain = (resolve(Cell(column, name), "standard", 0) for name in (row, row.split("-image")[0]))
        assert run.policy.action_space == plain.policy.action_space + "+image"
        same = {"action_space": plain.policy.action_space, "image_plane": plain.policy.image_plane}
        assert replace(run.policy, **same) == plain.policy
        assert (run.train, run.demonstrations) == (plain.train, plain.demonstrations)
    settings = [str(resolve(Cell(column, row), "standard", 0).settings()) for row in rows]
    assert len(set(settings)) == len(rows)


def test_scenes_are_moved_where_the_preset_and_the_task_allow_it():
    def run(task, variant="ikp", observation="pixels", preset="standard"):
        return resolve(Cell(Column(task, 100, observation), variant), preset, 0)

    for method in METHODS:
        assert run("insertion", method).train.moves_scenes
        still = run("insertion", f"{method}-still")
        assert not still.train.moves_scenes
        assert still.name == run("insertion", method).name.replace(method, f"{method}-still")
    assert run("insertion", "ikp-image").train == run("insertion").train
    assert run("insertion", "ikp-turned").train.scene_turn == run("insertion").train.scene_turn > 0
    assert run("insertion", "ikp-turned").train.scene_shift == 0
    assert run("insertion", observation="state").train == run("insertion").train
    assert not any(
        run(task).train.moves_scenes for task in ("sweeping", "sweeping-miscalibrated", "flipping")
    )
    assert run("insertion", "ikp-still", preset="paper").name == run("insertion", preset="paper").name


def test_other_demonstrations_are_a_data_set_of_their_own():
    column = TABLES["recipe"].columns[0]
    abrupt, plain = (resolve(Cell(column, row), "standard", 0) for row in ("ikp-bang-bang", "ikp"))
    assert abrupt.data_name == f"{plain.data_name}-bang-bang"
    assert abrupt.name != plain.name
    assert abrupt.settings() == {**plain.settings(), "expert": {"profile": "bang-bang"}}


def test_a_rough_camera_is_two_centimetres_off():
    task = resolve(Cell(TABLES["image"].columns[0], "ikp-image-rough"), "standard", 0).task
    (right,), (rough,) = task.cameras().values(), rough_cameras(task).values()
    moved = (rough.pose() - right.pose())[:3, 3].norm().item()
    assert moved == pytest.approx(sum(x * x for x in ROUGH_METRES) ** 0.5)


def test_unknown_targets_and_presets_are_refused():
    assert [check_target(name) for name in TARGETS] == list(TARGETS)
    with pytest.raises(ValueError, match="target is 'table3': choose one of table1, table2"):
        check_target("table3")
    with pytest.raises(ValueError, match="choose one of quick"):
        resolve(Cell(Column("insertion", 100), "ikp"), "huge", 0)


@pytest.mark.parametrize("variant", TABLES["ablations"].variants)
def test_every_ablation_makes_a_policy_that_can_train(variant, tiny, demonstrations):
    run = resolve(Cell(Column("insertion", 4, "state"), variant), "tiny", 0)
    data = load_dataset(demonstrations, episodes=4)
    task = task_of_data(demonstrations)
    policy = make_policy(task.robot(), data.spec, run.policy)
    policy.fit_scales(data.state, data.action, data.environment_state)
    frames = data.frames_of(range(2))
    loss, _ = policy.loss(batch_to(data.batch(frames, run.policy.history), policy.bounds.low.device))
    loss.backward()
    without = [name for name, p in policy.named_parameters() if p.grad is None]
    assert not without
    has_residual = any("residual" in name for name, _ in policy.named_parameters())
    assert has_residual == (variant != "ikp-residual-none")
    assert policy.config.observes_poses == (variant != "ikp-no-observed-poses")
    shown = [len(policy.poses.mask), int(policy.poses.mask.sum())]
    assert shown == ([6, 1] if variant == "ikp-tip-only" else [6, 6])


@pytest.mark.parametrize("variant", dict.fromkeys(TABLES["recipe"].variants + TABLES["moved"].variants))
def test_every_row_of_the_recipe_trains(variant, tiny, pixel_demonstrations, tmp_path):
    run = resolve(Cell(Column("insertion", 4), variant), "tiny", 0)
    data = load_dataset(pixel_demonstrations)
    policy = make_policy(task_of_data(pixel_demonstrations).robot(), data.spec, run.policy)
    trained = replace(run.train, steps=1, held_out=0.34, validate_every=1)
    assert train(policy, data, trained, out=tmp_path / "run").steps == 1


@pytest.mark.parametrize("variant", TABLES["state"].variants)
def test_every_row_from_object_poses_trains(variant, tiny, demonstrations, tmp_path):
    run = resolve(Cell(Column("insertion", 4, "state"), variant), "tiny", 0)
    assert run.train.moves_scenes != variant.endswith("-still")
    trained = replace(run.train, steps=1, held_out=0.34, validate_every=1)
    result = runs.train_policy(
        demonstrations,
        tmp_path / "run",
        method=run.method,
        policy=run.policy,
        train_config=trained,
        episodes=4,
    )
    assert result.steps == 1


def test_the_help_tells_of_every_target():
    assert Reproduce.__doc__ is not None
    described = Reproduce.__doc__.split("Targets:")[1].split("For example:")[0]
    assert [target for target in TARGETS if f"{target} " not in described] == []
