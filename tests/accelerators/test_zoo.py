"""Every model of the zoo compiles for a GPU and a TPU, its training step and its `token_step`."""

import jax
import model_cases
import pytest
from cases import CASES, I, M

from tests.accelerators.figures import GPU, TPU
from tests.accelerators.programs import abstract, skip_without, token_step, training_step
from tlstm_jax import as_sequence, training, zoo
from tlstm_jax.devices import targets
from tlstm_jax.tasks.memorization import memorization
from tlstm_jax.training.settings import TrainSettings

pytestmark = pytest.mark.accelerators

BATCH, STEPS = 2, 5
SETTINGS = TrainSettings(num_steps=1, eval_every=1, checkpoint_every=1, steps_per_call=1)
MODELS = {f"cell-{case.name}": (as_sequence(case.cell), I) for case in CASES}
MODELS |= {f"model-{case.name}": (case.model, case.size) for case in model_cases.MODELS}
NAMES = [name for name, entry in zoo.MODELS.items() if not entry.axes]
MODELS |= {f"zoo-{name}": (zoo.make_model(name, features=4 * M), I) for name in NAMES}


@pytest.fixture(scope="module", params=[GPU, TPU])
def device(request):
    skip_without(request.param)
    return request.param, targets.devices(request.param)[0]


@pytest.mark.parametrize("name", MODELS)
def test_the_training_step_of_a_model_compiles(name, device):
    target, device = device
    lowered = training_step(*MODELS[name], device, steps=STEPS, batch=BATCH)
    _, loops = targets.compile_for(target, lowered)
    assert sum(loop.kernels for loop in loops) > 0


@pytest.mark.parametrize("name", [name for name, (model, _) in MODELS.items() if model.causal])
def test_the_token_step_of_a_model_compiles(name, device):
    target, device = device
    lowered = token_step(*MODELS[name], device, batch=BATCH)
    _, loops = targets.compile_for(target, lowered)
    assert loops[0].kernels > 0


@pytest.mark.parametrize("name", NAMES)
def test_what_trains_a_named_model_compiles(name, device):
    target, device = device
    task = memorization(2, 3, batch_size=BATCH)
    sizes = {"input_size": task.input_size, "output_size": task.output_size}
    network = zoo.make_network(name, features=4 * M, tokens=True, **sizes)
    state = abstract(training.abstract_state(network, task, SETTINGS), device)
    lowered = training.train_call.lower(network, task, SETTINGS, state, task.data)
    program, _ = targets.compile_for(target, lowered)
    held = sum(leaf.size * 4 for leaf in jax.tree.leaves(state.params))
    assert program.memory_analysis().argument_size_in_bytes > held
