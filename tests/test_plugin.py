import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from fake_store import write_store
from processes import robustness
from studies_for_tests import TINY, changed

from analysis.report import write
from analysis.table import Axis
from analysis.table.store import from_store, read_study
from robustness import store
from robustness.losses import LOSSES
from robustness.losses.installed import find_loss, installed_loss
from robustness.plan import plan
from search_spaces import StudyError, parse_study
from search_spaces.families import SPACES, find_space
from search_spaces.installed import announced

EXAMPLE = Path(__file__).parent.parent / "examples" / "plugin"
WIDTHS = {"low": 0.25, "high": 1.0, "scale": "log2", "levels": 2}
TWO_FAMILIES = {
    "seeds": 2,
    "axes": {},
    "families": {"nt_xent": {"temperature": {"values": [0.1, 0.5]}}, "heavy": {"loss": "cauchy", "width": WIDTHS}},
    "training.updates": 3,
}
SPACE = """
from search_spaces import Choice, Continuous, Hyperparameter, Space
def axis(low=0.5, high=2.0, default=1.0, **rules):
    return Hyperparameter(Continuous(low, high, "log2"), default, "why", "where", **rules)
"""
GOOD = SPACE + "SPACE = Space('mine', {'width': axis(above=0.0)})"
LOSS = "def loss(u, v, *, width):\n    return (u * v).sum(-1).mean(-1) * width"


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put a package on the path as an installer would: modules, and entry points in its metadata."""
    announced.cache_clear()
    installed_loss.cache_clear()

    def put(package="mine", *, space=GOOD, loss=LOSS, name="my_loss", losses=None, spaces=None):
        site = tmp_path / package
        info = site / f"{package}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        losses = f"{name} = {package}_loss:loss" if losses is None else losses
        spaces = f"{name} = {package}_space:SPACE" if spaces is None else spaces
        (info / "entry_points.txt").write_text(f"[robustness.losses]\n{losses}\n[robustness.spaces]\n{spaces}\n")
        (site / f"{package}_space.py").write_text(space)
        (site / f"{package}_loss.py").write_text(loss)
        monkeypatch.syspath_prepend(site)
        for module in (f"{package}_space", f"{package}_loss"):
            monkeypatch.delitem(sys.modules, module, raising=False)
        return site

    yield put
    announced.cache_clear()
    installed_loss.cache_clear()


@pytest.fixture
def example(monkeypatch, tmp_path):
    """The example package, installed where only this test looks."""
    announced.cache_clear()
    monkeypatch.syspath_prepend(installed(tmp_path))
    yield
    for module in [name for name in sys.modules if name.startswith("cauchy_loss")]:
        del sys.modules[module]
    announced.cache_clear()
    installed_loss.cache_clear()


def installed(folder):
    site = folder / "site"
    source = shutil.copytree(EXAMPLE, folder / "source")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"]
    command = [*pip, "--no-deps", "--no-build-isolation", "--target", str(site), str(source)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return site


def with_path(site):
    """The environment of a command that finds a package there."""
    before = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{before}" if before else str(site)}


def study(**families):
    return parse_study(changed(TINY, {"families": families}), "my.yaml")


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """The example package, installed by pip, in a study beside a built-in family."""
    folder = tmp_path_factory.mktemp("plugin")
    site = installed(folder)
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(changed(TINY, TWO_FAMILIES)))
    environment = with_path(site)
    done = robustness("run", path, "--out", "out", cwd=folder, env=environment)
    assert done.returncode == 0, done.stderr
    return folder, path, environment


def test_an_installed_loss_is_swept_and_stored_with_its_hyperparameters(swept):
    frame = pd.read_parquet(swept[0] / "out" / "trials")
    assert len(frame) == 8
    assert set(frame["status"]) == {"ok"}
    mine = frame[frame["family"] == "heavy"]
    assert set(mine["loss"]) == {"cauchy"}
    assert sorted(mine["extra_hyperparameters"]) == ['{"width":0.25}'] * 2 + ['{"width":1}'] * 2
    assert mine["linear_top1"].between(0.1, 1).all()
    assert mine.groupby("seed")["final_loss"].nunique().eq(2).all()


def test_the_report_names_an_installed_family_its_axis_and_its_numbers(swept):
    folder = swept[0] / "out" / "report"
    page = (folder / "index.html").read_text()
    assert "heavy" in page
    assert "width" in page
    score = pd.read_csv(folder / "tables" / "scorecard.csv").set_index("family")
    assert f"{100 * score.loc['heavy', 'best']:.1f} %" in page
    surface = pd.read_csv(folder / "tables" / "surfaces.csv")
    mine = surface[(surface["family"] == "heavy") & (surface["outcome"] == "linear_top1")]
    assert set(mine["x_axis"]) == {"width"}
    assert mine["estimate"].notna().all()


def test_a_report_is_written_without_the_package_too(swept, tmp_path):
    folder = shutil.copytree(swept[0] / "out", tmp_path / "out")
    here, there = (pd.read_csv(path / "tables" / "surfaces.csv") for path in (write(folder).parent, folder / "report"))
    pd.testing.assert_frame_equal(here, there)
    width = from_store(folder).axes["heavy"][0]
    assert width == Axis("width", "log2", (0.25, 1.0), 0.25, 1.0, default=None)
    assert find_space_fails("cauchy").startswith("no family of this name")


def test_without_the_package_its_study_is_one_line_and_exit_code_2(swept):
    folder, path, _ = swept
    done = robustness("sweep", path, "--out", "other", cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"{path}: families.heavy: no family of this name; there is ")
    assert done.stderr.count("\n") == 1


def find_space_fails(name):
    with pytest.raises(StudyError) as caught:
        find_space(name)
    return str(caught.value)


def test_the_example_is_the_loss_that_it_says(example):
    cauchy, generator = find_loss("cauchy"), torch.Generator().manual_seed(0)
    u, v = torch.randn(2, 3, 5, 4, dtype=torch.float64, generator=generator)
    widths = torch.tensor([0.25, 1.0, 3.0], dtype=torch.float64)
    z = torch.nn.functional.normalize(torch.cat([u, v], dim=1), dim=-1)
    expected = torch.zeros(3, dtype=torch.float64)
    for member, width in enumerate(widths):
        kernel = 1 / (1 + torch.cdist(z[member], z[member]) ** 2 / width**2)
        for i in range(10):
            others = sum(kernel[i, j] for j in range(10) if j != i)
            expected[member] += (others / kernel[i, (i + 5) % 10]).log() / 10
    torch.testing.assert_close(cauchy(u, v, width=widths), expected)
    torch.testing.assert_close(cauchy(u[1], v[1], width=1.0), expected[1])
    assert find_space("cauchy") is cauchy.space


def test_an_installed_family_takes_defaults_shared_axes_and_suggestions(install):
    install()
    assert study(my_loss="default").families["my_loss"].axes["width"].levels[0] == 0.5
    raw = changed(TINY, {"families": {"my_loss": "default", "dhel": "default"}, "axes": {"width": {"values": [1, 2]}}})
    shared = parse_study(raw, "my.yaml")
    assert shared.axes["width"].written() == {"values": [1, 2], "scale": "log2"}
    assert shared.families["my_loss"].axes == {}
    extra = plan(shared).set_index("family")["extra_hyperparameters"]
    assert set(extra["my_loss"]) == {'{"width":1}', '{"width":2}'}
    assert extra["dhel"].isna().all()
    with pytest.raises(StudyError, match=r"families.my_los: no family of this name; did you mean 'my_loss'\?"):
        study(my_los="default")
    with pytest.raises(StudyError, match=r"my_loss has no such hyperparameter; did you mean 'width'\?"):
        study(my_loss={"widht": 1})
    with pytest.raises(StudyError, match=r"axes.widht: no axis of this name; did you mean 'width'\?"):
        parse_study(changed(raw, {"axes": {"widht": 1}}), "my.yaml")
    with pytest.raises(StudyError, match=r"families.my_loss.width: expected a number above 0, got 0"):
        study(my_loss={"width": 0})


def test_an_installed_loss_may_have_a_built_in_hyperparameter(install):
    both = "SPACE = Space('mine', {'temperature': axis(), 'width': axis()})"
    install(space=SPACE + both, loss="def loss(u, v, *, temperature, width): pass")
    rows = plan(study(my_loss={"temperature": 0.5}))
    assert set(rows["temperature"]) == {0.5}
    assert set(rows["extra_hyperparameters"]) == {'{"width":1}'}
    assert set(map(json.dumps, rows["trial"].map(lambda text: json.loads(text)["hyperparameters"]))) == {
        '{"temperature": 0.5, "width": 1}'
    }


def space_of(text):
    return {"space": SPACE + f"SPACE = Space('mine', {text})"}


BROKEN_SPACES = {
    "no such module": ({"spaces": "my_loss = nowhere_space:SPACE"}, "can't import nowhere_space:SPACE: ModuleNotFound"),
    "no such name": ({"spaces": "my_loss = mine_space:NOTHING"}, "can't import mine_space:NOTHING: AttributeError"),
    "an error": ({"space": "raise OSError('two\\nlines')"}, "can't import mine_space:SPACE: OSError: two lines"),
    "no space": ({"space": "SPACE = {}"}, r"expected a search_spaces.Space .*, got \{\}"),
    "a list": (space_of("['width']"), "expected a search_spaces.Space with a mapping of hyperparameters"),
    "bound": (space_of("{}, bound=('labels',)"), "expected at most num_images in bound, got labels"),
    "no axis": (space_of("{'width': 1.0}"), "'width': expected a search_spaces.Hyperparameter"),
    "no identifier": (space_of("{'my-width': axis()}"), "'my-width': expected the name of an argument"),
    "a keyword": (space_of("{'lambda': axis()}"), "'lambda': expected the name of an argument"),
    "a pack axis": (space_of("{'batch_size': axis()}"), "'batch_size': this name has another meaning here"),
    "a training axis": (space_of("{'learning_rate': axis()}"), "'learning_rate': this name has another meaning"),
    "the loss": (space_of("{'loss': axis()}"), "'loss': this name has another meaning here"),
    "levels": (space_of("{'width': axis(levels=1)}"), "levels: expected a whole number of at least 2, got 1"),
    "a bad default": (space_of("{'width': axis(default=0.0, above=0.0)}"), "expected a number above 0, got 0.0"),
    "a bad range": (space_of("{'width': axis(below=2.0)}"), "'width': expected a number below 2, got 2.0"),
    "words": (
        space_of("{'width': Hyperparameter(Choice(('a', 'b')), 'a', '', '')}"),
        "expected finite numbers, got 'a'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", sorted(BROKEN_SPACES))
def test_a_broken_space_is_one_line_that_names_package_and_entry_point(install, fault):
    arguments, message = BROKEN_SPACES[fault]
    install(**arguments)
    where = "my.yaml: families.my_loss: package mine, entry point 'my_loss' of robustness.spaces: "
    with pytest.raises(StudyError, match=f"^{where}.*{message}") as caught:
        study(my_loss="default")
    assert "\n" not in str(caught.value)
    assert study(nt_xent="default").families["nt_xent"].space is SPACES["nt_xent"]
    assert find_loss("nt_xent") is LOSSES["nt_xent"]


@pytest.mark.parametrize("name", ["nt_xent", "temperature", "batch_size", "untrained"])
def test_a_package_may_not_take_a_name_that_is_built_in(install, name):
    install(name=name)
    with pytest.raises(StudyError, match=f"package mine, entry point '{name}' .* has another meaning here; choose"):
        study(**{name: "default"})
    assert study(dhel="default")


def test_two_packages_may_not_have_one_name(install):
    install("mine")
    install("yours")
    with pytest.raises(StudyError, match=r"package mine and yours, entry point 'my_loss' .* several packages"):
        study(my_loss="default")
    assert study(dhel="default")


def test_a_family_needs_a_space_and_a_loss(install):
    install("mine", losses="")
    install("yours", name="other", spaces="")
    expected = "package mine, entry point 'my_loss' of robustness.spaces: there is no entry point 'my_loss' of "
    assert find_space_fails("my_loss") == expected + "robustness.losses, and a family needs both"
    expected = "package yours, entry point 'other' of robustness.losses: there is no entry point 'other' of "
    assert find_space_fails("other") == expected + "robustness.spaces, and a family needs both"


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ("import nowhere", "can't import mine_loss:loss: ModuleNotFoundError: No module named 'nowhere'"),
        ("loss = 1", "expected a function, got 1"),
        ("def loss(u, v): pass", r"expected a function of \(u, v, \*, width\): got an unexpected keyword"),
        ("def loss(u, v, *, width, tau): pass", r"\(u, v, \*, width\): missing a required.*'tau'"),
    ],
)
def test_a_broken_loss_is_one_line_before_anything_is_trained(install, loss, message):
    install(loss=loss)
    with pytest.raises(StudyError, match=f"^package mine, entry point 'my_loss' of robustness.losses: .*{message}"):
        find_loss("my_loss")


def test_a_package_may_use_the_losses_that_are_built_in_and_import_all_of_itself(install):
    uses = "from robustness.losses import LOSSES\ndef loss(u, v, *, width):\n"
    site = install(loss=uses + "    return LOSSES['nt_xent'](u, v, temperature=width)")
    (site / "mine_space.py").write_text(f"import mine_loss\n{GOOD}")
    code = (
        "from search_spaces import parse_study; from robustness.losses.installed import find_loss; find_loss('my_loss')"
    )
    for first in ("import mine_loss, mine_space", "import robustness.losses"):
        subprocess.run([sys.executable, "-c", f"{first}; {code}"], check=True, timeout=300, env=with_path(site))


def test_a_loss_must_have_a_value_for_each_member(install):
    install(loss="def loss(u, v, *, width):\n    return (u * v).mean() * width")
    u = torch.ones(3, 4, 2)
    with pytest.raises(ValueError, match=r"expected values of shape \(3,\) .*\(3, 4, 2\), got \(\)"):
        find_loss("my_loss")(u, u, width=1.0)


def test_a_hyperparameter_may_not_be_a_column_of_the_results(install):
    install(**space_of("{'device': axis()}"), loss="def loss(u, v, *, device): pass")
    with pytest.raises(StudyError, match=r"families.my_loss.device: a column of the results has this name"):
        plan(study(my_loss="default"))


def test_a_broken_package_is_one_line_and_exit_code_2_and_nothing_is_written(install, tmp_path):
    site = install(loss="import nowhere")
    environment = with_path(site)
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(changed(TINY, {"families": {"my_loss": "default"}})))
    done = robustness("sweep", path, "--out", "out", cwd=tmp_path, env=environment)
    assert done.returncode == 2
    where = f"{path}: families.my_loss: package mine, entry point 'my_loss' of robustness.losses"
    assert done.stderr.startswith(f"{where}: can't import mine_loss:loss: ModuleNotFoundError")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


MANY_KINDS = """
from search_spaces import Integer
WHOLE = Hyperparameter(Integer(1, 8, "log2"), 2, "why", "where")
SPACE = Space("mine", {"width": axis(default=1.5), "depth": WHOLE, "order": axis(default=2.0)})
"""
MANY_AXES = {
    "width": {"low": 0.5, "high": 2, "scale": "log2", "levels": 2},
    "depth": {"low": 1, "high": 5, "scale": "log", "levels": 3},
}


def test_extra_hyperparameters_become_axes_when_results_are_read(install, tmp_path):
    site, folder = install(space=SPACE + MANY_KINDS), tmp_path / "out"
    families = {"dhel": {"temperature": {"values": [0.1, 0.5]}}, "my_loss": MANY_AXES}
    raw = changed(TINY, {"axes": {"order": {"values": [1, 2]}}, "families": families})
    ran = parse_study(raw, "my.yaml")
    write_store(folder, ran)
    table = from_store(folder)
    trials = table.trials.set_index("family")[["order", "width", "depth"]]
    assert [sorted(trials.loc["my_loss", name].unique()) for name in trials] == [[1, 2], [0.5, 2], [1, 2, 5]]
    assert trials.loc["dhel"].isna().all(axis=None)
    defaults = {axis.name: axis.default for axis in table.axes["my_loss"]}
    assert defaults == {"order": 2.0, "width": 1.5, "depth": 2.0}
    write(folder, tmp_path / "with")
    sys.path.remove(str(site))
    announced.cache_clear()
    again = read_study(folder, store.read_plan(folder))
    assert (again.axes, again.families["my_loss"].axes) == (ran.axes, ran.families["my_loss"].axes)
    write(folder, tmp_path / "without")
    for name in ("surfaces", "profiles", "near_optimal_mass"):
        assert table_of(tmp_path / "with", name).equals(table_of(tmp_path / "without", name))
    here, there = (table_of(tmp_path / where, "robustness") for where in ("with", "without"))
    differing = (here.ne(there) & (here.notna() | there.notna())).any(axis=1)
    assert set(here.loc[differing, "measure"]) == {"default_gap", "tuning_gain", "joint_gain"}
    gap = there[(there["family"] == "my_loss") & (there["measure"] == "default_gap")]
    assert gap["reason"].tolist() == ["no default for order"]


def table_of(report, name):
    return pd.read_csv(report / "tables" / f"{name}.csv")


def test_the_example_needs_no_torch_for_its_space():
    spec = importlib.util.spec_from_file_location("space", EXAMPLE / "cauchy_loss" / "space.py")
    code = f"import runpy, sys; runpy.run_path({spec.origin!r}); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
