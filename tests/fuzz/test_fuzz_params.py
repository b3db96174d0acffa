"""Parameters of any name, type and form in a notebook: refused by name, or taken as they are."""

import json

from fuzzing import budgets, plain, refused, run, text
from hypothesis import strategies as st

from polinb.errors import ParameterError
from polinb.runs.artifacts import canonical
from polinb.runs.params import CHAPTERS, PROFILES, Params, from_namespace, profile_values

NAMES = sorted(Params.model_fields)
DEFAULTS = profile_values("tiny")
HUGE = [10**400, -(10**400), 2**63, 2**31, -(2**31), 1e308, 5e-324, -0.0, "x" * 100_000]
SCALARS = st.none() | st.booleans() | st.integers() | st.sampled_from(HUGE) | st.floats() | text | st.binary(max_size=8)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=3) | st.tuples(inner, inner),
    max_leaves=8,
)


def near(name):
    """Values close to one that is allowed, so that some are taken."""
    value = DEFAULTS.get(name, "tiny")
    if isinstance(value, bool):
        return st.booleans()
    if isinstance(value, int | float):
        return st.integers(-1, 300) | st.floats(-1, 120, allow_nan=False) | st.sampled_from([2e-5, 1e-3, 0.5])
    if isinstance(value, list):
        return st.lists(st.sampled_from([*value, "crime", "race", "uniform", 0.5, 3, 10.0]), max_size=4)
    return st.just(value) | plain


def same(one, other):
    """Equal in type as well: True is not 1, and 5 is not '5'. Whole numbers where floats belong become floats."""
    if isinstance(one, float) and type(other) is int:
        return one == other
    if isinstance(one, list) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


@budgets(50, 2000)
def test_any_names_and_values_of_a_notebook(size, monkeypatch):
    monkeypatch.setitem(CHAPTERS, "everything", Params.__bases__)  # a chapter with all parameters

    def check(case):
        profile, given = case
        space = {"In": [], "_": 1, "__name__": "x", "profile": profile, **given}
        try:
            params = from_namespace("everything", space)
        except ParameterError as error:
            return refused(error, error.name, repr(error.name)[1:-1])
        seen = {name: value for name, value in given.items() if not name.startswith("_") and name != "In"}
        chosen = seen.pop("profile", profile)
        values = profile_values(chosen or "quick") | {"profile": chosen or "quick"}
        for name, value in params:
            expected = values[name] if seen.get(name) is None else seen[name]
            assert same(value, expected), f"{name}: {value!r} out of {expected!r}"
        # every stage can hash, write and read it
        assert Params(**json.loads(canonical(params.model_dump()))).model_dump() == params.model_dump()
        return True

    named = st.sampled_from(NAMES).flatmap(lambda name: st.tuples(st.just(name), near(name) | VALUES))
    settings = st.lists(named | st.tuples(text, VALUES), max_size=3).map(dict)
    run(size, st.tuples(st.sampled_from([*PROFILES, *PROFILES, None, "fast"]) | VALUES, settings), check)
