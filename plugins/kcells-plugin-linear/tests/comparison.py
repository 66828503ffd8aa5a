"""A layer against a reference that shares no code with it: results and all gradients."""

from __future__ import annotations

import itertools

import keras
import numpy as np

__all__ = ["MASK", "as_numpy", "assert_close", "check_layer", "check_reference", "weight_values"]

# A row of every kind: full, right-padded, with holes, empty.
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 1, 0, 1, 0], [0, 0, 0, 0, 0]], bool)


def as_numpy(tensor):
    return keras.ops.convert_to_numpy(tensor).astype("float64")


def weight_values(layer):
    return {weight.name: as_numpy(weight) for weight in layer.weights}


def assert_close(actual, expected, tolerance, what=""):
    """Relative to the largest entry: the small ones are differences of large ones."""
    actual = as_numpy(actual)
    assert actual.shape == expected.shape, what
    error, scale = np.abs(actual - expected).max(), np.abs(expected).max()
    assert error <= tolerance * scale, f"{what}: off by {error:.3g}, and the largest is {scale:.3g}"


def check_layer(layer, reference, inputs, mask, tolerance, gradients, rng, **options):
    """Outputs, states and gradients of a layer with `return_sequences` and `return_state`.

    Args:
        layer: built, with the weights to compare with.
        reference: the module of the reference.
        inputs: the sequences and the initial state, in the dtype of the layer.
        mask: for both.
        tolerance: for `assert_close`.
        gradients: the fixture of that name.
        rng: for the factors of the sum whose gradients are compared.
        **options: for the reference.
    """
    dtype = inputs[0].dtype
    given = [array.astype("float64") for array in inputs]
    weights = weight_values(layer)
    *expected, tape = reference.forward(weights, *given, mask, layer.go_backwards, **options)
    factors = [rng.normal(size=array.shape).astype(dtype) for array in expected]

    def call(tensors):
        return layer(tensors[0], initial_state=tensors[1], mask=mask)

    results = compiled(call)([keras.ops.convert_to_tensor(array) for array in inputs])
    for what, result, wanted in zip(("outputs", "state"), results, expected, strict=True):
        assert_close(result, wanted, tolerance, what)

    def loss(tensors):
        pairs = zip(call(tensors), map(keras.ops.convert_to_tensor, factors), strict=True)
        return sum(keras.ops.sum(result * factor) for result, factor in pairs)

    variables = layer.trainable_weights
    assert len(variables) == len(layer.weights) == len(weights)
    actual = itertools.chain(*gradients(compiled(loss), variables, inputs))
    of_outputs, of_state = (factor.astype("float64") for factor in factors)
    of_weights, *of_inputs = reference.backward(
        weights, given[0], tape, of_outputs, of_state, **options
    )
    names = [*(variable.name for variable in variables), "sequences", "initial state"]
    wanted = [*(of_weights[variable.name] for variable in variables), *of_inputs]
    for name, gradient, expected_gradient in zip(names, actual, wanted, strict=True):
        assert_close(gradient, expected_gradient, tolerance, f"gradient of {name}")


def check_reference(reference, weights, inputs, mask, finite_differences, rng, **options):
    """The gradients by hand of the reference, against differences of its own results."""
    *results, tape = reference.forward(weights, *inputs, mask, **options)
    factors = [rng.normal(size=result.shape) for result in results]

    def loss():
        *results, _ = reference.forward(weights, *inputs, mask, **options)
        return sum(np.sum(r * f) for r, f in zip(results, factors, strict=True))

    of_weights, *of_inputs = reference.backward(weights, inputs[0], tape, *factors, **options)
    pairs = [(of_weights[name], weights[name]) for name in weights]
    for gradient, array in [*pairs, *zip(of_inputs, inputs, strict=True)]:
        expected = finite_differences(loss, array)
        np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-7)


def compiled(function):
    """On JAX, `function` compiled as a whole: op by op takes several times as long."""
    if keras.backend.backend() != "jax":
        return function
    import jax

    return jax.jit(function)
