"""The configuration: what it resolves to, and what it says of every mistake."""

import copy
import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from configs import read_config

from tlw.config.config import Cell, Config, read_cell
from tlw.config.recipe import RECIPES
from tlw.config.settings import (
    LOSSES,
    PRESETS,
    PerceptualSettings,
    PixelSettings,
    TLWSettings,
    UDLSettings,
    loss_settings,
)

ROOT = Path(__file__).parents[2]
SMALL = {
    "results": "results/small",
    "test": ["Set5"],
    "grids": {
        "table": {
            "title": "A small table",
            "train": ["T91"],
            "recipe": "crops",
            "backbones": ["vdsr", "edsr"],
            "scales": [2, 3],
            "losses": ["l1", "l1-tlw"],
            "seeds": [0, 1],
        }
    },
    "recipes": {
        "crops": {"sampling": "crops", "size": 48, "epochs": 2, "steps_per_epoch": 5},
        "whole": {"sampling": "whole", "epochs": 2},
    },
    "backbones": {"edsr": {"path": "edsr", "arguments": {"features": 8, "blocks": 1}}},
}


def changed(place: str, value: object) -> dict:
    """SMALL with one value changed, or with one more; ABSENT takes it away."""
    content = copy.deepcopy(SMALL)
    *way, last = place.split("/")
    inner = content
    for key in way:
        inner = inner.setdefault(key, {})
    if value is ABSENT:
        del inner[last]
    else:
        inner[last] = value
    return content


ABSENT = object()


def cells(content: dict) -> dict[str, Cell]:
    return {cell.name: cell for cell in Config.parse(content, "config").cells("table")}


# --- what it resolves to ----------------------------------------------------------------------


def test_a_grid_is_every_combination_in_the_order_of_its_lists():
    assert list(cells(SMALL)) == [
        f"{backbone}_x{scale}_{loss}_seed{seed}"
        for backbone in ("vdsr", "edsr")
        for scale in (2, 3)
        for loss in ("l1", "l1-tlw")
        for seed in (0, 1)
    ]


@pytest.mark.parametrize("name", ["config.yaml", "toy.yaml", "reduced.yaml"])
def test_the_configs_that_are_shipped_are_right(name):
    config = read_config(ROOT / "config" / name)
    assert all(config.cells(grid) for grid in config.grids)


def test_the_papers_grid_is_the_papers():
    config = read_config(ROOT / "config" / "config.yaml")
    one, two = config.cells("table1"), config.cells("table2")
    assert len(one) == 3 * 3 * 4 and len(two) == 3
    assert {cell.loss_name for cell in two} == {"l1-tlw", "l1-udl", "l1"}
    assert {(cell.backbone_name, cell.scale) for cell in two} == {("hat", 4)}


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("loss", LOSSES)
def test_a_preset_sets_everything_itself(preset, loss):
    settings = loss_settings(loss, preset)
    given = {"kind", *LOSSES[loss], *PRESETS[preset].get(settings.kind, {})}
    assert given == set(type(settings).model_fields)
    defaults = [key for key, f in type(settings).model_fields.items() if not f.is_required()]
    assert defaults == ["kind"]


def test_the_presets_are_the_two_readings_of_the_method():
    """Numbers of the paper (sections III and IV) and of the authors' code, as compared by hand."""
    paper, code = loss_settings("mse-tlw"), loss_settings("mse-tlw", "authors-code")
    assert (paper.k_epochs, code.k_epochs) == (200, 100)
    assert (paper.mse_offset, code.mse_offset) == (0.1, 0.2)
    assert (paper.theta_loss, code.theta_loss) == ("sum", "log-mean-exp")
    assert (paper.fixed_sum_over, code.fixed_sum_over) == ("image", "channel")
    assert (paper.calibrated, code.calibrated) == (True, False)
    assert (paper.eps_in_numerator, code.eps_in_numerator) == (True, False)
    for one in (paper, code):
        assert (one.k_start, one.k_rise, one.samples, one.temperature) == (0.3, 0.6, 3, 0.1)
        assert (one.eps, one.learning_rate, one.betas) == (0.001, 1e-4, (0.5, 0.999))
    assert loss_settings("l1-udl").esu_epochs == 10


ROW = {"name": "edsr-authors", "backbone": "edsr", "scale": 4, "checkpoint": "a/edsr.pth"}


def test_imported_rows_have_folders_of_their_own_and_train_nothing():
    rows = [ROW, ROW | {"loss": "l1-tlw"}]
    config = Config.parse(changed("grids/table/imported", rows), "config")
    assert [checkpoint.folder for checkpoint in config.grids["table"].imported] == [
        "edsr-authors_x4_unknown_imported",
        "edsr-authors_x4_l1-tlw_imported",
    ]
    assert {cell.name: cell.digest for cell in config.cells("table")} == {
        name: cell.digest for name, cell in cells(SMALL).items()
    }


def test_a_cell_says_everything_that_its_training_reads():
    cell = cells(SMALL)["edsr_x3_l1-tlw_seed1"]
    assert cell.backbone.arguments == {"blocks": 1, "features": 8}
    assert isinstance(cell.loss, TLWSettings) and cell.loss == loss_settings("l1-tlw", "paper")
    assert cell.recipe.init == "normal" and cell.train == ("T91",) and cell.protocol == "paper"
    other = cells(changed("grids/table/preset", "authors-code"))["edsr_x3_l1-tlw_seed1"]
    assert other.recipe.init == "authors-code"
    assert other.loss == loss_settings("l1-tlw", "authors-code")


def test_a_loss_may_have_a_preset_of_its_own():
    content = changed("losses/l1-tlw", {"preset": "authors-code", "samples": 5})
    cell = cells(content)["vdsr_x2_l1-tlw_seed0"]
    assert cell.preset == "authors-code"
    assert cell.loss == loss_settings("l1-tlw", "authors-code", samples=5)
    assert cells(content)["vdsr_x2_l1_seed0"].preset == "paper"


@pytest.mark.parametrize(
    ("kind", "made_of"),
    [
        ("tlw", TLWSettings),
        ("pixel", PixelSettings),
        ("perceptual", PerceptualSettings),
        ("udl", UDLSettings),
    ],
)
def test_a_loss_of_ones_own_needs_only_its_kind(kind, made_of):
    base = {} if kind == "udl" else {"base": "mse"}
    content = changed("losses/mine", {"kind": kind, **base})
    content["grids"]["table"]["losses"] = ["mine"]
    assert isinstance(cells(content)["vdsr_x2_mine_seed0"].loss, made_of)


def test_a_cell_survives_its_file(tmp_path):
    for cell in cells(SMALL).values():
        path = tmp_path / "cell.json"
        path.write_text(cell.model_dump_json(indent=2))
        assert read_cell(path) == cell and read_cell(path).digest == cell.digest


@pytest.mark.parametrize(
    ("place", "value", "touched"),  # the part of a name; "" is in all of them
    [
        ("losses/l1-tlw", {"samples": 2}, "l1-tlw"),
        ("losses/l1-tlw", {"k_epochs": 50}, "l1-tlw"),
        ("backbones/edsr/arguments", {"features": 9, "blocks": 1}, "edsr"),
        ("recipes/crops/learning_rate", 1e-3, ""),
        ("protocol", "standard", ""),
        ("grids/table/train", ["BSDS200"], ""),
    ],
)
def test_a_changed_setting_changes_the_cells_that_it_touches_and_no_others(place, value, touched):
    before, after = cells(SMALL), cells(changed(place, value))
    for name, cell in before.items():
        is_touched = touched in ("", *name.split("_"))
        assert (cell.digest != after[name].digest) == is_touched
        assert (cell.model_dump_json() != after[name].model_dump_json()) == is_touched


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("results", "elsewhere"),
        ("device", "cuda"),
        ("threads", 2),
        ("checkpoint_seconds", 7),
        ("cells_per_gpu", 2),
        ("cuda_graphs", False),
        ("resources", {"vdsr": {"mem_mb": 4000}}),
        ("test", ["Set14"]),
        ("grids/table/title", "Another title"),
        ("backbones/edsr/arguments", {"blocks": 1, "features": 8}),  # in another order
        ("losses/l1-tlw", {"samples": 3}),  # what the preset says anyway
        ("losses/unused", {"kind": "udl"}),
    ],
)
def test_what_no_training_reads_changes_no_cell(place, value):
    assert cells(changed(place, value)) == cells(SMALL)
    digests = [[cell.digest for cell in cells(c).values()] for c in (SMALL, changed(place, value))]
    assert digests[0] == digests[1]


# --- what it says of mistakes -----------------------------------------------------------------

MISTAKES = [
    # unknown keys, at every level, with the keys that belong there
    ("protocl", "paper", "config: protocl: unknown key; did you mean 'protocol'?"),
    ("grids/table/recpie", "crops", "grids.table.recpie: unknown key; did you mean 'recipe'?"),
    ("grids/table/batch", 3, "grids.table.batch: unknown key; known are title, published, train,"),
    ("recipes/crops/bacth", 3, "recipes.crops.bacth: unknown key; did you mean 'batch'?"),
    ("backbones/edsr/image", "rgb", "backbones.edsr.image: unknown key; did you mean 'images'?"),
    ("losses/l1-tlw/sampels", 3, "loss 'l1-tlw': sampels: unknown key; did you mean 'samples'?"),
    ("losses/l1-tlw/name", 3, "loss 'l1-tlw': name: unknown key; known are kind, base,"),
    ("losses/l1/samples", 3, "loss 'l1': samples: unknown key; known are kind, base"),
    # unknown names
    (
        "grids/table/recipe",
        "crop",
        "grids.table: recipe: expected one of basicsr-edsr, basicsr-rcan, hat, hat-from-x2, crops, "
        "whole, found",
    ),
    ("grids/table/backbones", ["edrs"], "backbones: expected one of vdsr, edsr, rcan, hat, found"),
    ("grids/table/backbones", ["edrs"], "found 'edrs'; did you mean 'edsr'?"),
    ("grids/table/losses", ["l1-tvl"], "losses: expected one of l1, mse, l1-tlw, mse-tlw, l1-udl"),
    ("grids/table/losses", ["l1-tvl"], "found 'l1-tvl'; did you mean 'l1-tlw'?"),
    ("grids/table/preset", "papr", "grids.table.preset: expected 'paper' or 'authors-code', found"),
    ("losses/l1-tlw/preset", "papr", "loss 'l1-tlw': preset: expected one of paper, authors-code"),
    ("losses/l1-tlw/preset", ["paper"], "found ['paper']"),
    (
        "losses/mine",
        {"kind": "tvl"},
        "loss 'mine': kind: expected one of pixel, tlw, perceptual, udl",
    ),
    ("losses/mine", {"base": "l1"}, "a loss of your own needs a kind (pixel, tlw, perceptual, udl"),
    (
        "protocol",
        "papers",
        "protocol: expected 'paper', 'standard' or 'standard-grey-as-rgb'",
    ),
    ("recipes/crops/sampling", "crop", "found 'crop'; did you mean 'crops'?"),
    ("backbones/mine", {"path": "vdrs"}, "backbones.mine: backbone: expected one of vdsr, edsr,"),
    ("backbones/mine", {"path": "vdrs"}, "found 'vdrs'; did you mean 'vdsr'?; or give an import"),
    (
        "backbones/edsr/arguments/blokcs",
        1,
        "no argument 'blokcs'; it accepts: features, blocks; did you mean",
    ),
    ("backbones/edsr/arguments/scale", 2, "'scale' is not among its arguments"),
    # values
    ("grids/table/scales", [5], "config: grids.table.scales.0: expected 2, 3 or 4, found 5"),
    ("grids/table/scales", [], "grids.table.scales: expected 1 or more, found []"),
    ("grids/table/seeds", [0, 0], "grids.table.seeds: expected each once, found 0 twice"),
    ("test", ["Set5", "Set5"], "config: test: expected each once, found 'Set5' twice"),
    ("recipes/crops/size", 50, "vdsr x3 l1: recipe.size: expected a multiple of the scale 3,"),
    ("recipes/crops/size", 24, "recipe.size: the judge needs 32 hr pixels or more, found 24"),
    ("recipes/crops/lr_size", 24, "recipes.crops: lr_size: found 24 beside size"),
    ("recipes/whole/lr_size", 24, "recipes.whole: lr_size: found 24, but sampling whole has none"),
    ("recipes/whole/optimizer", "sgd", "recipes.whole.optimizer: expected 'adam' or 'adamw'"),
    ("recipes/whole/ema", 1.0, "recipes.whole.ema: "),
    ("recipes/whole/clip_gradient", 0, "recipes.whole.clip_gradient: "),
    ("recipes/whole/batch", 2, "recipes.whole: batch: expected 1, since whole images differ"),
    ("recipes/whole/size", 48, "recipes.whole: size: found 48, but sampling whole has none"),
    ("recipes/crops/size", None, "recipes.crops: size: missing; sampling crops needs it"),
    ("recipes/crops/steps_per_epoch", ABSENT, "steps_per_epoch: missing; sampling crops needs it"),
    ("recipes/whole/steps_per_epoch", 3, "steps_per_epoch: found 3, but sampling whole has none"),
    (
        "recipes/crops/epochs",
        0,
        "recipes.crops.epochs: expected greater than or equal to 1, found 0",
    ),
    ("recipes/crops/betas", [0.5, 1], "recipes.crops.betas.1: expected less than 1, found 1"),
    ("recipes/crops/learning_rate", float("inf"), "expected a finite number, found inf"),
    ("losses/l1-tlw/k_start", 0.5, "k_start + k_rise must stay below 1, found 0.5 + 0.6"),
    (
        "losses/l1-tlw/samples",
        0,
        "loss 'l1-tlw': samples: expected greater than or equal to 1, found 0",
    ),
    ("results", "", "config: results: String should have at least 1 character, found ''"),
    # true and false are no numbers, and numbers neither
    ("recipes/crops/epochs", True, "config: recipes.crops.epochs: expected a number, found True"),
    ("recipes/crops/learning_rate", True, "learning_rate: expected a number, found True"),
    ("grids/table/seeds", [True, False], "grids.table.seeds.1: expected a number, found False"),
    ("resources", {"vdsr": {"mem_mb": True}}, "resources.vdsr.mem_mb: expected a number, found"),
    ("losses/l1-tlw/eps", True, "loss 'l1-tlw': eps: expected a number, found True"),
    ("recipes/crops/augment", 1, "recipes.crops.augment: expected true or false, found 1"),
    ("grids/table/published", True, "grids.table.published: expected a number, found True"),
    # sizes and devices that no machine has
    ("device", "gpu", "config: device: expected auto, cpu, cuda or cuda:1, found 'gpu'; did you"),
    ("device", "gpu", "; did you mean 'cuda'?"),
    ("device", "CPU", "found 'CPU'; did you mean 'cpu'?"),
    ("device", "cuda:", "config: device: expected auto, cpu, cuda or cuda:1, found 'cuda:'"),
    ("grids/table/seeds", [2**63], "grids.table.seeds.0: expected a seed below 2^63 (19 digits)"),
    ("grids/table/seeds", list(range(2000)), "found 16,000 (2 backbones x 2 scales x 2 losses x"),
    ("recipes/crops/batch", 10**9, "recipes.crops.batch: expected less than or equal to 4096"),
    ("recipes/crops/size", 48 * 10**6, "recipes.crops.size: expected less than or equal to 4096"),
    ("recipes/crops/epochs", 10**9, "recipes.crops.epochs: expected less than or equal to 1000000"),
    ("losses/l1-tlw/features", 200_000, "features: expected less than or equal to 2048"),
    ("losses/l1-tlw/samples", 10**9, "samples: expected less than or equal to 1000"),
    (
        "backbones/edsr/arguments/features",
        200_000,
        "'edsr': features: expected 2048 or less, found",
    ),
    (
        "backbones/edsr/arguments/blocks",
        10**9,
        "'edsr': blocks: expected 2048 or less, found 10000",
    ),
    ("backbones/edsr/arguments/features", float("inf"), "features: expected a finite number"),
    ("backbones/m", {"path": "rcan", "arguments": {"groups": 99, "blocks": 99}}, "1000 blocks or"),
    ("grids/" + "a" * 81, SMALL["grids"]["table"], "at most 80 characters"),
    # imported rows
    ("grids/table/imported", [ROW, ROW], "imported: expected each once, found 'edsr-authors_x4_un"),
    ("grids/table/imported", [ROW | {"name": "edsr"}], "choose one such as 'edsr-authors'"),
    ("grids/table/imported", [ROW | {"name": "bicubic"}], "found 'bicubic', which other rows"),
    ("grids/table/imported", [ROW | {"backbone": "edrs"}], "imported.0: backbone: expected one of"),
    ("grids/table/imported", [ROW | {"file": "x"}], "grids.table.imported.0.file: unknown key"),
    # types, and what is missing
    ("recipes/crops/epochs", ABSENT, "config: recipes.crops.epochs: missing; it has no default"),
    ("grids", ABSENT, "config: grids: missing; it has no default"),
    ("grids", {}, "config: grids: expected 1 or more, found {}"),
    ("grids", None, "config: grids: expected keys and values, found None"),
    ("grids/table", ["vdsr"], "config: grids.table: expected keys and values, found ['vdsr']"),
    ("grids/table/losses", "l1", "grids.table.losses: expected a valid tuple, found 'l1'"),
    ("results", 3, "config: results: expected a valid string, found 3"),
    ("resources", {"vdsr": {"gpu": 5}}, "vdsr_x2: gpu: expected a number of GPUs that divides"),
    ("threads", "many", "config: threads: expected a valid integer, unable to parse string"),
    # names that would spoil the folders' names
    ("grids/a_b", SMALL["grids"]["table"], "config: grids.a_b: expected a name of letters, digits"),
    ("backbones/v_2", {"path": "vdsr"}, "which join them with '_'"),
    ("losses/l1_x", {"kind": "udl"}, "config: losses.l1_x: expected a name"),
    ("test", ["../Set5"], "found '../Set5': names become parts of folder names"),
    ("grids/table/train", ["a/b"], "grids.table.train.0: expected a name of letters"),
]


@pytest.mark.parametrize(("place", "value", "words"), MISTAKES)
def test_a_mistake_is_told_with_its_key_what_was_expected_and_what_was_found(place, value, words):
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
        Config.parse(changed(place, value), "config")
    assert all(line.startswith("config: ") for line in str(caught.value).splitlines())
    assert "pydantic" not in str(caught.value)


def test_every_mistake_has_a_line():
    content = changed("grids/table/scales", [5, 6])
    content["losses"] = {"l1-tlw": {"k_start": 2, "samples": "a"}}
    with pytest.raises(ValueError) as caught:
        Config.parse(content, "config")
    assert [line.partition(": expected")[0] for line in str(caught.value).splitlines()] == [
        "config: grids.table.scales.0",
        "config: grids.table.scales.1",
    ]
    content["grids"]["table"]["scales"] = [2]
    content["losses"]["l1-tlw"]["eps"] = -1
    with pytest.raises(ValueError) as caught:
        Config.parse(content, "config")
    assert [line.partition(": expected")[0] for line in str(caught.value).splitlines()] == [
        "config: losses: loss 'l1-tlw': samples",
        "config: losses: loss 'l1-tlw': eps",
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected keys and values, found None"),
        ("- a\n- b\n", "expected keys and values, found ['a', 'b']"),
        ("a: [1\nb: 2\n", "cannot be read as YAML or JSON"),
        ("a: \x00", "cannot be read as YAML or JSON"),
    ],
)
def test_a_file_that_is_no_config_is_refused_by_name(tmp_path, text, words):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    for read in (read_config, read_cell):
        with pytest.raises(ValueError, match=re.escape(words)) as caught:
            read(path)
        assert str(caught.value).startswith(f"{path}: ")


def test_a_file_that_is_no_text_is_refused_by_name(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ValueError, match=r"mine\.yaml: cannot be read as YAML"):
        read_config(path)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("loss", {"kind": "tvl"}, "found 'tvl'; did you mean 'tlw'?"),
        ("loss", {"base": "l1"}, "loss: missing: the key 'kind' has no default"),
        ("loss", {"kind": "pixel", "base": "l1", "k": 1}, "loss.pixel.k: unknown key"),
        ("scale", 5, "scale: expected 2, 3 or 4, found 5"),
        ("sede", 5, "sede: unknown key; did you mean 'seed'?"),
        ("backbone_name", "a_b", "backbone_name: expected a name of letters"),
        ("backbone", {"path": "vdsr", "arguments": {"depth": 2}}, "no argument 'depth'"),
    ],
)
def test_a_wrong_cell_is_refused(key, value, words):
    content = cells(SMALL)["vdsr_x2_l1_seed0"].model_dump(mode="json")
    with pytest.raises(ValueError, match=re.escape(words)):
        Cell.parse({**content, key: value}, "cell.json")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("init", None, "recipe.init: missing; a cell leaves nothing to its preset"),
        ("size", 51, "recipe.size: expected a multiple of the scale 2, found 51"),
    ],
)
def test_a_cell_whose_recipe_does_not_fit_is_refused(key, value, words):
    content = cells(SMALL)["vdsr_x2_l1_seed0"].model_dump(mode="json")
    content["recipe"][key] = value
    with pytest.raises(ValueError, match=re.escape(words)):
        Cell.parse(content, "cell.json")


def test_it_cannot_be_changed_after_it_was_checked():
    config = Config.parse(SMALL, "config")
    with pytest.raises(ValueError, match="frozen"):
        config.threads = 3


# --- what it is for others --------------------------------------------------------------------


def test_it_is_told_without_torch():
    program = (
        "import sys, yaml\n"
        "from tlw.config.config import Config\n"
        "config = Config.parse(yaml.safe_load(open('config/config.yaml')), 'config.yaml')\n"
        "[config.cells(grid) for grid in config.grids]\n"
        "try: Config.parse({'results': 3}, 'config')\n"
        "except ValueError: pass\n"
        "else: raise SystemExit('no error')\n"
        "raise SystemExit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:0", "cuda:13"])
def test_a_device_is_one_of_torchs(device):
    assert Config.parse(changed("device", device), "config").device == device


def test_the_largest_seed_is_one(tmp_path):
    seed = 2**63 - 1
    content = changed("grids/table/seeds", [seed])
    assert f"vdsr_x2_l1_seed{seed}" in cells(content)


def test_the_schema_that_is_shipped_is_that_of_the_code():
    path = ROOT / "workflow" / "schemas" / "config.schema.json"
    regenerate = f"write it with: tlw schema > {path.relative_to(ROOT)}"
    assert path.exists(), regenerate
    assert json.loads(path.read_text()) == Config.model_json_schema(), regenerate


def test_every_key_is_described():
    schema = Config.model_json_schema()
    models = [schema, *schema["$defs"].values()]
    keys = [(m["title"], k, p) for m in models for k, p in m.get("properties", {}).items()]
    assert len(keys) > 25
    assert [(title, key) for title, key, part in keys if not part.get("description")] == []


def test_a_config_in_yaml_and_in_json_are_one(tmp_path):
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(SMALL))
    (tmp_path / "c.json").write_text(json.dumps(SMALL))
    assert read_config(tmp_path / "c.yaml") == read_config(tmp_path / "c.json")


def test_a_size_in_lr_pixels_is_each_scale_s_own_in_hr_pixels():
    recipe = {"sampling": "crops", "lr_size": 48, "epochs": 1, "steps_per_epoch": 1}
    grid = {"title": "t", "train": ["T91"], "recipe": "r", "backbones": ["edsr"], "losses": ["l1"]}
    config = {
        **{"results": "results/r", "test": ["Set5"], "recipes": {"r": recipe}},
        "grids": {"g": grid | {"scales": [2, 3, 4]}},
    }
    cells = Config.parse(config, "config").cells("g")
    assert [(cell.recipe.size, cell.recipe.lr_size) for cell in cells] == [
        (96, None),
        (144, None),
        (192, None),
    ]


@pytest.mark.parametrize("name", RECIPES)
def test_the_field_s_recipes_are_known_by_name_and_may_be_defined_anew(name):
    grid = {"title": "t", "train": ["DIV2K"], "recipe": name, "backbones": ["edsr"]}
    grid |= {"losses": ["l1", "l1-tlw"], "scales": [2, 4]}
    config = {"results": "results/r", "test": ["Set5"], "grids": {"g": grid}}
    cells = Config.parse(config, "config").cells("g")
    for cell in cells:
        recipe = cell.recipe
        assert recipe.size == {2: 1, 4: 2}[cell.scale] * 2 * RECIPES[name].lr_size
        assert recipe.steps_per_epoch * recipe.epochs > max(recipe.milestones)
        assert Cell.parse(cell.model_dump(mode="json"), "again") == cell
    own = {"sampling": "whole", "epochs": 3}
    [cell, *_] = Config.parse(config | {"recipes": {name: own}}, "config").cells("g")
    assert cell.recipe.sampling == "whole"
    grid["recipe"] = name + "s"
    with pytest.raises(ValueError, match=f"grids.g: recipe: .*did you mean '{name}'"):
        Config.parse(config, "config")


def test_each_rung_of_the_reproductions_ladder_has_one_more_setting_of_the_other_preset():
    path = ROOT / "config" / "reproduce.yaml"
    config = Config.parse(yaml.safe_load(path.read_text()), "reproduce")
    (paper, *_), (code, *_) = config.cells("b"), config.cells("m")
    assert (paper.loss_name, code.loss_name) == ("l1-tlw", "l1-tlw")
    rungs = [paper, *(cell for cell in config.cells("l") if cell.seed == 0), code]
    settings = [cell.loss.model_dump() for cell in rungs]
    changed = [
        {key for key in one if one[key] != other[key]}
        for one, other in itertools.pairwise(settings)
    ]
    assert [len(keys) for keys in changed] == [1] * 7 and len(set().union(*changed)) == 7
    assert changed[-1] == {"mse_offset"}  # which L1 has none of
    assert {cell.recipe.init for cell in rungs} == {"normal", "authors-code"}
