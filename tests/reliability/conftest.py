import pytest
from filelock import FileLock


@pytest.fixture(scope="session")
def reference(shared):
    """The store of one undisturbed run, with whose bytes every disturbed run must end."""
    import small_run

    root, done = shared / "reference" / "store", shared / "reference" / "done"
    with FileLock(shared / "reference.lock"):  # made once for all processes of the test run
        if not done.exists():
            small_run.everything(root)
            done.touch()
    return root
