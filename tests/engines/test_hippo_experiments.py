"""The experiments of the page: finite and repeatable arrays, known errors, sentences for bad settings."""

import dataclasses
import math

import numpy as np
import pytest

from engines.hippo import MEASURES, experiments, models, selection, signals, timescales

EXPERIMENTS = [
    experiments.memory,
    experiments.orders,
    experiments.steps,
    experiments.matrices,
    timescales.forgetting,
    models.kernels,
    models.rational,
    selection.copying,
]


def arrays(result):
    return {f.name: v for f in dataclasses.fields(result) if isinstance(v := getattr(result, f.name), np.ndarray)}


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda v: v.__name__)
def test_same_settings_give_the_same_finite_arrays(experiment):
    one, two = arrays(experiment()), arrays(experiment())
    for name, array in one.items():
        assert np.isfinite(array).all(), name
        np.testing.assert_array_equal(array, two[name], err_msg=name)


@pytest.mark.parametrize("method", experiments.SCHEMES)
@pytest.mark.parametrize("measure", MEASURES)
def test_memory_stays_finite_under_every_method(measure, method):
    for order, samples in ((2, 64), (64, 128)):
        result = experiments.memory(measure=measure, method=method, order=order, samples=samples)
        assert all(np.isfinite(array).all() for array in arrays(result).values())


def test_growth_of_the_state_is_reported_with_the_condition_number():
    found = experiments.memory(measure="legs", method="forward", order=64)
    assert math.log10(found.peak) == pytest.approx(43.6, abs=0.2) and found.condition == pytest.approx(3.2e47, rel=0.05)
    found = experiments.memory(measure="legt", method="forward", order=64, samples=128)
    assert found.growth > 1.1 and found.condition > 1
    for measure in MEASURES:
        found = experiments.memory(measure=measure)
        assert (found.growth, found.peak, found.condition) == (0, 0, 0)
    found = experiments.memory(measure="legt", method="bilinear")
    assert 0 < found.growth < 1 and found.peak < 100 and found.condition == 0


def test_forward_euler_ends_far_off_and_late():
    found = experiments.steps(order=64)
    forward = found.methods.index("forward")
    assert found.size[forward].max() == pytest.approx(6.8e43, rel=0.02)
    assert np.flatnonzero(found.size[forward] > 10)[-1] + 1 == 94
    assert found.error[forward, -1] == pytest.approx(0.868, abs=0.001)
    others = np.delete(found.size, forward, 0)
    assert others.max() < found.scale


def test_own_file_in_every_experiment_that_takes_a_signal(tmp_path):
    path = tmp_path / "wave.csv"
    path.write_text("\n".join(map(str, np.sin(np.arange(400) / 30))))
    for experiment in (experiments.memory, experiments.orders, experiments.steps):
        mine, none = experiment(signal="own", upload=str(path)), experiment(signal="own")
        assert not np.array_equal(mine.error, none.error)
        np.testing.assert_array_equal(
            experiment(upload=str(path)).error, experiment().error
        )  # another signal is chosen
    found = experiments.memory(signal="own", upload=str(path))
    assert found.kind == "table" and found.facts["rows"] == 400 and found.time[-1] < 400


def test_legs_lies_on_its_floor_and_windows_above_theirs():
    result = experiments.orders(measures=tuple(MEASURES))
    names = list(MEASURES)
    exact = [names.index("legs"), names.index("lagt")]
    np.testing.assert_allclose(result.error[exact], result.floor[exact], rtol=1e-5)
    assert (result.error >= result.floor * (1 - 1e-6)).all()
    assert (np.diff(result.floor, axis=1) <= 1e-6).all()


def test_steps_converge_as_they_should():
    result = experiments.steps(measure="legt", order=8)
    slope = np.log2(result.error[:, -2] / result.error[:, -1])
    np.testing.assert_allclose(slope, [2, 2, 1, 1], atol=0.3)
    assert len(experiments.steps(order=4, alpha=0.3).methods) == 5


def test_a_whole_number_may_come_as_a_float():
    for experiment in (experiments.steps, experiments.orders):
        one, two = (experiment(signal="steps", seed=seed) for seed in (3, 3.0))
        np.testing.assert_array_equal(one.error, two.error)


def test_forgetting_knows_nothing_beyond_a_window():
    result = timescales.forgetting(measures=("legt", "legs"), window=0.25, order=64)
    inside, beyond = result.age < 0.2, result.age > 0.3
    assert result.error[0, inside].max() < 1e-2
    assert (result.error[0, beyond] == 1).all()  # recalling nothing is its own measure
    assert result.error[1].max() < 0.02  # 64 numbers suffice for 12 periods


def test_an_impulse_fades_like_a_power_in_legs_and_exponentially_in_a_window():
    found = timescales.forgetting(measures=("legs", "legt", "lagt"))
    late = found.elapsed > 1e4
    np.testing.assert_allclose((found.kept[0] * (1 + found.elapsed))[late], 1, rtol=0.1)
    assert (found.kept[1:, late] < 1e-20).all() and (found.kept[:, 0] > 0.3).all()


def test_the_map_of_legs_moves_and_that_of_a_window_stays():
    legs, window = timescales.timescales("legs", 16), timescales.timescales("legt", 16, 0.25)
    for i, moment in enumerate(legs.moment[3:], 3):
        middle = (legs.age > moment / 4) & (legs.age < 3 * moment / 4)
        assert (legs.error[i][legs.period > 1.6 * legs.finest[i]][:, middle] < 0.05).all()
        assert legs.error[i][legs.period < 0.6 * legs.finest[i]][:, middle].mean() > 0.5
        assert np.isnan(legs.error[i][:, legs.age > moment]).all()
    late = window.error[-2:, :, window.age < 120]
    np.testing.assert_allclose(late[0, :20], late[1, :20], atol=1e-3)
    assert (window.error[-1][:, window.age > 130] == 1).all()
    change = dict(zip(legs.measures, legs.change, strict=True))
    assert change["legs"].max() < 1e-12 and change["fous"].max() < 1e-12
    assert all(change[name][0] > 0.5 for name in ("legt", "lagt", "fout")) and 1e-3 < change["bilinear"][0] < 0.5


@pytest.mark.parametrize("poles", selection.POLES)
def test_only_a_selective_step_copies(poles):
    found = selection.copying(tokens=3, length=12, order=6, ratio=0.0, poles=poles)
    assert found.here < 1e-20
    np.testing.assert_allclose(found.read[0], found.sequence[found.place], atol=1e-6)
    assert (found.error[:, -1] >= found.bound.mean() - 1e-9).all()
    assert (np.diff(found.error[1:, found.ratios < 0.1], axis=1) > -1e-9).all()


def test_the_ripples_of_s4d_do_not_fall_but_their_mean_does():
    found = models.kernels()
    plain, smooth, legs, inv, lin = found.diagonal_gap
    assert abs(plain[-1] / plain[3] - 1) < 0.05 and smooth[-1] < smooth[0] / 5
    assert legs[-1] < 1e-6 and inv[-1] < 1e-6 and lin[-1] > 0.1


def test_kernels_agree():
    for result in (
        models.kernels(),
        models.kernels(order=128, length=64),
        models.kernels(order=2, length=65),
    ):
        assert result.kernel_gap < 1e-12 and result.output_gap < 1e-12 and result.skew_gap < 1e-12
    peak = models.kernels(order=64, delay=0.7)
    assert peak.time[peak.cauchy.argmax()] == pytest.approx(0.7, abs=0.02)


def test_rational_agrees_and_says_where_it_cannot():
    for model in ("resonators", "memory"):
        for order in (2, 3, 33, 128):
            result = models.rational(model=model, order=order)
            assert result.kernel_gap < 1e-12 and result.output_gap < 1e-11
            assert result.radius == pytest.approx(0.97 if model == "resonators" else 0, abs=1e-9)
    with pytest.raises(ValueError, match="not stable"):
        models.rational(model="legs", order=16)


@pytest.mark.parametrize(
    "call, word",
    [
        (lambda: experiments.memory(signal="song"), "signal"),
        (lambda: signals.load(["waves"]), "signal"),
        (lambda: experiments.memory(signal="formula", formula=None), "formula"),
        (lambda: experiments.memory(signal="formula", formula="1/(t-t)"), "divides by zero"),
        (lambda: experiments.memory(measure="legx"), "measure"),
        (lambda: experiments.memory(order=math.nan), "order"),
        (lambda: experiments.memory(order=10**9), "order"),
        (lambda: experiments.memory(order=2.5), "order"),
        (lambda: experiments.memory(order=True), "order"),
        (lambda: experiments.memory(order="8"), "order"),
        (lambda: experiments.memory(samples=10**9), "samples"),
        (lambda: experiments.memory(window=math.nan), "window"),
        (lambda: experiments.memory(window=0), "window"),
        (lambda: experiments.memory(method="euler"), "method"),
        (lambda: experiments.memory(method="gbt"), "method"),
        (lambda: experiments.steps(alpha=math.inf), "alpha"),
        (lambda: experiments.steps(form="new"), "form"),
        (lambda: experiments.memory(seed=-1), "seed"),
        (lambda: experiments.orders(measures=()), "measures"),
        (lambda: experiments.orders(measures=("legs", "no")), "measures"),
        (lambda: timescales.forgetting(detail=1e9), "detail"),
        (lambda: models.kernels(reach=-1), "reach"),
        (lambda: models.rational(model="x"), "model"),
        (lambda: models.rational(order=64, length=64), "length"),
    ],
)
def test_bad_settings_are_named(call, word):
    with pytest.raises(ValueError, match=word):
        call()
