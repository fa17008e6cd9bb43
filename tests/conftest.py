"""What the whole test suite shares: where the reference material lies."""

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

# Examples are few and seeds fixed; a deadline would only time this machine's load.
settings.register_profile("tlw", deadline=None, max_examples=30, derandomize=True)
settings.load_profile("tlw")

pytest.register_assert_rewrite("trainings")

# A shell that starts the tests in the background has them, and all that they start, ignore Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of recorded outputs, papers and image sets (`TLW_SHARED`); skips without it."""
    folder = os.environ.get("TLW_SHARED")
    if not folder:
        pytest.skip("TLW_SHARED is not set: the recorded reference material is not here")
    return Path(folder)


@pytest.fixture(scope="session")
def pairs(tmp_path_factory) -> Path:
    """A pairs file of two photographs."""
    from toys import toy_pairs

    return toy_pairs(tmp_path_factory.mktemp("pairs"))


@pytest.fixture
def clone(tmp_path) -> Path:
    """A folder with what the workflow needs, and nothing made yet."""
    from clones import make_clone

    return make_clone(tmp_path / "clone")


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Test processes run beside each other: more threads would only get in each other's way."""
    import torch

    torch.set_num_threads(1)
