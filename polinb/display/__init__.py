"""Tables, charts, the neuron explorer and the answers browser."""

import sys

# Altair imports jsonschema, which compiles a grammar of addresses for two seconds, which nobody asks for.
if "jsonschema" not in sys.modules:
    sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]
    import altair as _  # noqa: F401

    del sys.modules["rfc3987_syntax"]
