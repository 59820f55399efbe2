"""Weights of layers of other packages, from the recorded file."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from package_form import CONVERTERS, DIVISOR, check, outputs, weights_of

from tlstm_jax.convert import from_mambapy, from_recurrentgemma, from_xlstm, load_safetensors

RECORDED = pathlib.Path(__file__).parent / "data" / "packages.npz"
each = pytest.mark.parametrize("name", CONVERTERS)


def recorded(name):
    with np.load(RECORDED, allow_pickle=False) as arrays:
        start = f"{name}/"
        return {key.removeprefix(start): arrays[key] for key in arrays if key.startswith(start)}


def weights(name, **changes):
    """Recorded ones; what is changed to None is missing, and "A__b" stands for A.b."""
    changes = {key.replace("__", "."): array for key, array in changes.items()}
    arrays = weights_of(recorded(name)) | changes
    return {key: array for key, array in arrays.items() if array is not None}


@each
def test_recorded_outputs(name):
    check(name, recorded(name), DIVISOR.get(name, 1e-5))


@each
@pytest.mark.parametrize("dtype", [jnp.bfloat16, np.float64])
def test_dtypes_stay(name, dtype):
    arrays = {key: array.astype(dtype) for key, array in weights(name).items()}
    for leaf in jax.tree.leaves(CONVERTERS[name](arrays)[1]):
        assert isinstance(leaf, np.ndarray) and leaf.dtype == dtype


@each
def test_what_is_returned_shares_no_memory_and_may_be_written_to(name):
    arrays = weights(name)
    before = {key: array.copy() for key, array in arrays.items()}
    for leaf in jax.tree.leaves(CONVERTERS[name](arrays)[1]):
        leaf[...] = 0
    for key, array in arrays.items():
        np.testing.assert_array_equal(array, before[key])


@each
def test_jax_arrays_stay_on_the_device_and_may_be_traced(name):
    arrays = weights(name)
    params = jax.jit(lambda arrays: CONVERTERS[name](arrays)[1])(arrays)
    expected = CONVERTERS[name](arrays)[1]
    assert jax.tree.structure(params) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(expected), strict=True):
        assert isinstance(a, jax.Array)
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


def test_flax_has_nested_names():
    flat = weights("rglru")
    tree = {"a_param": flat["a_param"]}
    for gate in ("a_gate", "input_gate"):
        tree[gate] = {part: flat[f"{gate}.{part}"] for part in "wb"}
    params = from_recurrentgemma(tree)[1]
    jax.tree.map(np.testing.assert_array_equal, params, from_recurrentgemma(flat)[1])


def test_a_published_checkpoint_is_a_file_of_such_names(tmp_path):
    """As transformers writes it: all layers in one file, bfloat16."""
    run, content, header = recorded("mamba"), b"", {"__metadata__": {"format": "pt"}}
    mixer = {f"backbone.layers.3.mixer.{key}": a for key, a in weights_of(run).items()}
    for key, array in {"backbone.embeddings.weight": np.ones((9, 6)), **mixer}.items():
        numbers = array.astype(jnp.bfloat16).tobytes()
        offsets = [len(content), len(content) + len(numbers)]
        header[key] = {"dtype": "BF16", "shape": array.shape, "data_offsets": offsets}
        content += numbers
    names = json.dumps(header).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(names).to_bytes(8, "little") + names + content)

    loaded = load_safetensors(path, "backbone.layers.3.mixer.")
    model, params = from_mambapy({key: a.astype(np.float32) for key, a in loaded.items()})
    rounded = {key: np.float32(a.astype(jnp.bfloat16)) for key, a in weights_of(run).items()}
    expected = outputs(*from_mambapy(rounded), run["xs"])
    np.testing.assert_array_equal(outputs(model, params, run["xs"]), expected)
    error = np.abs(expected - run["ys"]) / np.abs(run["ys"]).max()
    assert error.max() < 0.05


@pytest.mark.parametrize(
    ("refused", "message"),
    [
        (
            lambda: from_mambapy(weights("mamba", A_log=None)),
            "^state_dict lacks A_log; accepted is that of a MambaBlock without bias and inner_layer",
        ),
        (
            lambda: from_mambapy(weights("mamba", in_proj__bias=np.ones(24))),
            "^state_dict has an unexpected in_proj.bias; accepted is that of a MambaBlock without b",
        ),
        (
            lambda: from_mambapy(weights("mamba", D=np.ones((12, 1)))),
            r"^D has shape \(12, 1\); accepted is one of 1 axes$",
        ),
        (
            lambda: from_mambapy(weights("mamba", x_proj__weight=np.ones((9, 12)))),
            r"^x_proj.weight has shape \(9, 12\); accepted for 6 to 12 features is \(8, 12\)$",
        ),
        (
            lambda: from_mambapy(weights("mamba", conv1d__weight=np.ones((12, 1, 1)))),
            "^conv1d.weight has one step; accepted are at least 2, as in a Block$",
        ),
        (
            lambda: from_mambapy(weights("mamba", D=[1.0])),
            "^D is a list; accepted are NumPy and jax arrays$",
        ),
        (
            lambda: from_recurrentgemma(weights("rglru", a_imag_param=np.ones(6))),
            "^params has an unexpected a_imag_param; accepted is that of an RGLRU of real numbers, ",
        ),
        (
            lambda: from_recurrentgemma(weights("rglru", input_gate__w=np.ones((2, 3, 2)))),
            r"^input_gate.w has shape \(2, 3, 2\); accepted for 2 heads of 3 is \(2, 3, 3\)$",
        ),
        (
            lambda: from_xlstm("sLSTM", {}),
            "^kind is 'sLSTM'; accepted are 'sLSTMCell', 'sLSTMLayer', 'mLSTMCell', 'mLSTMLayer'$",
        ),
        (
            lambda: from_xlstm("sLSTMCell", weights("mlstm_cell")),
            "^state_dict lacks _recurrent_kernel_ and has an unexpected igate.weight; accepted is "
            "that of an sLSTMCell, _recurrent_kernel_, _bias_$",
        ),
        (
            lambda: from_xlstm("sLSTMCell", weights("slstm_cell", _bias_=np.ones(25))),
            r"^_bias_ has shape \(25,\); accepted for 2 heads of 3 is \(24,\)$",
        ),
        (
            lambda: from_xlstm("sLSTMLayer", weights("slstm_layer", conv1d__conv__bias=None)),
            "^state_dict lacks conv1d.conv.bias; accepted is that of an sLSTMLayer, ",
        ),
        (
            lambda: from_xlstm(
                "sLSTMLayer", weights("slstm_layer", zgate__weight=np.ones((3, 2, 2)))
            ),
            r"^zgate.weight has shape \(3, 2, 2\); accepted for 2 heads of 3 is \(2, 3, 3\)$",
        ),
        (
            lambda: from_xlstm("mLSTMCell", weights("mlstm_cell", fgate__weight=np.ones((2, 6)))),
            r"^fgate.weight has shape \(2, 6\); accepted for 6 features is \(2, 18\)$",
        ),
        (
            lambda: from_xlstm("mLSTMCell", weights("mlstm_cell", outnorm__weight=np.ones(7))),
            r"^outnorm.weight has shape \(7,\); accepted is a multiple of 2 heads$",
        ),
        (
            lambda: from_xlstm("mLSTMLayer", weights("mlstm_layer", q_proj__bias=np.ones(6))),
            "^state_dict has an unexpected q_proj.bias; accepted is that of an mLSTMLayer without bi",
        ),
        (
            lambda: from_xlstm(
                "mLSTMLayer", weights("mlstm_layer", k_proj__weight=np.ones((6, 2, 2)))
            ),
            r"^k_proj.weight has shape \(6, 2, 2\); accepted for 6 features are square blocks of as many",
        ),
    ],
)
def test_refusals(refused, message):
    with pytest.raises(ValueError, match=message):
        refused()


@each
def test_any_array_without_entries_is_refused(name):
    """And one of another number of axes, in one line."""
    for key, array in weights(name).items():
        for other in (array[:0], array[None], array[..., :0]):
            try:
                CONVERTERS[name](weights(name) | {key: other})
            except ValueError as error:
                assert "\n" not in str(error)
            else:
                pytest.fail(f"{key} of shape {other.shape} is accepted")
