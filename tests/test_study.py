import pytest
from studies_for_tests import TINY, changed

from search_spaces import StudyError, load_study, parse_study, shipped_studies
from search_spaces.documents import read_document
from search_spaces.families import HYPERPARAMETERS, SPACES

MISTAKES = [
    ({"families.dhle": "default"}, "families.dhle: no family of this name; did you mean 'dhel'?"),
    ({"data.datset": "digits"}, "data.datset: no such key; did you mean 'dataset'?"),
    ({"familes": {}}, "familes: no such key; did you mean 'families'?"),
    ({"name": None}, "name: this key is missing"),
    ({"name": "../up"}, "name: .*'../up'"),
    ({"families": {}}, "families: the study plans 0 trials"),
    ({"families.dhel.temperature": 0}, "families.dhel.temperature: expected a number above 0, got 0"),
    ({"families.dhel.temperature": {"values": [0.1, -1]}}, "temperature: a log scale|above 0, got -1"),
    ({"families.dhel.temperature": {"values": []}}, "temperature.values: expected a list with at least one"),
    ({"families.dhel.temperature": {"values": [1, 1.0]}}, "temperature.values: expected different values"),
    ({"families.dhel.temperature": {"low": 2, "high": 1}}, "expected low < high, got low=2, high=1"),
    ({"families.dhel.temperature": {"low": 1}}, "'high' is missing"),
    ({"families.dhel.temperature": {"low": 0, "high": 1, "scale": "log"}}, "expected a number above 0, got 0"),
    ({"families.dhel.temperature": {"low": 0.1, "high": 1, "levels": 1}}, "levels: expected a whole number"),
    ({"families.dhel.temperature": {"low": 0.1, "high": 1, "scale": "lgo"}}, "scale: expected linear, log or log2"),
    ({"families.dhel.temperature": "warm"}, "temperature: expected a finite number, got 'warm'"),
    ({"families.dhel.temperature": float("nan")}, "temperature: expected a finite number, got nan"),
    ({"families.dhel.temperature": True}, "temperature: expected a finite number, got True"),
    ({"families.dhel.temprature": 1}, "dhel has no such hyperparameter; did you mean 'temperature'?"),
    ({"families.dhel": "defualt"}, "families.dhel: expected 'default' or a mapping"),
    ({"families.untrained": {"temperature": 1}}, "untrained has no hyperparameters"),
    ({"axes.weight_decay": {"low": 0, "high": 1, "scale": "log"}}, "weight_decay: a log scale needs low above 0"),
    ({"axes.batch_size": {"values": [1, 64]}}, "axes.batch_size: expected at least 2, got 1"),
    ({"axes.batch_size": {"low": 16, "high": 64}}, "axes.batch_size: .* needs 'values'"),
    ({"axes.batch_size": 32.5}, "axes.batch_size: expected whole numbers, got 32.5"),
    ({"axes.bandwidth": 2}, "axes.bandwidth: no family of this study has it"),
    ({"axes.temprature": 2}, "axes.temprature: no axis of this name; did you mean 'temperature'?"),
    ({"axes.temperature": 2}, "families.nt_xent.temperature: already in 'axes'"),
    ({"seeds": 0}, "seeds: the study plans 0 trials"),
    ({"seeds": [1, 1]}, "seeds: expected different whole numbers"),
    ({"seeds": [0, -1]}, "seeds: expected a number of seeds or a list of whole numbers from 0, got .0, -1."),
    ({"seeds": "many"}, "seeds: expected a number of seeds or a list"),
    ({"data.dataset": 3}, "data.dataset: expected a name or a list of names, got 3"),
    ({"data.dataset": ["digits", "digits"]}, "data.dataset: expected different names"),
    ({"model.projector": [128, 1]}, "model.projector.1: .* got 1"),
    ({"families.dhel.temperature": 10**400}, "temperature: expected a number below 2..63, got one of 401 digits"),
    ({"training.optimizer": "adamw", "training.momentum": 0.3}, "training: momentum is a setting of sgd"),
    (
        {"training": {"epochs": 1, "warmup_epochs": 9}},
        "training: expected warmup_epochs of at most the 1 epochs, got 9",
    ),
    ({"resources.gpus_per_pack": 1.5}, "gpus_per_pack: expected a share of one GPU or whole GPUs, got 1.5"),
    ({"analysis.floor": float("inf")}, "analysis.floor: .* got inf"),
    ({"seeds": 10**12}, "seeds: expected at most"),
    ({"training.epochs": 3}, "expected one of epochs, updates and images, got epochs and updates"),
    ({"training.updates": 0}, "training.updates: .* got 0"),
    ({"training.optimizer": "sdg"}, "training.optimizer: .*'sgd', 'adamw' or 'lars', got 'sdg'"),
    ({"training.learning_rate": 0}, "training.learning_rate: .* got 0"),
    ({"training.momentum": 1}, "training.momentum: .* got 1"),
    ({"training.micro_batch": 0}, "training.micro_batch: .* greater than or equal to 1, got 0"),
    ({"training.micro_batch": 64.0}, "training.micro_batch: .* valid integer, got 64.0"),
    ({"training.micro_batch": True}, "training.micro_batch: .* valid integer, got True"),
    ({"training.micro_batch": "64"}, "training.micro_batch: .* valid integer, got '64'"),
    ({"training.tile": -1}, "training.tile: .* greater than or equal to 1, got -1"),
    ({"training.tile": [8]}, r"training.tile: .* valid integer, got \[8\]"),
    ({"training.micro_batsh": 8}, "training.micro_batsh: no such key; did you mean 'micro_batch'?"),
    ({"design.kind": "sobol"}, "a sobol design needs 'configurations'"),
    ({"design.configurations": 8}, "a grid takes its size from the levels"),
    ({"design.kind": "tpe"}, "a tpe design needs 'configurations'"),
    ({"design.kind": "tep"}, "design.kind: .*'tpe' or 'gp', got 'tep'"),
    ({"design": {"kind": "gp", "configurations": 0}}, "design.configurations: .* got 0"),
    (
        {"design": {"kind": "tpe", "configurations": 8, "scheduler": "hyperband"}},
        "design.scheduler: .* got 'hyperband'",
    ),
    (
        {"design": {"scheduler": "asha"}},
        "design: scheduler is a setting of tpe and gp .* is grid; remove it, got 'asha'",
    ),
    (
        {"design": {"kind": "sobol", "configurations": 8, "scheduler": "asha"}},
        "design: scheduler is a setting of tpe and gp designs, and this one is sobol",
    ),
    (
        {"design": {"kind": "gp", "configurations": 8, "scheduler": "asha"}},
        "design.scheduler: asha needs evaluation.every",
    ),
    (
        {"design": {"kind": "gp", "configurations": 8}, "axes": {}, "families": {"dhel": {"temperature": 1}}},
        "design.kind: a gp design needs an axis with a range or several values, and no family has one",
    ),
    (
        {"design": {"kind": "gp", "configurations": 8}, "families": {"untrained": "default"}},
        "design.kind: a gp design needs an axis",
    ),
    ({"analysis.reference": "dhle"}, "analysis.reference: no family of this study; did you mean 'dhel'?"),
    ({"resources.cpus_per_pack": 0}, "resources.cpus_per_pack: .* got 0"),
    ({"pack.size": 0}, "pack.size: .* got 0"),
]


@pytest.mark.parametrize(("changes", "message"), MISTAKES, ids=[str(changes) for changes, _ in MISTAKES])
def test_a_mistake_is_one_line_with_place_rule_and_value(changes, message):
    with pytest.raises(StudyError, match=rf"^my\.yaml: .*({message.replace('?', '[?]')})") as caught:
        parse_study(changed(TINY, changes), "my.yaml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("raw", [None, [], "study", 3])
def test_a_file_that_is_not_a_mapping_is_refused(raw):
    with pytest.raises(StudyError, match="expected a mapping"):
        parse_study(raw, "my.yaml")


def test_numbers_with_exponents_are_numbers():
    assert read_document("x", "a: [1e-3, 1E5, -2.5e+3, .5e1, 1.e2, 0.1, 3, 1e]") == {
        "a": [1e-3, 1e5, -2500.0, 5.0, 100.0, 0.1, 3, "1e"]
    }


def test_a_repeated_key_is_an_error_with_its_line():
    with pytest.raises(StudyError, match=r"^x: line 3: .*'a' is given twice"):
        read_document("x", "a: 1\nb: 2\na: 3\n")


@pytest.mark.parametrize("text", ["a: [1, 2", "a: b: c", "\ta: 1", "a: 1\n- b", "a: !!python/object:os.system {}"])
def test_malformed_yaml_is_one_line_with_its_line_number(text):
    with pytest.raises(StudyError, match=r"^x: line \d+: not valid YAML") as caught:
        read_document("x", text)
    assert "\n" not in str(caught.value)


def test_merged_mappings_are_read():
    text = "base: &b {a: 1, b: 2}\nmore: {<<: *b, b: 3}\n"
    assert read_document("x", text)["more"] == {"a": 1, "b": 3}


def test_a_bottomless_file_is_one_line():
    with pytest.raises(StudyError, match=r"^x: not a study: nested too deeply$"):
        read_document("x", "[" * 5000 + "]" * 5000)


@pytest.mark.parametrize(
    ("outcome", "direction"), [("linear_top1", "maximize"), ("final_loss", "minimize"), ("z_uniformity", "minimize")]
)
def test_the_direction_follows_from_the_outcome_unless_given(outcome, direction):
    assert parse_study(changed(TINY, {"analysis.outcome": outcome}), "x").analysis.direction == direction
    given = {"analysis.outcome": outcome, "analysis.direction": "maximize"}
    assert parse_study(changed(TINY, given), "x").analysis.direction == "maximize"


@pytest.mark.parametrize("key", ["micro_batch", "tile"])
def test_what_saves_memory_is_null_unless_given_and_survives_being_written_out(key):
    assert getattr(parse_study(TINY, "x").training, key) is None
    null = changed(TINY, {})
    null["training"][key] = None
    assert parse_study(null, "x") == parse_study(TINY, "x")
    given = parse_study(changed(TINY, {f"training.{key}": 16}), "x")
    assert getattr(given.training, key) == 16
    assert parse_study(given.written(), "x") == given


def test_an_adaptive_design_survives_being_written_out():
    design = {"kind": "tpe", "configurations": 8, "seed": 3, "scheduler": "asha"}
    study = parse_study(changed(TINY, {"design": design, "evaluation.every": 1}), "x")
    assert study.design.adaptive
    assert study.written()["design"] == design
    assert parse_study(study.written(), "x") == study
    assert not parse_study(TINY, "x").design.adaptive


def test_control_characters_are_one_line_too():
    with pytest.raises(StudyError, match=r"^x: .*not valid YAML") as caught:
        read_document("x", "a: \x00")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", sorted(shipped_studies()))
def test_a_shipped_study_carries_its_name_and_survives_being_written_out(name):
    study = load_study(name)
    assert study.name == name
    assert parse_study(study.written(), name) == study


def test_a_study_is_found_by_path_too(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(shipped_studies()["quickstart"])
    assert load_study(path).written() == load_study("quickstart").written()


@pytest.mark.parametrize("name", ["quickstrat", "missing.yaml", "."])
def test_a_missing_study_is_one_line(name):
    with pytest.raises(StudyError, match=f"^{name}: "):
        load_study(name)


def test_a_study_that_is_not_text_is_one_line(tmp_path):
    path = tmp_path / "binary.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StudyError, match="not a UTF-8 text file"):
        load_study(path)


def test_a_family_that_is_given_a_mapping_fixes_what_it_does_not_name():
    study = parse_study(changed(TINY, {"families.kcl_log": {"bandwidth": {"values": [1, 2]}}}), "x")
    axes = study.families["kcl_log"].axes
    assert axes["gamma"].levels == (SPACES["kcl_log"].hyperparameters["gamma"].default,)
    assert axes["bandwidth"].levels == (1, 2)


def test_default_means_the_default_space():
    study = parse_study(changed(TINY, {"families.kcl_log": "default"}), "x")
    assert all(axis.varies for axis in study.families["kcl_log"].axes.values())


def test_one_loss_may_appear_under_two_labels():
    study = parse_study(changed(TINY, {"families.cold": {"loss": "dhel", "temperature": 0.01}}), "x")
    assert (study.families["cold"].loss, study.families["dhel"].loss) == ("dhel", "dhel")


def test_lists_take_the_usual_scale_of_their_axis():
    study = parse_study(TINY, "x")
    assert study.axes["batch_size"].dimension.scale == "log2"
    assert study.families["dhel"].axes["temperature"].dimension.scale == "log"


@pytest.mark.parametrize("name", sorted(HYPERPARAMETERS))
def test_every_axis_states_its_reason_and_source_and_holds_its_default(name):
    axis = HYPERPARAMETERS[name]
    assert len(axis.reason) > 20
    assert len(axis.source) > 10
    assert axis.above is None or axis.default > axis.above
