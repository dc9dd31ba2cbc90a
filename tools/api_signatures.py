"""A dataclass's defaults on the API's pages as its source has them: `TANH`, where Python would show an address."""

import ast
import inspect
import sys
import textwrap


class Written:
    """A default that is shown as it is written."""

    def __init__(self, text: str):
        self.text = text

    def __repr__(self) -> str:
        return self.text


def written_defaults(kind: type) -> dict[str, str]:
    """The defaults in a class's body, by name; what a factory makes is shown as its call."""
    source = textwrap.dedent(inspect.getsource(kind))
    found = {}
    for node in ast.parse(source).body[0].body:
        if isinstance(node, ast.AnnAssign) and node.value is not None:
            parts = {k.arg: ast.unparse(k.value) for k in getattr(node.value, "keywords", ())}
            factory = parts.get("default_factory")
            plain = parts.get("default") or ast.get_source_segment(source, node.value)
            found[node.target.id] = f"{factory}()" if factory else plain
    return found


def defaults_as_written(app, obj, bound_method):
    """Give the `__init__` that `dataclass` made a signature with the defaults of the source."""
    name, _, method = getattr(obj, "__qualname__", "").rpartition(".")
    kind = getattr(sys.modules.get(getattr(obj, "__module__", "")), name, None)
    if method != "__init__" or not hasattr(kind, "__dataclass_fields__") or hasattr(obj, "__signature__"):
        return
    defaults, signature = written_defaults(kind), inspect.signature(obj)
    parameters = [
        p.replace(default=Written(defaults[p.name])) if p.name in defaults and p.default is not p.empty else p
        for p in signature.parameters.values()
    ]
    obj.__signature__ = signature.replace(parameters=parameters)


def setup(app):
    """Register with Sphinx, before emt_sphinx looks for signatures that were given."""
    app.connect("autodoc-before-process-signature", defaults_as_written, priority=50)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
