"""Training: PyTorch's own update, every model by itself, and nothing lost to Ctrl-C, a kill or a divergence."""

import json
import logging
import math
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from oracles import PAPER, generators, same_bits, torch_twin
from safetensors import safe_open
from safetensors.torch import save_file

from emt_core.networks import GRU, Elman, VectorNetwork
from emt_core.networks.exact import linear_rnn
from emt_core.networks.kernels import adam, compiled, elman_native
from emt_core.networks.kernels.elman import fastest
from emt_core.networks.vectors import elman, loss_and_grad
from emt_core.support.random_streams import LIMIT
from emt_core.support.running import one_thread_per_product
from emt_core.tasks import TokenRepeat, VariableBinding
from emt_core.training import Recipe, Run, Status, engine, evaluate, fit, variable_binding
from emt_core.training.engine import steps_done

WEIGHTS = ("W_uh", "W_hh", "W_r")
TASK = VariableBinding.repeat_copy(3, 2)
# Odd sizes, and a threshold that lets models climb the curriculum at different times: guessing scores about 0.5. No
# share of the 30, 40 or 60 signs of a batch is 0.61, so that rounding cannot decide.
SMALL = dict(hidden=7, batch=5, horizons=(3, 4, 6), threshold=0.61, every=7, test_horizon=9, progress=False)


def draw(own: list[torch.Generator], hidden: int = 7, dim: int = 2) -> VectorNetwork:
    return VectorNetwork.init(Elman, dim, hidden, own)


def assert_same_run(a: Run, b: Run, models: slice = slice(None)) -> None:
    """Every bit of ``a``, and of models ``models`` of ``b``, agrees."""
    for name in WEIGHTS:
        assert same_bits(getattr(a.model, name), getattr(b.model[models], name)), name
    for name in ("loss", "accuracy", "horizon"):
        assert same_bits(getattr(a.history, name), getattr(b.history, name)[:, models]), f"history.{name}"
    assert torch.equal(a.history.steps, b.history.steps)
    assert same_bits(a.accuracy, b.accuracy[models])
    assert a.status == b.status[models]
    assert torch.equal(a.steps, b.steps[models])
    assert a.snapshots.keys() == b.snapshots.keys()
    for step, model in a.snapshots.items():
        assert all(same_bits(getattr(model, n), getattr(b.snapshots[step][models], n)) for n in WEIGHTS), (
            f"snapshot {step}"
        )


@pytest.fixture
def two_threads():
    """At least two models at a time, whatever the machine; put back afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def no_kernel(monkeypatch):
    """As where there was no C++ compiler."""
    elman_native.library.cache_clear()
    monkeypatch.setattr(compiled, "instruction_set", lambda: "none")
    monkeypatch.setattr(elman_native, "instruction_set", lambda: "none")


@pytest.fixture(params=["the kernel that is here", "no kernel"])
def with_and_without_a_kernel(request):
    if request.param == "no kernel":
        request.getfixturevalue("no_kernel")


# --- the update -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lr", "l2", "clip"), [(1e-3, 0.0, 1.0), (1e-2, 0.1, 1.0), (3e-3, 0.0, 0.05), (3e-3, 0.01, 0.05)], ids=str
)
def test_training_is_torch_nn_rnn_with_adam_and_clipping(with_and_without_a_kernel, lr, l2, clip):
    hidden, batch, steps, horizons, threshold = 11, 9, 20, (3, 5, 8), 0.55
    run = fit(
        TASK, hidden=hidden, seeds=[4], steps=steps, lr=lr, l2=l2, clip=clip, horizons=horizons, threshold=threshold,
        batch=batch, every=1, progress=False,
    )  # fmt: skip
    (generator,) = generators(4)
    rnn, readout = torch_twin(draw([generator], hidden))
    weights = [*rnn.parameters(), *readout.parameters()]
    optimiser = torch.optim.Adam(weights, lr=lr, weight_decay=l2)
    level, clipped = 0, False
    for step in range(steps):
        inputs, targets = TASK.sample(batch, horizons[level], generator)
        outputs = readout(rnn(torch.cat([inputs[0], torch.zeros_like(targets[0])]))[0])[3:]
        loss = torch.nn.functional.mse_loss(outputs, targets[0])
        optimiser.zero_grad()
        loss.backward()
        clipped |= torch.nn.utils.clip_grad_norm_(weights, clip).item() > clip
        optimiser.step()
        accuracy = (outputs.sign() == targets[0].sign()).float().mean().item()
        # float32: loss and gradient differ in the order of ~1,000 additions, ε·√1000 ≈ 4e-6 relative
        assert run.history.loss[step].item() == pytest.approx(loss.item(), rel=1e-5)
        assert run.history.accuracy[step].item() == pytest.approx(accuracy, abs=1e-6)
        assert run.history.horizon[step].item() == horizons[level]
        level = min(level + (accuracy > threshold), len(horizons) - 1)
    assert level > 0
    assert clipped == (clip < 1)
    # A step of Adam is lr·m/√v: where a gradient is small its rounding is a larger part of the step. 1e-6 is 20 steps
    # of lr = 1e-3 to 5e-5 of themselves; a larger lr takes proportionally larger steps.
    tolerance = 1e-6 * max(1, lr / 1e-3)
    for name, twin in zip(WEIGHTS, (rnn.weight_ih_l0, rnn.weight_hh_l0, readout.weight), strict=True):
        torch.testing.assert_close(getattr(run.model, name)[0], twin.detach(), rtol=0, atol=tolerance)


def test_without_a_kernel_training_is_autograd_bit_for_bit_and_the_log_says_so_once(no_kernel, caplog):
    with caplog.at_level(logging.WARNING):
        run = fit(TASK, **SMALL | dict(seeds=[0, 1], steps=15, every=1), lr=[1e-2, 3e-3], l2=0.1)
    assert [r.message for r in caplog.records if "fast CPU kernel" in r.message] == [
        "the fast CPU kernel was not compiled for none: training uses torch, several times slower"
    ]
    for m, (generator, lr) in enumerate(zip(generators(0, 1), (1e-2, 3e-3), strict=True)):
        model, level, moments = draw([generator]), 0, None
        for step in range(15):
            inputs, targets = TASK.sample(5, SMALL["horizons"][level], [generator])
            loss, accuracy, grads = loss_and_grad(model, inputs, targets)
            weights, gradient = variable_binding.flat(model.weights), variable_binding.flat(grads)
            moments = moments or (torch.zeros_like(weights), torch.zeros_like(weights))
            rates = torch.tensor([[lr]]), torch.tensor([[0.1]])
            adam.clip_and_adam(weights, *moments, gradient, loss, *rates, 1.0, step + 1)
            parts = weights.split([w.numel() for w in model.weights.values()], dim=1)
            model = model.with_weights(
                {n: p.view_as(w) for (n, w), p in zip(model.weights.items(), parts, strict=True)}
            )
            assert same_bits(run.history.loss[step, m], loss[0])
            assert same_bits(run.history.accuracy[step, m], accuracy[0])
            level = min(level + (accuracy.item() > 0.61), 2)
        assert all(same_bits(getattr(run.model[m], name), getattr(model, name)) for name in WEIGHTS)


def test_training_with_noise_adds_normal_numbers_to_every_state():
    """The recurrence and the update as they are written; a step draws its sequences, then its noise."""
    sigma, lr, l2, clip, steps, threshold = 0.2, 3e-3, 0.01, 0.5, 20, 0.55
    options = dict(lr=lr, l2=l2, clip=clip, threshold=threshold, every=1, steps=steps)
    run = fit(TASK, **SMALL | dict(seeds=[4]) | options, noise=sigma)
    (generator,) = generators(4)
    weights = {name: w[0].clone().requires_grad_() for name, w in draw([generator]).weights.items()}
    optimiser, level = torch.optim.Adam(weights.values(), lr=lr, weight_decay=l2), 0
    for step in range(steps):
        horizon = SMALL["horizons"][level]
        inputs, targets = TASK.sample(5, horizon, generator)
        noise = torch.randn(3 + horizon, 5, 7, generator=generator)
        h, loss, right = torch.zeros(5, 7), torch.zeros(()), 0.0
        for t, kick in enumerate(noise):
            drive = h @ weights["W_hh"].T + (inputs[0, t] @ weights["W_uh"].T if t < 3 else 0)
            h = drive.tanh() + sigma * kick
            if t >= 3:
                written = h @ weights["W_r"].T
                loss = loss + (written - targets[0, t - 3]).square().mean() / horizon
                right += (written.sign() == targets[0, t - 3].sign()).float().mean().item() / horizon
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights.values(), clip)
        optimiser.step()
        # tolerances as without noise, against torch.nn.RNN above
        assert run.history.loss[step].item() == pytest.approx(loss.item(), rel=1e-5)
        assert run.history.accuracy[step].item() == pytest.approx(right, abs=1e-6)
        assert run.history.horizon[step].item() == horizon
        level = min(level + (right > threshold), 2)
    assert level > 0
    for name in WEIGHTS:
        torch.testing.assert_close(getattr(run.model, name)[0], weights[name].detach(), rtol=0, atol=3e-6)
    # what judges it is without noise
    assert torch.equal(run.accuracy, evaluate(run.model, TASK, horizon=9, seeds=[4]))


@pytest.mark.parametrize("none", [0, 0.0, np.float32(0)], ids=repr)
def test_no_noise_is_training_as_it_was(with_and_without_a_kernel, none):
    settings = LONG | dict(steps=25)
    assert_same_run(fit(TASK, **settings, noise=none), fit(TASK, **settings))
    noisy = fit(TASK, **settings, noise=1e-3)
    assert not torch.equal(noisy.model.W_hh, fit(TASK, **settings).model.W_hh)
    # the first sequences are drawn before the first noise, from the same weights
    torch.testing.assert_close(noisy.history.loss[0], fit(TASK, **settings).history.loss[0], rtol=0.02, atol=0)


def test_history_and_snapshots_say_what_the_weights_say():
    run = fit(TASK, **SMALL, seeds=[0, 1], steps=30, lr=[1e-2, 3e-3], snapshots=range(31))
    assert run.history.steps.tolist() == [0, 7, 14, 21, 28]
    assert list(run.snapshots) == list(range(31))
    for name in WEIGHTS:
        assert same_bits(getattr(run.snapshots[30], name), getattr(run.model, name))
    for m, generator in enumerate(generators(0, 1)):
        start = draw([generator])
        assert all(same_bits(getattr(run.snapshots[0][m], n), getattr(start, n)) for n in WEIGHTS)
        level = 0
        for step in range(30):
            inputs, targets = TASK.sample(5, SMALL["horizons"][level], generator)
            loss, accuracy, _ = loss_and_grad(run.snapshots[step][m], inputs, targets)
            if step % 7 == 0:
                torch.testing.assert_close(run.history.loss[step // 7, m], loss[0], rtol=1e-5, atol=0)
                torch.testing.assert_close(run.history.accuracy[step // 7, m], accuracy[0], rtol=1e-6, atol=0)
                assert run.history.horizon[step // 7, m] == SMALL["horizons"][level]
            level = min(level + (accuracy.item() > 0.61), 2)


def test_a_small_task_is_learned():
    task = VariableBinding.repeat_copy(2, 1)
    run = fit(task, hidden=16, seeds=[0, 1], steps=250, lr=1e-2, horizons=(4, 8), batch=16, progress=False)
    assert (run.accuracy > 0.95).all()
    assert run.history.horizon[-1].tolist() == [8, 8]
    assert (run.history.loss[-1] < 0.2 * run.history.loss[0]).all()


# --- every model by itself --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2])
def test_a_model_of_an_ensemble_is_the_model_trained_alone_bit_for_bit(with_and_without_a_kernel, threads, two_threads):
    torch.set_num_threads(threads)
    # nine: a kernel then takes them in groups of four, and one alone; one of the second four diverges
    settings = dict(seeds=[3, 0, 3, 8, 5, 1, 7, 2, 4], lr=[1e-2, 1e-3, 1e-2, 3e-2, 2e-3, 1e-2, 1e30, 1e-2, 1e-3])
    settings |= dict(l2=[0.0, 0.1, 1e-3, 0.0, 1e-2] + [0.0] * 4, threshold=[0.51, 0.61, 1.0, 0.56, 0.71] + [0.55] * 4)
    together = fit(TASK, **SMALL | settings, steps=40, snapshots=[0, 13, 40])
    assert together.status.count(Status.DIVERGED) == 1
    assert len(together.history.horizon[-1].unique()) > 1  # they do train at several horizons at once
    assert not torch.equal(together.model.W_hh[0], together.model.W_hh[2])  # equal seed, other settings
    torch.set_num_threads(1)
    for m in range(9):
        alone = fit(TASK, **SMALL | {k: [v[m]] for k, v in settings.items()}, steps=40, snapshots=[0, 13, 40])
        assert_same_run(alone, together, slice(m, m + 1))


@pytest.mark.parametrize("cell", ["elman", "lstm"])
def test_with_noise_a_model_of_an_ensemble_is_the_model_trained_alone_bit_for_bit(cell):
    settings = SMALL | dict(cell=cell, noise=0.1, steps=30, snapshots=[0, 13, 30])
    each = dict(seeds=[3, 0, 3], lr=[1e-2, 1e-3, 3e-2], threshold=[0.51, 0.61, 1.0])
    together = fit(TASK, **settings | each)
    assert len(together.history.horizon[-1].unique()) > 1
    for m in range(3):
        alone = fit(TASK, **settings | {name: [values[m]] for name, values in each.items()})
        assert alone.model == together.model[m] and same_bits(alone.accuracy, together.accuracy[m : m + 1])
        assert same_bits(alone.history.loss, together.history.loss[:, m : m + 1])
        assert all(model == together.snapshots[step][m] for step, model in alone.snapshots.items())


@pytest.mark.parametrize(("hidden", "batch"), [(1, 1), (13, 3), (33, 17)], ids=str)
def test_the_number_of_threads_changes_no_bit(hidden, batch, two_threads):
    task = VariableBinding(PAPER[2], 8, 8)
    settings = SMALL | dict(hidden=hidden, batch=batch, seeds=[0, 1, 2], steps=6)
    two = fit(task, **settings)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
    assert_same_run(fit(task, **settings), two)
    assert torch.get_num_threads() == 1


def grouped(config: dict) -> variable_binding._Models:
    """All models in one group, as CUDA trains them."""
    kernel = variable_binding._kernel(config, TASK.dim, "cpu", None)
    return variable_binding._Models(list(range(len(config["seeds"]))), TASK, config, "cpu", None, kernel)


def advance(group: variable_binding._Models, goal: int) -> None:
    while group.step < goal:
        group.advance()


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_models_that_share_one_product_train_as_they_do_alone(noise):
    # CUDA advances all models in one group; such a group on the CPU must agree with groups of one model to rounding
    config = dict(cell="elman", seeds=[0, 1, 2, 3], hidden=7, steps=25, batch=5, every=1, clip=1.0, snapshots=[10])
    config |= dict(noise=noise, lr=[1e-3, 1e30, 3e-3, 1e-3], l2=[0.0, 0.0, 0.1, 0.0])
    config |= dict(threshold=[0.51, 0.51, 0.61, 2.0], horizons=[3, 4, 6])
    group = grouped(config)
    advance(group, 25)
    apart = fit(TASK, **config, progress=False)
    assert len({group.level[m] for m in (0, 2, 3)}) > 1
    for m in (0, 2, 3):
        # float32, 25 steps of at most 3e-3: as against torch.optim.Adam above
        torch.testing.assert_close(group.model(group.weights)[m].W_hh, apart.model[m].W_hh, rtol=0, atol=5e-6)
        horizons = torch.stack(group.records["record.horizon"])[:, m]
        torch.testing.assert_close(horizons.long(), apart.history.horizon[:, m])
    assert group.ended == [-1, apart.steps[1], -1, -1] and 0 < apart.steps[1] < 25
    assert group.statuses(25) == apart.status == (Status.DONE, Status.DIVERGED, Status.DONE, Status.DONE)
    assert group.weights.isfinite().all()


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_models_that_share_one_product_resume_together(noise):
    config = dict(cell="elman", seeds=[3, 1, 2], hidden=7, steps=20, batch=5, every=1, clip=1.0, snapshots=[])
    config |= dict(noise=noise, lr=[1e-3] * 3, l2=[0.0] * 3, threshold=[0.6] * 3, horizons=[3, 4])
    whole, first, second = grouped(config), grouped(config | dict(steps=9)), grouped(config)
    advance(whole, 20)
    advance(first, 9)
    assert len(set(first.level)) > 1
    second.restore({name: x.clone() for name, x in first.tensors().items()})
    advance(second, 20)
    assert whole.tensors().keys() == second.tensors().keys()
    assert all(same_bits(x, second.tensors()[name]) for name, x in whole.tensors().items())


@pytest.mark.parametrize(
    ("models", "hidden", "size"),
    [(1, 8, 1), (3, 8, 1), (4, 32, 2), (4, 33, 1), (7, 64, 1), (8, 64, 2), (16, 64, 4), (100, 8, 4), (16, 65, 1)],
    ids=str,
)
def test_small_networks_share_a_thread(models, hidden, size):
    assert variable_binding._group_size(models, hidden, torch) == size  # any module
    assert variable_binding._group_size(models, hidden, None) == 1  # autograd's products would have other bits


def test_models_that_share_a_thread_go_on_from_a_checkpoint(tmp_path):
    settings = SMALL | dict(seeds=range(9), threshold=[0.51, 0.61, 1.0] * 3)
    fit(TASK, **settings, steps=11, checkpoint=tmp_path / "run")
    assert_same_run(fit(TASK, **settings, steps=25, checkpoint=tmp_path / "run"), fit(TASK, **settings, steps=25))


def test_models_that_share_one_product_share_one_workspace():
    """Models at the same horizon are computed at once, and how many they are changes all the time: memory for the
    largest of these computations is enough, as it is used again by all others."""
    module = fastest("cpu", 7, 2)
    if module is None:
        pytest.skip("no compiled kernel here")
    config = dict(cell="elman", seeds=[0, 1, 2, 3, 4, 5], hidden=7, steps=60, batch=5, every=1, clip=1.0, snapshots=[])
    config |= dict(noise=0.0, lr=[3e-3] * 6, l2=[0.0] * 6, threshold=[0.3, 0.45, 0.5, 0.55, 0.61, 2.0])
    group, held, alone = grouped(config | dict(horizons=[3, 4, 5, 6, 7, 8])), [], {}
    computed, workspace = group.loss_and_grad, group.workspace

    def watched(network, inputs, targets, noise):
        fresh = module.Workspace()
        module.loss_and_grad(network.W_uh, network.W_hh, network.W_r, inputs, targets, fresh)
        alone[network.models, targets.shape[1]] = fresh.bytes
        found = computed(network, inputs, targets, noise)
        held.append((group.workspace.bytes, max(alone.values())))
        return found

    group.loss_and_grad = watched
    with one_thread_per_product():
        advance(group, 60)
    assert len({models for models, _ in alone}) >= 4 and len({horizon for _, horizon in alone}) == 6
    assert group.workspace is workspace and all(bytes == largest > 0 for bytes, largest in held)


def test_training_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    fit(TASK, **SMALL, steps=3)
    assert torch.equal(torch.get_rng_state(), before)


# --- divergence -------------------------------------------------------------------------------------------------------


def test_a_model_that_diverges_is_reported_and_disturbs_nobody():
    settings = SMALL | dict(seeds=[0, 1, 2], steps=30, snapshots=range(31))
    run = fit(TASK, **settings, lr=[1e-2, 1e30, 3e-3])
    assert run.status == (Status.DONE, Status.DIVERGED, Status.DONE)
    assert all(type(status) is Status for status in run.status)
    at = int(run.steps[1])
    assert 0 < at < 30 and run.steps.tolist() == [30, at, 30]
    assert run.accuracy.isnan().tolist() == [False, True, False]
    for name in WEIGHTS:  # its weights are those before that step
        assert getattr(run.model, name)[1].isfinite().all()
        assert same_bits(getattr(run.model, name)[1], getattr(run.snapshots[at], name)[1])
    gone = run.history.steps > at
    assert run.history.loss[gone, 1].isnan().all()
    assert (run.history.horizon[gone, 1] == 0).all()
    for m, lr in ((0, 1e-2), (2, 3e-3)):
        assert_same_run(fit(TASK, **settings | dict(seeds=[m]), lr=lr), run, slice(m, m + 1))


def test_a_model_that_overflows_in_its_last_update_is_not_done():
    run = fit(TASK, **SMALL, seeds=[0, 1], steps=1, lr=[1e300, 1e-3])
    assert run.status == (Status.DIVERGED, Status.DONE) and run.steps.tolist() == [1, 1]
    assert run.accuracy.isnan().tolist() == [True, False]


def test_all_models_may_diverge():
    run = fit(TASK, **SMALL, seeds=[0, 1], steps=12, lr=1e30)
    assert run.status == (Status.DIVERGED,) * 2 and (run.steps < 12).all()
    assert run.accuracy.isnan().all()


def test_a_diverged_model_stays_so_after_a_resume(tmp_path):
    settings = SMALL | dict(seeds=[0, 1], lr=[1e30, 1e-3], checkpoint=tmp_path / "run")
    first = fit(TASK, **settings, steps=20)
    again = fit(TASK, **settings, steps=35)
    assert first.status == again.status == (Status.DIVERGED, Status.DONE)
    assert first.steps.tolist() == [again.steps[0], 20] and again.steps[1] == 35
    assert_same_run(again, fit(TASK, **SMALL | dict(seeds=[0, 1], lr=[1e30, 1e-3]), steps=35))


# --- checkpoint and resume --------------------------------------------------------------------------------------------

LONG = SMALL | dict(seeds=[3, 1], lr=[1e-2, 3e-3], l2=[0.0, 1e-3], snapshots=[0, 5, 20])


@pytest.mark.parametrize("checkpoint_every", [1, 6, 1000])
@pytest.mark.parametrize(("first", "second"), [(30, 70), (28, 70), (5, 29)])  # the history's rows are at multiples of 7
def test_a_run_made_longer_is_the_longer_run(tmp_path, checkpoint_every, first, second):
    settings = LONG | dict(seeds=[3, 1, 4], lr=[1e-2, 3e-3, 1e30], l2=[0.0, 1e-3, 0.0], snapshots=[0, 5])
    whole, path = fit(TASK, **settings, steps=second), tmp_path / "run"
    shorter = fit(TASK, **settings, steps=first, checkpoint=path, checkpoint_every=checkpoint_every)
    assert_same_run(shorter, fit(TASK, **settings, steps=first))
    assert whole.status == (Status.DONE, Status.DONE, Status.DIVERGED) and steps_done(path) == 3 * first
    longer = fit(TASK, **settings, steps=second, checkpoint=path, checkpoint_every=checkpoint_every)
    assert_same_run(longer, whole)
    assert steps_done(path) == 3 * second


@pytest.mark.parametrize("checkpoint_every", [1, 6, 1000])
def test_a_run_in_two_parts_is_the_run_in_one(tmp_path, checkpoint_every):
    whole = fit(TASK, **LONG, steps=45)
    settings = LONG | dict(checkpoint=tmp_path / "deep" / "run", checkpoint_every=checkpoint_every)
    first = fit(TASK, **settings, steps=23)
    assert len(first.history.steps) == 4
    second = fit(TASK, **settings, steps=45)
    assert_same_run(second, whole)
    assert_same_run(fit(TASK, **settings, steps=45), whole)  # nothing left to do: read back from the file
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["run"]


@pytest.mark.parametrize("checkpoint_every", [1, 6, 1000])
def test_a_run_with_noise_in_two_parts_is_the_run_in_one(tmp_path, checkpoint_every):
    settings = LONG | dict(noise=0.1, checkpoint=tmp_path / "run", checkpoint_every=checkpoint_every)
    fit(TASK, **settings, steps=23)
    assert_same_run(fit(TASK, **settings, steps=45), fit(TASK, **LONG, noise=0.1, steps=45))


def test_checkpoints_that_are_older_than_noise_are_those_without(tmp_path):
    """They do not name it, and neither do those of a run without any."""
    path = tmp_path / "run"
    fit(TASK, **LONG, steps=20, checkpoint=path, noise=0.0)
    with safe_open(path, framework="pt") as file:
        run = json.loads(file.metadata()["run"])
    named = "triple history dim cell seeds hidden batch every clip lr l2 threshold horizons snapshots"
    assert run.keys() == set(named.split())
    with pytest.raises(ValueError, match=r"checkpoint.* another run.*'noise': \(None, 0.1\)"):
        fit(TASK, **LONG, steps=40, checkpoint=path, noise=0.1)
    assert_same_run(fit(TASK, **LONG, steps=40, checkpoint=path), fit(TASK, **LONG, steps=40))
    noisy = tmp_path / "noisy"
    fit(TASK, **LONG, steps=20, checkpoint=noisy, noise=0.1)
    for other in (0.0, 0.2):
        with pytest.raises(ValueError, match=r"checkpoint.* another run.*'noise'"):
            fit(TASK, **LONG, steps=40, checkpoint=noisy, noise=other)


def test_a_checkpoint_does_not_change_the_run(tmp_path):
    assert_same_run(
        fit(TASK, **LONG, steps=30, checkpoint=tmp_path / "run", checkpoint_every=4), fit(TASK, **LONG, steps=30)
    )


def strike(monkeypatch, step: int, action) -> None:
    """Run ``action`` in a worker when some model computes its ``step``-th gradient, and give the main thread time."""
    module = fastest("cpu", 7, 2) or variable_binding  # whichever trains here
    kernel, calls = module.loss_and_grad, iter(range(10**9))

    def wrapped(*arguments):
        if next(calls) == step:
            action()
            time.sleep(0.2)
        return kernel(*arguments)

    monkeypatch.setattr(module, "loss_and_grad", wrapped)


def ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def raises_keyboard_interrupt(number, frame):
    raise KeyboardInterrupt


@pytest.mark.parametrize("handler", [signal.default_int_handler, raises_keyboard_interrupt], ids=["python's", "own"])
def test_ctrl_c_loses_nothing(tmp_path, monkeypatch, handler, two_threads):
    # a program's own handler may raise in the main thread at any moment, Python's is kept from doing so
    before = signal.signal(signal.SIGINT, handler)
    try:
        settings = LONG | dict(steps=4000, snapshots=[0])
        strike(monkeypatch, 50, ctrl_c)
        stopped = fit(TASK, **settings, checkpoint=tmp_path / "run")
        monkeypatch.undo()
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert stopped.status == (Status.INTERRUPTED,) * 2
    steps = stopped.steps.tolist()
    assert all(0 < step < 4000 for step in steps) and steps_done(tmp_path / "run") == sum(steps)
    assert stopped.accuracy.isnan().all()
    for m, k in enumerate(steps):  # each model as it was after its last whole step
        alone = fit(
            TASK, **settings | dict(steps=k, seeds=LONG["seeds"][m : m + 1], lr=LONG["lr"][m], l2=LONG["l2"][m])
        )
        assert all(same_bits(getattr(stopped.model[m], n), getattr(alone.model, n)) for n in WEIGHTS)
        rows = len(alone.history.steps)
        assert same_bits(stopped.history.loss[:rows, m], alone.history.loss[:, 0])
        assert stopped.history.loss[rows:, m].isnan().all()
    end = max(steps) + 20
    resumed = fit(TASK, **settings | dict(steps=end), checkpoint=tmp_path / "run")
    assert_same_run(resumed, fit(TASK, **settings | dict(steps=end)))


def test_ctrl_c_without_a_checkpoint_returns_the_models(monkeypatch):
    strike(monkeypatch, 20, ctrl_c)
    run = fit(TASK, **SMALL, steps=4000)
    assert run.status == (Status.INTERRUPTED,) and 20 <= run.steps < 4000
    assert torch.isfinite(run.history.loss[0]).all()


def test_ctrl_c_while_a_checkpoint_is_written_waits_for_it(tmp_path, monkeypatch):
    write = engine.write_safetensors

    def struck(*arguments):
        ctrl_c()
        time.sleep(0.01)  # a handler that raises would raise here
        write(*arguments)

    monkeypatch.setattr(engine, "write_safetensors", struck)
    run = fit(TASK, **LONG, steps=60, checkpoint=tmp_path / "run", checkpoint_every=21)
    monkeypatch.undo()
    assert run.status == (Status.INTERRUPTED,) * 2 and run.steps.tolist() == [21, 21]
    resumed = fit(TASK, **LONG, steps=60, checkpoint=tmp_path / "run", checkpoint_every=21)
    assert_same_run(resumed, fit(TASK, **LONG, steps=60))


def test_ctrl_c_while_the_accuracy_is_measured_keeps_the_models(monkeypatch):
    monkeypatch.setattr(variable_binding, "evaluate", lambda *a, **k: raises_keyboard_interrupt(0, None))
    run = fit(TASK, **SMALL, steps=4)
    assert run.status == (Status.DONE,)
    assert run.accuracy.isnan().all()


def test_training_works_outside_the_main_thread():
    # signal handlers can be set in the main thread only
    runs = []
    thread = threading.Thread(target=lambda: runs.append(fit(TASK, **LONG, steps=20)))
    thread.start()
    thread.join()
    assert_same_run(runs[0], fit(TASK, **LONG, steps=20))


class Polled(threading.Event):
    """Says when somebody has asked whether it is set: training that can be told to stop has begun then."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Event()

    def is_set(self) -> bool:
        self.begun.set()
        return super().is_set()


def threads_of_a_new_thread() -> int:
    found = []
    thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.parametrize("tasks", ["binding binding", "binding repeat", "repeat binding", "repeat repeat"])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["first ends first", "second ends first"])
def test_runs_that_overlap_leave_the_number_of_threads_as_it_was(tasks, order, two_threads):
    repeat, recipe = TokenRepeat(3, 1, 2), Recipe(batch=4, every=5, patience=0)
    settings = [
        dict(task=TASK, **LONG | dict(snapshots=[]))
        if name == "binding"
        else dict(task=repeat, hidden=5, seeds=[0, 1], recipe=recipe, progress=False)
        for name in tasks.split()
    ]
    stops, found, threads = [Polled(), Polled()], {}, []
    for i, (options, stop) in enumerate(zip(settings, stops, strict=True)):

        def train(i=i, options=options, stop=stop):
            found[i] = fit(**options, steps=10**7, stop=stop)

        threads.append(threading.Thread(target=train))
        threads[-1].start()
        assert stop.begun.wait(60)
    assert torch.get_num_threads() == 2  # this thread's was never touched
    for i in order:
        stops[i].set()
        threads[i].join(60)
        assert not threads[i].is_alive()
    assert torch.get_num_threads() == threads_of_a_new_thread() == 2
    for i, options in enumerate(settings):
        assert set(found[i].status) == {Status.INTERRUPTED}
        assert fit(**options, steps=3).status == (Status.DONE,) * 2
    assert torch.get_num_threads() == threads_of_a_new_thread() == 2


def test_runs_that_overlap_are_the_runs_alone(two_threads):
    lengths, found, threads = (90, 120, 60), {}, []
    for steps in lengths:
        threads.append(
            threading.Thread(target=lambda steps=steps: found.update({steps: fit(TASK, **LONG, steps=steps)}))
        )
        threads[-1].start()
    for thread in threads:
        thread.join(60)
    for steps in lengths:
        assert_same_run(found[steps], fit(TASK, **LONG, steps=steps))


def test_a_failure_in_one_model_surfaces_and_ends_the_others(monkeypatch, two_threads):
    def fails():
        raise MemoryError("no room")

    strike(monkeypatch, 30, fails)
    with pytest.raises(MemoryError, match="no room"):
        fit(TASK, **SMALL, seeds=[0, 1], steps=10**7)  # would take hours if the other model went on


def test_a_killed_process_resumes_bit_for_bit(tmp_path, root):
    path = tmp_path / "run"
    script = f"""
from emt_core.tasks import VariableBinding
from emt_core.training import fit
fit(VariableBinding.repeat_copy(3, 2), **{LONG!r}, steps=10**7, checkpoint={str(path)!r}, checkpoint_every=10)
"""
    process = subprocess.Popen([sys.executable, "-c", script], cwd=root)
    try:
        deadline = time.monotonic() + 120
        while not path.exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.1)  # some way into a later stretch
    finally:
        process.kill()  # SIGKILL: no handler, no clean-up
        process.wait()
    with safe_open(path, framework="pt") as file:
        steps = int(file.get_tensor("0.steps")[0]) + 25
    assert_same_run(
        fit(TASK, **LONG, steps=steps, checkpoint=path, checkpoint_every=10), fit(TASK, **LONG, steps=steps)
    )


@pytest.mark.parametrize("content", ["empty", "torn", "text", "foreign"])
def test_a_file_that_is_no_checkpoint_is_refused_and_left_alone(tmp_path, content):
    path = tmp_path / "run"
    fit(TASK, **LONG, steps=20, checkpoint=path)
    whole = path.read_bytes()
    if content == "foreign":
        save_file({"weight": torch.ones(2)}, path)
    else:
        path.write_bytes({"empty": b"", "torn": whole[:-100], "text": b"step,loss\n" * 50}[content])
    before = path.read_bytes()
    with pytest.raises(ValueError, match="checkpoint"):
        fit(TASK, **LONG, steps=40, checkpoint=path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        (dict(lr=1e-3), "lr"),
        (dict(seeds=[3, 2]), "seeds"),
        (dict(l2=0.5), "l2"),
        (dict(horizons=(3,)), "horizons"),
        (dict(threshold=0.9), "threshold"),
        (dict(hidden=8), "hidden"),
        (dict(batch=6), "batch"),
        (dict(clip=2.0), "clip"),
        (dict(every=5), "every"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_checkpoint_of_another_run_is_refused_by_name(tmp_path, changed, name):
    path = tmp_path / "run"
    fit(TASK, **LONG, steps=20, checkpoint=path)
    with pytest.raises(ValueError, match=f"checkpoint.* another run.*'{name}'"):
        fit(TASK, **LONG | changed, steps=40, checkpoint=path)


def test_a_checkpoint_of_another_task_or_further_on_is_refused(tmp_path):
    path = tmp_path / "run"
    fit(TASK, **LONG, steps=25, checkpoint=path)
    with pytest.raises(ValueError, match="triple"):
        fit(VariableBinding((3, 1, 0), 3, 2), **LONG, steps=40, checkpoint=path)
    with pytest.raises(ValueError, match="steps must be at least 25"):
        fit(TASK, **LONG, steps=24, checkpoint=path)


def test_a_checkpoint_of_another_kind_of_device_is_refused(tmp_path):
    # CUDA writes one group of all models; so does this group on the CPU
    path = tmp_path / "run"
    fit(TASK, **LONG, steps=20, checkpoint=path)
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (a file handle, not a dict)
        metadata = file.metadata()
    one = {name: torch.cat([t, tensors["1" + name[1:]]]) for name, t in tensors.items() if name.startswith("0.")}
    short = {name: t[:, :16] if name.endswith("generators") else t for name, t in tensors.items()}
    for other in (one, {name: t.contiguous() for name, t in short.items()}):
        path.unlink()  # the tensors may be mapped from it
        save_file(other, path, metadata)
        with pytest.raises(ValueError, match="another kind of device"):
            fit(TASK, **LONG, steps=40, checkpoint=path)


# --- the edges --------------------------------------------------------------------------------------------------------


def test_no_steps_returns_the_start(tmp_path):
    run = fit(TASK, **SMALL, seeds=[0, 1], steps=0, snapshots=[0], checkpoint=tmp_path / "run")
    start = draw(generators(0, 1))
    assert all(same_bits(getattr(run.model, n), getattr(start, n)) for n in WEIGHTS)
    assert all(same_bits(getattr(run.snapshots[0], n), getattr(start, n)) for n in WEIGHTS)
    assert run.status == (Status.DONE, Status.DONE) and run.steps.tolist() == [0, 0]
    assert run.history.loss.shape == (0, 2)
    assert run.accuracy.isfinite().all()


NUMBERS = {
    "NumPy's float64": np.float64,
    "NumPy's float32": np.float32,
    "array of no axes": np.array,
    "float32 array of no axes": lambda x: np.array(x, dtype=np.float32),
    "tensor of no axes": torch.tensor,
    "float64 tensor of no axes": lambda x: torch.tensor(x, dtype=torch.float64),
}
MANY = {
    "list": list,
    "tuple": tuple,
    "array": np.array,
    "tensor": torch.tensor,
    "float64 tensor": lambda x: torch.tensor(x, dtype=torch.float64),
    "list of NumPy's": lambda x: [np.float32(y) for y in x],
    "list of tensors": lambda x: list(torch.tensor(x)),
}
BINARY = dict(lr=2**-7, l2=2**-10, threshold=0.609375)  # the same number in every precision


@pytest.mark.parametrize("made", NUMBERS.values(), ids=NUMBERS)
def test_a_number_may_be_of_any_library(made, tmp_path):
    plain, path = dict(seeds=[0, 1], clip=0.5, **BINARY), tmp_path / "run"
    given = {name: made(value) for name, value in (BINARY | dict(clip=0.5)).items()}
    whole = fit(TASK, **SMALL | plain, steps=20)
    assert_same_run(fit(TASK, **SMALL | plain | given, steps=20), whole)
    fit(TASK, **SMALL | plain | given, steps=8, checkpoint=path)  # and is the same setting
    assert_same_run(fit(TASK, **SMALL | plain, steps=20, checkpoint=path), whole)


@pytest.mark.parametrize("made", MANY.values(), ids=MANY)
def test_numbers_for_each_model_may_be_of_any_library(made, tmp_path):
    many = dict(lr=[2**-7, 2**-8], l2=[0.0, 2**-10], threshold=[0.609375, 0.75])
    plain, given, path = dict(seeds=[0, 1], **many), {name: made(x) for name, x in many.items()}, tmp_path / "run"
    whole = fit(TASK, **SMALL | plain, steps=20)
    assert_same_run(fit(TASK, **SMALL | plain | given, steps=20, checkpoint=path), whole)
    assert_same_run(fit(TASK, **SMALL | plain, steps=20, checkpoint=path), whole)


@pytest.mark.parametrize("made", [*NUMBERS.values(), lambda x: [x, x]], ids=[*NUMBERS, "list"])
@pytest.mark.parametrize("name", ["lr", "l2", "threshold", "clip"])
@pytest.mark.parametrize("wrong", [-1.0, math.nan, math.inf], ids=str)
def test_a_number_of_any_library_is_looked_at(name, made, wrong):
    if name == "clip" and (wrong == math.inf or isinstance(made(wrong), list)):
        return  # not to clip is a choice, and it is one for all
    with pytest.raises(ValueError, match=f"^{name} must be "):
        fit(TASK, **SMALL | {"seeds": [0, 1], name: made(wrong)}, steps=4)


@pytest.mark.parametrize("device", [torch.device("cpu"), "cpu:0", torch.device("cpu", 0)], ids=repr)
def test_the_cpu_has_several_names(device, tmp_path):
    whole = fit(TASK, **LONG, steps=25)
    fit(TASK, **LONG, steps=20, device=device, checkpoint=tmp_path / "run")
    assert_same_run(fit(TASK, **LONG, steps=25, checkpoint=tmp_path / "run"), whole)
    assert_same_run(fit(TASK, **LONG, steps=25, device=device), whole)


def test_one_number_is_one_for_every_model():
    settings = SMALL | dict(seeds=[0, 1], steps=8)
    one = fit(TASK, **settings | dict(lr=1e-2, l2=1, threshold=1))
    each = fit(TASK, **settings | dict(lr=[1e-2] * 2, l2=[1.0] * 2, threshold=(1, 1)))
    assert_same_run(one, each)


def test_progress_bar_counts_every_step_and_can_be_off(capsys):
    fit(TASK, **SMALL | dict(progress=True), seeds=[0, 1], steps=13)
    out, err = capsys.readouterr()
    assert out == ""
    assert "26/26" in err
    fit(TASK, **SMALL, seeds=[0, 1], steps=13)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cell", "perceptron"),
        ("cell", "GRU"),
        ("hidden", 0),
        ("seeds", []),
        ("seeds", [-1]),
        ("seeds", [2**31]),
        ("steps", -1),
        ("lr", 0.0),
        ("lr", -1e-3),
        ("lr", math.nan),
        ("lr", math.inf),
        ("lr", [1e-3, 1e-3]),
        ("l2", -0.1),
        ("l2", math.inf),
        ("l2", []),
        ("horizons", ()),
        ("horizons", (10, 0)),
        ("threshold", -0.1),
        ("threshold", math.nan),
        ("threshold", [0.9, 0.9, 0.9]),
        ("batch", 0),
        ("clip", 0.0),
        ("clip", math.nan),
        ("noise", -0.1),
        ("noise", math.nan),
        ("noise", math.inf),
        ("every", 0),
        ("snapshots", [5]),
        ("snapshots", [-1]),
        ("test_horizon", 0),
        ("checkpoint_every", 0),
        ("device", "abacus"),
        pytest.param(
            "device", "cuda", marks=pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device would be valid")
        ),
    ],
    ids=str,
)
def test_a_wrong_argument_is_named(name, value):
    with pytest.raises(ValueError, match=f"^{name} "):
        fit(TASK, **SMALL | dict(steps=4) | {name: value})


# --- accuracy ---------------------------------------------------------------------------------------------------------


def test_evaluate_counts_right_signs():
    task = VariableBinding.repeat_copy(3, 2)
    exact = linear_rnn(task)
    wrong = replace(exact, W_r=-exact.W_r)
    half = replace(exact, W_r=exact.W_r * torch.tensor([[1.0], [-1.0]]).double())
    silent = replace(exact, W_r=0 * exact.W_r)  # writing nothing is not right
    for model, share in ((exact, 1), (wrong, 0), (half, 0.5), (silent, 0)):
        assert evaluate(model, task, horizon=50, sequences=20).item() == pytest.approx(share, abs=1e-6)


def test_zeros_count_as_plus_where_that_is_asked_for():
    """Output 1 is right, output 2 always zero: right wherever +1 is wanted. Of repeat copy over a multiple of S steps
    that is the share of +1 among the inputs of the second entry, counted here by hand."""
    exact = linear_rnn(TASK)
    half = replace(exact, W_r=exact.W_r * torch.tensor([[1.0], [0.0]]).double())
    inputs, _ = TASK.sample(40, 9, torch.Generator().manual_seed(LIMIT), torch.float64)
    plus = (inputs[..., 1] > 0).double().mean().item()
    assert 0 < plus < 1
    got = [evaluate(half, TASK, horizon=9, sequences=40, zero_is_plus=z).item() for z in (False, True)]
    assert got == pytest.approx([0.5, 0.5 + plus / 2], abs=1e-6)


def test_networks_that_never_write_zero_are_judged_alike_either_way():
    model = draw(generators(0, 1), 9)
    one, other = (evaluate(model, TASK, horizon=12, sequences=31, zero_is_plus=z) for z in (False, True))
    assert torch.equal(one, other)


def test_evaluate_is_the_roll_out_on_the_sequences_of_its_seed():
    model = draw(generators(0, 1), 9)
    got = evaluate(model, TASK, horizon=12, sequences=31, seeds=[7, 5])
    for m, seed in enumerate((7, 5)):
        generator = torch.Generator().manual_seed(LIMIT + seed)
        inputs, targets = TASK.sample(31, 12, generator)
        _, outputs = model[m].rollout(inputs, 12)
        assert got[m].item() == pytest.approx(((outputs[:, 3:] * targets) > 0).double().mean().item(), abs=1e-6)
    assert torch.equal(evaluate(model, TASK, horizon=9, seeds=[0, 1]), evaluate(model, TASK, horizon=9))


def test_test_sequences_are_none_that_training_draws():
    # PyTorch's CPU generator keeps the low 32 bits of a seed: test streams must differ from training streams in those
    for seed in (0, 1, LIMIT - 1):
        streams = [
            torch.randint(2, (64,), generator=torch.Generator().manual_seed(s)).tolist() for s in (seed, LIMIT + seed)
        ]
        assert streams[0] != streams[1]
    assert LIMIT + LIMIT - 1 < 2**32


def test_the_accuracy_of_a_run_is_that_of_its_seeds():
    run = fit(TASK, **SMALL, seeds=[5, 2], steps=10)
    assert torch.equal(run.accuracy, evaluate(run.model, TASK, horizon=9, seeds=[5, 2]))


def test_evaluate_names_wrong_arguments():
    model = draw(generators(0, 1), 9)
    with pytest.raises(ValueError, match="task must have dim 2"):
        evaluate(model, VariableBinding.repeat_copy(3, 3))
    with pytest.raises(ValueError, match="seeds"):
        evaluate(model, TASK, seeds=[0])
    with pytest.raises(ValueError, match="seeds"):
        evaluate(model, TASK, seeds=[0, LIMIT])
    with pytest.raises(ValueError, match="horizon"):
        evaluate(model, TASK, horizon=0)
    with pytest.raises(ValueError, match="sequences"):
        evaluate(model, TASK, sequences=0)


# --- a start of one's own ---------------------------------------------------------------------------------------------

PAIR = SMALL | dict(seeds=[3, 1], lr=[1e-2, 3e-3], l2=[0.0, 1e-3])


def own_start() -> VectorNetwork:
    g = generators(8, 9)
    start = draw(g)
    return replace(start, cell=start.cell.started("orthogonal", g))


def test_starting_from_the_weights_that_the_seeds_draw_changes_nothing():
    plain = fit(TASK, **PAIR, steps=20, snapshots=[0, 5])
    start = draw(generators(3, 1))
    assert_same_run(fit(TASK, **PAIR, steps=20, snapshots=[0, 5], start=start), plain)
    wide = start.to(torch.float64)  # training is in float32 whatever the start is in
    assert_same_run(fit(TASK, **PAIR, steps=20, snapshots=[0, 5], start=wide), plain)


def test_another_start_is_trained_on_the_same_data():
    start = own_start()
    run = fit(TASK, **PAIR | dict(every=1), steps=25, snapshots=range(26), start=start)
    for m, generator in enumerate(generators(3, 1)):
        draw([generator])  # what the seed would have drawn
        level = 0
        for step in range(25):
            inputs, targets = TASK.sample(5, SMALL["horizons"][level], generator)
            _, outputs = (run.snapshots[step] if step else start)[m].rollout(inputs, targets.shape[1])
            right = (outputs[:, 3:] * targets > 0).double().mean().item()
            loss = (outputs[:, 3:] - targets).square().mean().item()
            # float32: sums of at most 60 squares; a wrong batch differs in the first digit
            assert run.history.loss[step, m].item() == pytest.approx(loss, rel=1e-5)
            assert run.history.accuracy[step, m].item() == pytest.approx(right, abs=1e-6)
            level = min(level + (right > 0.61), 2)
    plain = fit(TASK, **PAIR, steps=25)
    assert not torch.equal(run.model.W_hh, plain.model.W_hh)


def test_no_steps_return_the_given_start_and_training_leaves_it_as_it_was():
    start, copy = own_start(), own_start()
    trained = fit(TASK, **PAIR, steps=9, start=start)
    assert all(same_bits(getattr(start, n), getattr(copy, n)) for n in WEIGHTS)
    for given in (start, trained.model):  # what training returns is a start, too
        run = fit(TASK, **PAIR, steps=0, snapshots=[0], start=given)
        for model in (run.model, run.snapshots[0]):
            assert all(same_bits(getattr(model, n), getattr(given, n).contiguous()) for n in WEIGHTS)
            assert all(getattr(model, n).data_ptr() != getattr(given, n).data_ptr() for n in WEIGHTS)


def test_a_model_with_a_start_is_the_model_trained_alone():
    start = own_start()
    together = fit(TASK, **PAIR, steps=30, snapshots=[0, 13], start=start)
    for m in range(2):
        mine = {name: PAIR[name][m : m + 1] for name in ("seeds", "lr", "l2")}
        alone = fit(TASK, **PAIR | mine, steps=30, snapshots=[0, 13], start=start[m])
        assert_same_run(alone, together, slice(m, m + 1))


def test_a_run_with_a_start_goes_on_from_its_checkpoint(tmp_path):
    start = own_start()
    settings = PAIR | dict(snapshots=[0, 5], start=start, checkpoint=tmp_path / "run", checkpoint_every=6)
    fit(TASK, **settings, steps=17)
    whole = fit(TASK, **PAIR | dict(snapshots=[0, 5], start=start), steps=33)
    assert_same_run(fit(TASK, **settings | dict(start=own_start()), steps=33), whole)


def test_a_checkpoint_from_another_start_is_refused(tmp_path):
    start, path = own_start(), tmp_path / "run"
    fit(TASK, **PAIR, steps=5, start=start, checkpoint=path)
    before = path.read_bytes()
    nudged = start.W_r.clone()
    nudged[1, 0, 0] = torch.nextafter(nudged[1, 0, 0], torch.tensor(1.0))
    for other in (None, draw(generators(3, 1)), start[[1, 0]], replace(start, W_r=nudged)):
        with pytest.raises(ValueError, match=r"checkpoint .* is of another run.*'start'"):
            fit(TASK, **PAIR, steps=9, start=other, checkpoint=path)
    assert path.read_bytes() == before
    drawn = tmp_path / "drawn"
    fit(TASK, **PAIR, steps=5, checkpoint=drawn)
    with pytest.raises(ValueError, match=r"checkpoint .* is of another run.*'start'"):
        fit(TASK, **PAIR, steps=9, start=start, checkpoint=drawn)


@pytest.mark.parametrize("wrong", ["models", "hidden", "dim", "cell", "activation", "NaN", "infinity"])
def test_a_start_that_does_not_fit_is_named(wrong):
    start = own_start()
    W_r = start.W_r.clone()
    W_r[1, 1, 3] = math.nan if wrong == "NaN" else math.inf
    bad, message = {
        "models": (start[0], "2 models with 7 units and dim 2, got .1, 7, 2"),
        "hidden": (draw(generators(0, 1), 8), "7 units and dim 2, got .2, 8, 2"),
        "dim": (draw(generators(0, 1), 7, 3), "dim 2, got .2, 7, 3"),
        "cell": (VectorNetwork.init(GRU, 2, 7, generators(0, 1)), "the cell 'elman', got GRU"),
        "activation": (elman(start.W_uh, start.W_hh, start.W_r, "identity"), "activation 'tanh', got 'identity'"),
        "NaN": (replace(start, W_r=W_r), "finite weights"),
        "infinity": (replace(start, W_r=W_r), "finite weights"),
    }[wrong]
    with pytest.raises(ValueError, match=f"^start must have .*{message}"):
        fit(TASK, **PAIR, steps=4, start=bad)
