"""The fit: the shipped constants are its optimum on the shipped table, and what is left out is truly not seen."""

import numpy as np
import pytest

from core.calibration import fit, track_record
from core.calibration.problem import problem
from core.calibration.published import published
from core.physics.efficiency import TERMS, load, rates_of
from core.physics.speed.predict import run
from core.physics.speed.steps import clock


def shipped(parameter):
    """What assets/efficiency.json says of a parameter; it keeps nothing of how sources lie beside each other."""
    if parameter.term >= len(TERMS):
        return 0.0
    known, name = load(), TERMS[parameter.term].name
    if not parameter.level:
        return known.common[name]
    return known.deviations[name].get(parameter.level, {}).get(parameter.label, 0.0)


@pytest.fixture(scope="module")
def model():
    return fit.Model(problem(published()))


@pytest.fixture(scope="module")
def optimum(model):
    """One step of the fit from the shipped constants: what lies between them and its end, and the sources."""
    at = fit.quadratic(model, np.array([shipped(parameter) for parameter in model.problem.parameters]))
    return model, fit.quadratic(model, at.theta + np.linalg.solve(at.curvature, at.slope))


def test_the_shipped_constants_are_what_the_fit_finds(optimum):
    """Weakly known constants may differ where the fit stops; what they predict may not."""
    model, at = optimum
    with_shipped = run(clock(model.jobs, rates_of(model.problem.data.cases.pairs, load())), model.problem.data.cases)
    ours = model.predict(at.theta)
    for found, shipped in ((ours["ttft"], with_shipped.ttft_s), (ours["tpot"], with_shipped.tpot_s)):
        assert np.median(np.abs(np.log(found / shipped))) < 0.05


def test_the_shipped_constants_stand_at_an_optimum(optimum):
    """The Gauss-Newton step that remains is small against the priors."""
    model, at = optimum
    step = np.linalg.solve(at.curvature, at.slope)
    assert np.sqrt(np.mean((step / model.problem.spreads) ** 2)) < 0.1


def test_a_round_of_the_fit_explains_more(model, monkeypatch):
    """From the priors: the errors of a fit of one round are smaller than those without any."""
    monkeypatch.setattr(fit, "ROUNDS", 1)
    before = np.abs(model.logs(np.zeros(len(model.problem.parameters))) - model.problem.target)
    assert np.median(np.abs(fit.fit(model).error)) < 0.8 * np.median(before)


def test_sums_by_label_are_sums_over_derivatives(optimum):
    """The curvature is J'WJ of the derivatives, written out for some observations."""
    _, at = optimum
    chosen = np.arange(0, len(at.weight), 97)
    weight = np.zeros(len(at.weight))
    weight[chosen] = at.weight[chosen]
    J = at.slopes.dense(chosen)
    np.testing.assert_allclose(at.slopes.gram(weight), (J * weight[chosen][:, None]).T @ J, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(at.slopes.dot(weight), J.T @ weight[chosen], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("out", [60, 600])
def test_few_and_many_are_left_out_alike(optimum, out):
    """By Woodbury's identity and by solving again: the same optimum."""
    _, at = optimum
    left_out = np.arange(len(at.weight)) < out
    weight = np.where(left_out, at.weight, 0.0)
    direct = at.theta + np.linalg.solve(
        at.curvature - at.slopes.gram(weight), at.slope + at.slopes.dot(weight * at.error),
    )
    np.testing.assert_allclose(at.without(left_out), direct, rtol=1e-6, atol=1e-6)


def test_leaving_a_fold_out_forgets_its_labels(optimum):
    """A GPU seen in one fold only falls back to its parents when that fold is left out."""
    model, at = optimum
    problem = model.problem
    names = np.array([problem.data.cases.pairs[pair][1].gpu.name for pair in problem.data.cases.which])
    folds = {name: np.unique(problem.data.fold[names == name]) for name in np.unique(names).tolist()}
    alone = next(name for name, of_gpu in folds.items() if len(of_gpu) == 1)
    theta = at.without(problem.data.fold[problem.row] == folds[alone][0])
    own = [i for i, p in enumerate(problem.parameters) if p.level == "gpu" and p.label == alone]
    assert np.allclose(theta[own], 0.0, atol=1e-6)


def test_the_kept_errors_are_what_cross_validation_finds(optimum):
    """On a tenth of the architectures on GPUs: the median error, where the fit stops leaves a point or two."""
    (model, at), kept = optimum, track_record.read()
    data = model.problem.data
    chosen = np.flatnonzero(data.fold % 10 == 0)
    fold = np.full(len(data.fold), -1)
    fold[chosen] = data.fold[chosen]
    found = {metric: np.full(len(fold), np.nan) for metric in track_record.METRICS}
    for number in np.unique(fold[chosen]).tolist():
        values = model.predict(fit.without(model, at, (fold == number)[model.problem.row]))
        for metric, column in found.items():
            column[fold == number] = values[metric][fold == number]
    for metric, column in found.items():
        known = np.isfinite(data.measured(metric))
        ours = track_record.errors((column / data.measured(metric) - 1)[known])
        error = kept.points[metric].error()[np.isfinite(column)[known]]
        assert ours.median == pytest.approx(track_record.errors(error).median, abs=0.03)
