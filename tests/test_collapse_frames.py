import math
import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from fake_store import small_study, write_store
from matplotlib.colors import to_hex
from scipy import stats
from simulated import GRID, one_row, runs, table

from analysis.collapse.epochs import collapse_over_epochs, half_collapsed
from analysis.collapse.settings import rank_and_outcome, spectra, thinned
from analysis.figures import Colouring, inline, rank_figure, save, spectrum_figure
from analysis.figures.collapse import _line
from analysis.figures.colouring import COLOURS
from analysis.figures.style import FAINT
from analysis.labels import quantity, share
from analysis.report import write
from analysis.report.collapse_frames import collapse_frames, colour_axes
from analysis.report.collapse_tables import choice_regrets, collapse_counts, rank_accuracy
from analysis.report.results import compute
from analysis.table import Axis

EPOCHS = (5.0, 10.0, 15.0, 20.0)
RANK = "z_effective_rank"
BATCH_SIZE, TEMPERATURE = table({"f": GRID.assign(seed=0, status="ok", linear_top1=0.5)}).axes["f"]
BANDWIDTH = Axis("bandwidth", "log", (0.5, 2.0, 8.0), 0.5, 8.0)
BY = {"warm": TEMPERATURE, "cold": TEMPERATURE}


def trials(seed, *, seeds=3, failing=0.0):
    """Trials of one family whose rank, spectrum and outcome rise with the temperature."""
    rng = np.random.default_rng(seed)
    truth = 0.6 + 0.2 * np.log(GRID["temperature"] / 0.05).to_numpy() / np.log(40.0)
    rows = runs(GRID, truth, seeds=seeds, rng=rng, seed_sd=0.01, noise_sd=0.01, failing=failing)
    fine = rows["status"] == "ok"
    rank = 4 + 40 * (truth[rows.groupby("seed").cumcount()] - 0.6) + rng.normal(0, 0.5, len(rows))
    decay = 8 / rank
    spectrum = [list(20 * np.exp(-own * np.arange(12)) * rng.uniform(0.9, 1, 12)) for own in decay]
    return rows.assign(
        z_effective_rank=rank.where(fine) if isinstance(rank, pd.Series) else np.where(fine, rank, np.nan),
        z_spectrum=[own if well else None for own, well in zip(spectrum, fine, strict=True)],
        collapse=np.where(fine, np.where(rank < 6, "complete", np.where(rank < 9, "dimensional", "none")), None),
        trial_id=[f"{seed}-{index:03}" for index in range(len(rows))],
    )  # fmt: skip


def study():
    found = table({"warm": trials(0), "cold": trials(1, failing=0.15)})
    return replace(found, baseline=found.baseline.assign(collapse="none", trial_id=["u0", "u1", "u2"]))


def history(found):
    """Trials that end collapsed do so after the epoch 5 k of their seed k."""
    rows = found.trials[found.trials["status"] == "ok"]
    sound = [rows["seed"] * 5 >= epoch for epoch in EPOCHS]
    parts = [
        rows[["trial_id", "family", "dataset", "batch_size"]].assign(
            epoch=epoch, collapse=rows["collapse"].where(~before, "none"), knn_top1=0.5, z_effective_rank=9.0
        )
        for epoch, before in zip(EPOCHS, sound, strict=True)
    ]
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def results():
    found = study()
    return compute(found, history=history(found))


@pytest.fixture(scope="module")
def frames(results):
    return {frame.name: frame for frame in collapse_frames(results, "digits")}


def panels(frame):
    return [axes for axes in frame.figure.axes if axes.get_title(loc="left")]


def test_collapse_over_epochs_is_the_share_counted_by_hand():
    found = study()
    told = history(found)
    shares = collapse_over_epochs(found, told, dataset="digits").set_index(["family", "epoch", "category"])
    assert len(shares) == 2 * len(EPOCHS) * 2
    by_id = found.trials.set_index("trial_id")
    for (family, epoch, category), row in shares.iterrows():
        per_seed = {seed: [] for seed in range(3)}
        for one in told.itertuples():
            if by_id.loc[one.trial_id, "family"] == family and one.epoch == epoch:
                hit = one.collapse == "complete" or (category == "any" and one.collapse == "dimensional")
                per_seed[by_id.loc[one.trial_id, "seed"]].append(hit)
        hits, count = sum(map(sum, per_seed.values())), sum(map(len, per_seed.values()))
        assert row["n_trials"] == count == ((found.trials["family"] == family) & (found.trials["status"] == "ok")).sum()
        assert row["estimate"] == pytest.approx(hits / count)
        assert row["low"] <= row["estimate"] <= row["high"]
        if 0 < hits < count:
            binomial = hits / count * (1 - hits / count) * 3 / count
            apart = max(np.var([np.mean(own) for own in per_seed.values()], ddof=1) / binomial, 1.0)
            expected = stats.beta.ppf(0.025, hits / apart, count / apart - hits / apart + 1)
            assert row["low"] == pytest.approx(expected)


def test_trials_that_collapse_seed_by_seed_have_wider_intervals_than_the_same_number_spread_out():
    found = table({"f": trials(0)})
    rows = found.trials.assign(place=found.trials.groupby("seed").cumcount())
    widths = []
    for hit in (rows["seed"] == 0, rows["place"] % 3 == 0):
        told = pd.concat([rows.assign(epoch=epoch, collapse=np.where(hit, "complete", "none")) for epoch in (1.0, 2.0)])
        shares = collapse_over_epochs(found, told, dataset="digits")
        assert shares["estimate"].tolist() == pytest.approx([1 / 3] * 4)
        widths.append((shares["high"] - shares["low"]).iloc[0])
    assert widths[0] > 1.5 * widths[1]


def test_epochs_that_one_batch_size_did_not_reach_and_trials_chosen_by_outcome_do_not_count():
    found = table({"f": trials(0)})
    told = history(found)
    short = told[(told["batch_size"] != 16) | (told["epoch"] < 20)]
    assert collapse_over_epochs(found, short, dataset="digits")["epoch"].max() == 15
    assert collapse_over_epochs(found, told[told["epoch"] == 5], dataset="digits").empty
    assert collapse_over_epochs(found, told, dataset="other").empty
    assert collapse_over_epochs(replace(found, design="tpe"), told, dataset="digits").empty
    designs = np.where(found.trials["batch_size"] == 16, "tpe", "grid")
    mixed = replace(found, trials=found.trials.assign(design=designs))
    assert set(collapse_over_epochs(mixed, told, dataset="digits")["n_trials"]) == {30}


def test_half_of_a_family_has_collapsed_at_the_first_epoch_that_says_so():
    shares = pd.DataFrame(
        [("a", 5.0, "any", 0.4), ("a", 10.0, "any", 0.5), ("a", 15.0, "any", 0.3), ("a", 20.0, "any", 0.9),
         ("b", 5.0, "any", 0.49), ("b", 5.0, "complete", 0.9)],
        columns=["family", "epoch", "category", "estimate"],
    )  # fmt: skip
    assert half_collapsed(shares) == {"a": 10.0}


def test_means_and_spreads_of_settings_are_those_of_their_trials():
    found = study()
    rows = rank_and_outcome(found, "digits", rank=RANK, by=BY)
    well = found.trials[(found.trials["family"] == "cold") & (found.trials["status"] == "ok")]
    expected = []
    for temperature in TEMPERATURE.levels:
        for size in BATCH_SIZE.levels:
            mine = well[(well["temperature"] == temperature) & (well["batch_size"] == size)]
            x, y = list(mine[RANK]), list(mine["linear_top1"])
            if x:
                sds = [np.std(own, ddof=1) if len(own) > 1 else math.nan for own in (x, y)]
                expected.append([temperature, sum(x) / len(x), sds[0], sum(y) / len(y), sds[1], len(x)])
    cold = rows[rows["family"] == "cold"].drop(columns="family").to_numpy(float)
    assert cold == pytest.approx(np.array(expected), nan_ok=True)
    assert rows["family"].drop_duplicates().tolist() == ["warm", "cold"]


def test_a_trial_without_a_rank_is_left_out_and_one_seed_has_no_spread():
    found = table({"f": trials(0)})
    alone = (found.trials["seed"] > 0) & (found.trials["temperature"] > 1) & (found.trials["batch_size"] == 16)
    fewer = replace(found, trials=found.trials.assign(z_effective_rank=found.trials[RANK].mask(alone)))
    rows = rank_and_outcome(fewer, "digits", rank=RANK, by={"f": TEMPERATURE})
    assert rows["n_seeds"].tolist() == [3] * 12 + [1, 3, 3]
    first = found.trials[(found.trials["temperature"] > 1) & (found.trials["batch_size"] == 16)].iloc[0]
    assert rows.loc[12, ["rank", "outcome"]].tolist() == [first[RANK], first["linear_top1"]]
    assert rows.loc[12, ["rank_sd", "outcome_sd"]].isna().all()
    assert rank_and_outcome(found, "digits", rank="absent", by={}).empty


def test_spectra_are_medians_of_shares_of_the_largest_value():
    found = table({"f": trials(0)})
    values = list(found.trials["z_spectrum"])
    coldest = found.trials.index[(found.trials["temperature"] == 0.05) & (found.trials["batch_size"] == 16)]
    for index, spectrum in zip(coldest, ([4.0, 2.0, 1.0], [8.0, 8.0, 0.0, 0.0], [1.0, 0.1, 0.01]), strict=True):
        values[index] = spectrum
    rows = spectra(
        replace(found, trials=found.trials.assign(z_spectrum=values)),
        "digits",
        column="z_spectrum",
        by={"f": TEMPERATURE},
    )
    assert list(rows.loc[0, "shares"]) == pytest.approx([1.0, 0.5, 0.01])
    values[coldest[0]] = [0.0, 0.0, 0.0]
    values[coldest[1]] = None
    rows = spectra(replace(found, trials=found.trials.assign(z_spectrum=values)), "digits", column="z_spectrum", by={})
    assert list(rows.loc[0, "shares"]) == pytest.approx([1.0, 0.1, 0.01])
    assert rows["n_seeds"].tolist() == [1] + [3] * 14
    assert rows["value"].isna().all()
    for own in rows["shares"]:
        assert own[0] == 1.0


def test_settings_do_not_depend_on_the_order_of_rows_nor_on_trials_chosen_by_outcome():
    found = study()
    shuffled = replace(found, trials=found.trials.sample(frac=1, random_state=3))
    searched = replace(found, design="tpe")
    means = [rank_and_outcome(one, "digits", rank=RANK, by=BY) for one in (found, shuffled, searched)]
    assert means[0].equals(means[1])
    assert means[2].empty
    lines = [spectra(one, "digits", column="z_spectrum", by=BY) for one in (found, shuffled, searched)]
    assert lines[0].drop(columns="shares").equals(lines[1].drop(columns="shares"))
    assert all((one == other).all() for one, other in zip(lines[0]["shares"], lines[1]["shares"], strict=True))
    assert lines[2].empty


def test_thinning_keeps_the_ends_and_spreads_the_rest_evenly():
    frame = pd.DataFrame({"family": ["b"] * 9 + ["a"] * 2, "value": [*range(9), 0, 1]})
    assert thinned(frame, most=5)["value"].tolist() == [0, 2, 4, 6, 8, 0, 1]
    assert thinned(frame, most=20).equals(frame)
    assert thinned(frame.iloc[:0], most=5).empty


@pytest.mark.parametrize("kind", ["power law", "drop", "steps"])
def test_a_drawn_spectrum_is_the_whole_one_to_the_eye(kind):
    index = np.arange(1, 513, dtype=float)
    shares = {"power law": index**-1.2, "drop": np.where(index < 300, index**-0.5, 1e-7),
              "steps": 10.0 ** -np.floor(index / 100)}[kind]  # fmt: skip
    line = _line(shares)
    assert len(line) <= 24
    assert line[0].tolist() == [1.0, 1.0]
    assert line[-1].tolist() == [512.0, shares[-1]]
    drawn = np.interp(index, line[:, 0], np.log10(line[:, 1]))
    assert np.max(np.abs(drawn - np.log10(shares))) < 0.02
    assert _line(np.array([1.0])).tolist() == [[1.0, 1.0]]


def test_each_figure_has_a_panel_a_family_on_shared_scales(frames):
    assert list(frames) == ["collapse_over_epochs", "rank_and_outcome", "z_spectra"]
    for frame in frames.values():
        drawn = panels(frame)
        assert [axes.get_title(loc="left") for axes in drawn] == ["warm", "cold"]
        assert len({axes.get_xlim() for axes in drawn}) == len({axes.get_ylim() for axes in drawn}) == 1


def test_the_share_of_collapsed_trials_is_drawn_as_counted(results, frames):
    shares = collapse_over_epochs(results.table, results.history, dataset="digits")
    for axes in panels(frames["collapse_over_epochs"]):
        rows = shares[shares["family"] == axes.get_title(loc="left")]
        for line, category in zip(axes.lines, ("any", "complete"), strict=True):
            own = rows[rows["category"] == category]
            assert line.get_xydata().tolist() == own[["epoch", "estimate"]].to_numpy(float).tolist()


def test_colour_follows_temperature(results, frames):
    rows = rank_and_outcome(results.table, "digits", rank=RANK, by=BY)
    places = np.linspace(0, 1, len(TEMPERATURE.levels))
    expected = {level: COLOURS(place) for level, place in zip(TEMPERATURE.levels, places, strict=True)}
    for name, attribute in (("rank_and_outcome", "get_facecolor"), ("z_spectra", "get_colors")):
        for axes in panels(frames[name]):
            colours = getattr(axes.collections[-1], attribute)()
            values = rows.loc[rows["family"] == axes.get_title(loc="left"), "value"]
            assert colours == pytest.approx(np.array([expected[value] for value in values]), abs=0.01)
    bar = [text.get_text() for text in frames["z_spectra"].figure.axes[-1].get_xticklabels()]
    assert bar == ["0.05", "0.126", "0.316", "0.795", "2"]


def test_points_have_bars_of_one_standard_deviation(results, frames):
    rows = rank_and_outcome(results.table, "digits", rank=RANK, by=BY)
    axes = panels(frames["rank_and_outcome"])[0]
    own = rows[rows["family"] == "warm"]
    assert axes.collections[0].get_offsets().tolist() == own[["rank", "outcome"]].to_numpy().tolist()
    across, up = (line.get_xydata().reshape(-1, 3, 2) for line in axes.lines)
    assert across[:, 1, 0] - across[:, 0, 0] == pytest.approx(2 * own["rank_sd"].to_numpy())
    assert up[:, 1, 1] - up[:, 0, 1] == pytest.approx(2 * own["outcome_sd"].to_numpy())


def test_families_with_different_axes_share_one_bar_and_name_theirs():
    colouring = Colouring({"a": TEMPERATURE, "b": BANDWIDTH, "c": replace(BANDWIDTH, low=0.25, levels=())})
    assert colouring.places("a", [0.05, 2.0]) == pytest.approx([0, 1])
    assert colouring.places("b", [0.25, 0.5, 8.0]) == pytest.approx([0, 0.2, 1])
    assert [colouring.note(family) for family in "abcd"] == [
        "temperature 0.05 to 2", "bandwidth 0.25 to 8", "bandwidth 0.25 to 8", ""
    ]  # fmt: skip
    frame = pd.DataFrame({"family": list("abcd"), "value": [2.0, 0.5, 8.0, math.nan]})
    frame["shares"] = [np.array([1.0, 0.1])] * 4
    figure = spectrum_figure(frame, families=list("abcd"), colouring=colouring)
    colours = [to_hex(axes.collections[0].get_colors()[0]) for axes in figure.axes[:4]]
    assert colours == [to_hex(COLOURS(1.0)), to_hex(COLOURS(0.2)), to_hex(COLOURS(1.0)), FAINT]
    assert figure.axes[1].get_xlabel() == "singular value, in order\nbandwidth 0.25 to 8"
    assert [text.get_text() for text in figure.axes[-1].get_xticklabels()] == ["lowest", "highest"]


@pytest.mark.parametrize("count", [1, 2, 4, 6, 10])
def test_no_text_is_cut_off_at_the_edge_of_a_figure(count):
    families = [f"f{k}" for k in range(count)]
    axes = [TEMPERATURE, BANDWIDTH, Axis("redundancy_weight", "log", (), 0.0005, 0.5)]
    colouring = Colouring({family: axes[k % 3] for k, family in enumerate(families)})
    frame = pd.DataFrame({"family": families, "value": 0.5, "rank": 1.0, "rank_sd": 100.0, "outcome": 0.5})
    frame["shares"] = [np.array([1.0, 1e-7])] * count
    figures = [
        spectrum_figure(frame, families=families, colouring=colouring),
        rank_figure(
            frame.assign(outcome_sd=0.1), families=families, rank=quantity(RANK), outcome=quantity("knn_top1"),
            colouring=colouring,
        ),
    ]  # fmt: skip
    for figure in figures:
        for axes in figure.axes:
            box = axes.get_tightbbox(figure.canvas.get_renderer())
            assert min(box.x0, box.y0) >= 0
            assert box.x1 <= figure.bbox.x1
            assert box.y1 <= figure.bbox.y1


def test_the_colour_is_temperature_else_the_own_axis_that_decides_most(results):
    power = Axis("power", "log2", (1, 2), 1.0, 2.0)
    linear = Axis("bias", "linear", (1, 2), 1.0, 2.0)
    axes = {
        "a": (BATCH_SIZE, power, TEMPERATURE), "b": (BATCH_SIZE, power, BANDWIDTH), "c": (BATCH_SIZE, linear),
        "d": (linear,),
    }  # fmt: skip
    total = [("a", "power", 0.9), ("b", "bandwidth", 0.6), ("b", "power", 0.2), ("b", "batch_size", 0.9)]
    frame = pd.DataFrame(total, columns=["family", "axis", "estimate"]).assign(measure="ST_corrected")
    changed = replace(results, table=replace(results.table, axes=axes), sensitivity=frame)
    assert colour_axes(changed) == {"a": TEMPERATURE, "b": BANDWIDTH, "c": BATCH_SIZE}
    assert colour_axes(replace(changed, sensitivity=pd.DataFrame()))["b"] == power


def test_descriptions_hold_the_numbers(results, frames):
    shares = collapse_over_epochs(results.table, results.history, dataset="digits")
    rows = rank_and_outcome(results.table, "digits", rank=RANK, by=BY)
    for family in ("warm", "cold"):
        last = shares[(shares["family"] == family) & (shares["epoch"] == 20) & (shares["category"] == "any")].iloc[0]
        text = (
            f"{family}: {share(last['estimate'])} ({share(last['low'])} to {share(last['high'])}) collapsed at epoch 20"
        )
        assert text in frames["collapse_over_epochs"].description
        own, found = rows[rows["family"] == family], one_row(results.measures, "rank_accuracy_spearman", family)
        assert f"{own['rank'].min():.1f} to {own['rank'].max():.1f}" in frames["rank_and_outcome"].description
        interval = f"{found['estimate']:.2f} ({found['low']:.2f} to {found['high']:.2f})"
        assert f"Spearman's correlation {interval}." in frames["rank_and_outcome"].description
    assert re.search(
        r"warm: from \d at temperature 0.05 to \d+ at temperature 2 of 12 singular values are at least 1 %",
        frames["z_spectra"].description,
    )
    failed = int((results.table.trials["status"] != "ok").sum())
    assert all(f"{failed} failed trials left out." in frame.caption for frame in frames.values())
    assert "Of 3 untrained encoders 0 would count as collapsed." in frames["collapse_over_epochs"].caption


def test_the_epoch_at_which_half_have_collapsed_is_said(results):
    everywhere = results.history.assign(collapse="complete")
    late = everywhere.assign(collapse=everywhere["collapse"].where(everywhere["epoch"] > 10, "none"))
    only_warm = late.assign(collapse=late["collapse"].where(late["family"] == "warm", "none"))
    for told, sentence in (
        (everywhere, "collapsed by epoch 5, the first evaluated, in all 2 families."),
        (only_warm, "At least half of the trials are collapsed by epoch 15 in warm."),
        (everywhere.assign(collapse="none"), "In no family half of the trials are collapsed"),
    ):
        frame = next(collapse_frames(replace(results, history=told), "digits"))
        assert sentence in frame.caption
        assert sentence in frame.description


def test_what_a_table_does_not_have_is_not_drawn(results):
    rows = results.table.trials
    for column, name in ((RANK, "rank_and_outcome"), ("z_spectrum", "z_spectra")):
        for changed in (rows.drop(columns=column), rows.assign(**{column: None})):
            less = replace(results, table=replace(results.table, trials=changed))
            assert name not in {frame.name for frame in collapse_frames(less, "digits")}
    bare = pd.DataFrame(columns=["dataset", "family"])
    for told in (bare, results.history.drop(columns="collapse"), results.history.assign(collapse=None)):
        names = {frame.name for frame in collapse_frames(replace(results, history=told), "digits")}
        assert names == {"rank_and_outcome", "z_spectra"}
    nothing = rows.assign(status="diverged", linear_top1=np.nan)
    failed = replace(results, table=replace(results.table, trials=nothing))
    assert list(collapse_frames(failed, "digits")) == []


def test_rows_in_another_order_give_the_same_bytes(results, frames, tmp_path):
    shuffled = replace(
        results,
        table=replace(results.table, trials=results.table.trials.sample(frac=1, random_state=1).reset_index(drop=True)),
        history=results.history.sample(frac=1, random_state=2).reset_index(drop=True),
    )
    again = {frame.name: frame for frame in collapse_frames(shuffled, "digits")}
    for name, frame in frames.items():
        assert save(frame.figure, tmp_path, name) == save(again[name].figure, tmp_path, name)
        assert (frame.caption, frame.description) == (again[name].caption, again[name].description)


def test_many_settings_are_thinned_and_it_is_said(results):
    many = pd.concat([results.table.trials.assign(family=f"f{k:02}", trial_id=None) for k in range(30)])
    many = many[many["seed"] == 0].drop_duplicates(["family", "batch_size", "temperature"])
    axes = dict.fromkeys(sorted(many["family"].unique()), results.table.axes["warm"])
    frame = list(collapse_frames(replace(results, table=replace(results.table, trials=many, axes=axes)), "digits"))[-1]
    drawn = panels(frame)
    assert len(drawn) == 30
    assert {len(axes.collections[-1].get_paths()) for axes in drawn} == {5}
    assert "are drawn, evenly spaced in the order of their values." in frame.caption


def test_a_page_of_thirty_families_stays_light(tmp_path):
    rng = np.random.default_rng(0)
    families = [f"family_{k}" for k in range(30)]
    rows = [
        {"family": family, "value": value, "shares": np.sort(rng.uniform(size=512) ** 3)[::-1], "rank": rng.uniform(),
         "rank_sd": 0.1, "outcome": rng.uniform(), "outcome_sd": 0.1}
        for family in families for value in TEMPERATURE.levels
    ]  # fmt: skip
    frame = pd.DataFrame(rows)
    frame["shares"] = [own / own[0] for own in frame["shares"]]
    colouring = Colouring(dict.fromkeys(families, TEMPERATURE))
    lines = spectrum_figure(frame, families=families, colouring=colouring)
    points = rank_figure(
        frame, families=families, rank=quantity(RANK), outcome=quantity("linear_top1"), colouring=colouring
    )
    for figure in (lines, points):
        svg = save(figure, tmp_path, "figure")
        assert len(inline(svg, prefix="p", title="t", description="d")) < 200_000


def test_inline_figures_are_rounded_and_their_text_is_not(tmp_path):
    label = 'd="0.123456" x'
    frame = pd.DataFrame({"family": [label], "value": [math.nan], "shares": [np.array([1.0, 0.3, 0.05])]})
    svg = save(spectrum_figure(frame, families=[label], colouring=Colouring({})), tmp_path, "figure")
    text = inline(svg, prefix="p", title="t", description="d")
    root = ElementTree.fromstring(text)
    assert label in [element.text for element in root.iter("text")]
    assert not any(re.search(r"\.\d\d\d", element.get("d", "")) for element in root.iter("path"))
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"(?:url\(#|href=\"#)([^\")]+)", text)) <= set(ids)


def test_tables_hold_estimates_with_intervals_and_say_what_is_missing(results):
    grid = rank_accuracy(results)
    assert grid.columns == ["family", "Spearman", "Kendall", "partial"]
    found = one_row(results.measures, "rank_accuracy_kendall", "cold")
    by_family = {row[0]: row for row in grid.rows}
    assert by_family["cold"][2] == f"{found['estimate']:.2f} ({found['low']:.2f} to {found['high']:.2f})"
    assert list(by_family) == ["warm", "cold"]

    regrets = choice_regrets(results, "z")
    assert list(regrets.columns) == ["family", "random setting", "effective rank"]
    found = one_row(results.measures, "choice_regret_z_effective_rank", "warm")
    numbers = [f"{100 * found[name]:z.1f}" for name in ("estimate", "low", "high")]
    assert regrets.rows[0][2] == f"{numbers[0]} ({numbers[1]} to {numbers[2]})"
    assert not any("undercovers" in reason for reason in regrets.notes)
    assert choice_regrets(results, "h").rows == []

    counts = {row[0]: row for row in collapse_counts(results, "digits").rows}
    found = one_row(results.measures, "collapse_complete", "cold")
    assert counts["cold"][-1] == " ".join(
        [f"{share(found['estimate'])[:-2]}", f"({share(found['low'])[:-2]}", "to", f"{share(found['high'])[:-2]})"]
    )
    assert counts["untrained"][1:] == ["3", "0", "0", "0", "\u2013", "\u2013"]


def test_a_number_that_is_missing_has_a_dash_and_its_reason_below(results):
    rows = results.measures
    gone = rows["measure"].eq("rank_accuracy_partial") & rows["family"].eq("warm")
    changed = rows.assign(estimate=rows["estimate"].mask(gone), reason=rows["reason"].mask(gone, "constant; one"))
    grid = rank_accuracy(replace(results, measures=changed))
    assert grid.rows[0][3] == "\u2013"
    assert grid.notes["constant"] == "warm: partial"
    assert grid.notes["one"] == "warm: partial"


def test_a_page_has_the_sections_of_what_was_measured(tmp_path):
    page = write(write_store(tmp_path, small_study(seeds=2))).read_text("utf-8")
    assert 'id="rank-accuracy-digits"' in page
    assert 'href="#rank-accuracy-digits"' in page
    assert 'id="choices-digits"' in page
    assert "spectra-digits" not in page
    assert "figure-collapse_over_epochs" not in page
