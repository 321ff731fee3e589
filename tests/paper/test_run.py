"""Tables hold the paper's cells; their runs give every method the same recipe and are shared between tables."""

from dataclasses import replace

import pytest

from ikp import runs
from ikp.data import load_dataset
from ikp.policies import make_policy
from ikp.policies.config import METHODS, PAPER_METHODS
from ikp.policies.policy import batch_to
from ikp.recipes import RECIPES, recipe
from ikp.runs import task_of_data
from ikp.tasks import registered_tasks
from ikp.training.trainer import train
from ikp_paper.cli import Reproduce
from ikp_paper.execute import rough_cameras
from ikp_paper.run import data_sets, plan, resolve
from ikp_paper.tables import TABLES, TARGETS, Cell, Published, Setting, check_target
from ikp_paper.variants import ROUGH_METRES, VARIANTS

TASKS = [entry.name for entry in registered_tasks() if entry.env_id.startswith("ikp/")]


def runnable(table):
    """The rows that are not settled."""
    return [variant for variant in table.variants if not VARIANTS[variant].settled]


def test_the_papers_tables_are_21_cells_and_63_trainings():
    tables = [TABLES["table1"], TABLES["table2"]]
    assert [len(table.cells) for table in tables] == [6, 15]
    assert sum(len(plan(table, "standard", range(3))) for table in tables) == 63
    assert all(cell.published is not None for table in tables for cell in table.cells)


def test_the_abstracts_results_are_in_the_tables():
    assert TABLES["table1"].cell(Setting("sweeping", 1000), "ikp").published == Published(85.9, 1.5)
    assert TABLES["table1"].cell(Setting("flipping", 1000), "ikp").published == Published(97.5, 1.2)
    assert TABLES["table2"].cell(Setting("insertion", 1000), "ikp").published == Published(92.4, 2.6)


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_well_formed(name):
    table = TABLES[name]
    assert all(len(figures) == len(table.variants) for figures in table.published.values())
    assert set(table.published) <= set(table.settings)
    assert {setting.task for setting in table.settings} <= set(TASKS)
    assert bool(table.source) == bool(table.published), "published results have a source"
    assert {VARIANTS[variant].method for variant in table.variants} <= set(METHODS)


@pytest.mark.parametrize("name", RECIPES)
def test_all_methods_of_a_setting_share_the_recipe(name):
    for setting in TABLES["table2"].settings:
        described = [
            resolve(Cell(setting, variant), name, 1).settings() for variant in TABLES["table2"].variants
        ]
        for settings in described:
            for key in ("kind", "action_space", "residual", "image_plane"):
                del settings["policy"][key]
            del settings["method"]
            settings["versions"].pop("regression", None)  # only implicit policies have one
        assert all(settings == described[0] for settings in described)
        assert described[0]["train"]["seed"] == 1
        assert described[0]["episodes"] == recipe(name).episodes >= 100


def test_a_variant_that_the_recipe_has_anyway_shares_its_runs():
    setting = Setting("insertion", 100)
    names = {
        (name, variant): resolve(Cell(setting, variant), name, 0).name
        for name in ("standard", "paper")
        for variant in ("ikp-residual-none", "ikp-residual-offset", "ikp-residual-dense")
    }
    shared = "insertion-pixels-100-ikp-seed0"
    assert [key for key, name in names.items() if name == shared] == [
        ("standard", "ikp-residual-offset"),
        ("paper", "ikp-residual-dense"),
    ]


def test_budgets_of_steps_and_of_time_replace_the_recipes():
    by_steps, by_time = (
        resolve(Cell(setting, "ikp"), "standard", 0) for setting in TABLES["state"].settings[1:]
    )
    assert (by_steps.train.steps, by_steps.train.minutes) == (2000, None)
    assert by_time.train.minutes == 2
    assert by_steps.task.env_kwargs["observation"] == "state"
    assert by_steps.name == "insertion-state-1000-2000steps-ikp-seed0"
    assert by_time.name == "insertion-state-1000-2min-ikp-seed0"


def test_only_demonstrations_whose_expert_recovers_are_disturbed():
    strength = {task: resolve(Cell(Setting(task, 1000), "ikp"), "standard", 0).perturbation for task in TASKS}
    disturbed = {strength.pop(task) for task in ("insertion", "alignment")}
    assert disturbed == {recipe("standard").perturbation}
    assert recipe("standard").perturbation > 0
    assert set(strength.values()) == {0.0}
    sweeping, insertion = data_sets(plan(TABLES["table2"], "standard", [0]))
    assert sweeping.endswith("-perturbed0")
    assert not insertion.endswith("-perturbed0")


def test_small_recipes_use_fewer_demonstrations_and_doubles_fall_away():
    most = recipe("quick").demonstrations
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
        resolve(Cell(Setting("stacking", 1000), "ikp"), "quick", 0)


def test_settled_rows_are_neither_planned_nor_run():
    table = TABLES["recipe"]
    assert len(runnable(table)) < len(table.variants)
    assert len(plan(table, "standard", [0])) == len(runnable(table))
    with pytest.raises(ValueError, match="ikp-fine-stem is settled: its option is gone"):
        resolve(table.cell(table.settings[0], "ikp-fine-stem"), "standard", 0)


def test_learning_rates_are_factors_of_the_recipes():
    setting = TABLES["rates"].settings[0]
    for name, factor in (("ikp-double-rates", 2), ("ikp-half-rates", 0.5), ("ikp-image-double-rates", 2)):
        run, plain = (resolve(Cell(setting, row), "paper", 0).train for row in (name, "ikp"))
        assert run.learning_rate == factor * plain.learning_rate
        assert run.encoder_learning_rate == factor * plain.encoder_learning_rate


def test_settings_that_do_not_change_the_outcome_do_not_count():
    run = resolve(Cell(Setting("insertion", 100), "ikp"), "quick", 0)
    faster = replace(run, train=replace(run.train, device="cpu", threads=3, checkpoint_every=7))
    assert faster.settings() == run.settings()
    assert replace(run, train=replace(run.train, batch_size=7)).settings() != run.settings()


def test_the_image_planes_rows_differ_from_their_method_in_the_plane_alone():
    setting, rows = TABLES["image"].settings[0], [v for v in runnable(TABLES["image"]) if "image" in v]
    for row in rows:
        run, plain = (resolve(Cell(setting, name), "standard", 0) for name in (row, row.split("-image")[0]))
        assert (run.policy.image_plane is None, plain.policy.image_plane) == (False, None)
        assert replace(run.policy, image_plane=None) == plain.policy
        assert (run.train, run.demonstrations) == (plain.train, plain.demonstrations)
    settings = [str(resolve(Cell(setting, row), "standard", 0).settings()) for row in rows]
    assert len(set(settings)) == len(rows)


def test_scenes_are_moved_where_the_recipe_and_the_task_allow_it():
    def run(task, variant="ikp", observation="pixels", chosen="standard"):
        return resolve(Cell(Setting(task, 100, observation), variant), chosen, 0)

    for method in PAPER_METHODS:
        assert run("insertion", method).train.moved_scenes
        still = run("insertion", f"{method}-still")
        assert not still.train.moved_scenes
        assert still.name == run("insertion", method).name.replace(method, f"{method}-still")
    assert run("insertion", "ikp-image").train == run("insertion").train
    assert run("insertion", observation="state").train == run("insertion").train
    assert not any(
        run(task).train.moved_scenes for task in ("sweeping", "sweeping-miscalibrated", "flipping")
    )
    assert run("insertion", "ikp-still", chosen="paper").name == run("insertion", chosen="paper").name


def test_other_demonstrations_are_a_data_set_of_their_own():
    setting = TABLES["recipe"].settings[0]
    abrupt, plain = (resolve(Cell(setting, row), "standard", 0) for row in ("ikp-bang-bang", "ikp"))
    assert abrupt.data_name == f"{plain.data_name}-bang-bang"
    assert abrupt.name != plain.name
    assert abrupt.settings() == {**plain.settings(), "expert": {"profile": "bang-bang"}}


def test_a_rough_camera_is_two_centimetres_off():
    task = resolve(Cell(TABLES["image"].settings[0], "ikp-image-rough"), "standard", 0).task
    (right,), (rough,) = task.cameras().values(), rough_cameras(task).values()
    moved = (rough.pose() - right.pose())[:3, 3].norm().item()
    assert moved == pytest.approx(sum(x * x for x in ROUGH_METRES) ** 0.5)


def test_unknown_targets_and_recipes_are_refused():
    assert [check_target(name) for name in TARGETS] == list(TARGETS)
    with pytest.raises(ValueError, match="target is 'table3': choose one of table1, table2"):
        check_target("table3")
    with pytest.raises(ValueError, match="choose one of quick"):
        resolve(Cell(Setting("insertion", 100), "ikp"), "huge", 0)


@pytest.mark.parametrize("variant", TABLES["ablations"].variants)
def test_every_ablation_makes_a_policy_that_can_train(variant, tiny, demonstrations):
    run = resolve(Cell(Setting("insertion", 4, "state"), variant), "tiny", 0)
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
    assert policy.config.ablation.links == ("tip" if variant == "ikp-tip-only" else "all")


@pytest.mark.parametrize("variant", dict.fromkeys(runnable(TABLES["recipe"]) + runnable(TABLES["moved"])))
def test_every_row_of_the_recipe_trains(variant, tiny, pixel_demonstrations, tmp_path):
    run = resolve(Cell(Setting("insertion", 4), variant), "tiny", 0)
    data = load_dataset(pixel_demonstrations)
    policy = make_policy(task_of_data(pixel_demonstrations).robot(), data.spec, run.policy)
    trained = replace(run.train, steps=1, held_out=0.34, validate_every=1)
    assert train(policy, data, trained, out=tmp_path / "run").steps == 1


@pytest.mark.parametrize("variant", TABLES["state"].variants)
def test_every_row_from_object_poses_trains(variant, tiny, demonstrations, tmp_path):
    run = resolve(Cell(Setting("insertion", 4, "state"), variant), "tiny", 0)
    assert run.train.moved_scenes != variant.endswith("-still")
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
