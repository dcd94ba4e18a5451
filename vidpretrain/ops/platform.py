# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Which backend an operation is formulated for, and under which name it is traced."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import jax

# All caches of JAX are keyed by this context: what was traced for one platform is never taken for
# another, not even inside a jitted function that does not know of it.
_compiling_for = jax.make_user_context(default_value=None)


def target_platform() -> str:
    """Return the platform that operations are formulated for: 'cpu', 'gpu' or 'tpu'.

    It is JAX's default backend unless `compile_for` says otherwise; operations ask when traced.
    """
    return _compiling_for.value or jax.default_backend()


@contextlib.contextmanager
def compile_for(platform: str) -> Iterator[None]:
    """Formulate the operations traced inside the context for another platform.

    For compiling ahead of time, for example for a TPU topology on a machine without a TPU, and for
    comparing formulations.

    Args:
        platform: 'cpu', 'gpu' or 'tpu'.

    Raises:
        ValueError: If the platform is none of these.
    """
    if platform not in ("cpu", "gpu", "tpu"):
        raise ValueError(f"platform must be 'cpu', 'gpu' or 'tpu', got {platform!r}")
    with _compiling_for(platform):
        yield


def jit_as(name: str, *, static: Sequence[str] = ()) -> Callable[[Callable], Callable]:
    """Jit a function under a public name, so that it is one equation of that name in a jaxpr.

    Operations are counted by walking a jaxpr, where a jitted function is `jit[name=...]` with the
    shapes of its operands and results in sight. The public functions check and normalise their
    arguments, then call an inner function jitted under their own name.

    Args:
        name: The name in the jaxpr.
        static: Names of the keyword arguments that are not arrays.
    """

    def wrap(function: Callable) -> Callable:
        function.__name__ = name
        return jax.jit(function, static_argnames=tuple(static))

    return wrap
