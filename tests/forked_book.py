"""The maker of the book, but each chapter runs in a fork of this process: loading libraries once halves the time."""

import contextlib
import io
import os
import pkgutil
import sys
import traceback

import nbformat
from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from nbformat.v4 import new_output
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from book._make import __main__, build
from book._make.notebook import normalise
from polinb.trouble import UNFINISHED

OUTPUTS = []


class Hook(DisplayHook):
    def write_output_prompt(self):
        pass

    def write_format_data(self, format_dict, md_dict=None):
        OUTPUTS.append(new_output("execute_result", format_dict, metadata=md_dict or {}))


class Publisher(DisplayPublisher):
    def publish(self, data, metadata=None, **options):
        OUTPUTS.append(new_output("display_data", data, metadata=metadata or {}))


def run(cells):
    """Execute the cells in this process, outputs into them."""
    shell = InteractiveShell.instance(displayhook_class=Hook, display_pub_class=Publisher)
    for number, cell in enumerate((each for each in cells if each.cell_type == "code"), 1):
        OUTPUTS.clear()
        with contextlib.redirect_stdout(io.StringIO()) as said:
            done = shell.run_cell(cell.source, store_history=True)
        done.raise_error()
        told = [new_output("stream", name="stdout", text=said.getvalue())] if said.getvalue() else []
        for output in OUTPUTS:
            if output.output_type == "execute_result":
                output.execution_count = number
        cell.update(outputs=nbformat.from_dict([*told, *OUTPUTS]), execution_count=number)


def execute(layout, name, parameters):
    """As ``build.execute``, in a fork."""
    out = layout.failed / f"{name}.ipynb"
    out.parent.mkdir(parents=True, exist_ok=True)
    child = os.fork()
    if not child:
        code = 1
        try:
            made = load_notebook_node(str(layout.notebooks / f"{name}.ipynb"))
            made = parameterize_notebook(made, dict(parameters), kernel_name="python3", language="python")
            os.environ[UNFINISHED] = os.devnull
            os.chdir(layout.root)
            run(made.cells)
            out.write_text(normalise(made, layout.root))
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, name
    text = out.read_text()
    out.unlink()
    return text, ()


def load():
    """What chapters load, before the forks."""
    lazy = [f"transformers.{name}" for name in ("AutoModelForCausalLM", "AutoTokenizer", "LlamaForCausalLM")]
    for name in ("altair", "nnsight", "scipy.stats", "sklearn.linear_model", "polinb.runs.chapter", *lazy):
        pkgutil.resolve_name(name)


if __name__ == "__main__":
    load()
    build.execute = execute
    sys.exit(__main__.main())
