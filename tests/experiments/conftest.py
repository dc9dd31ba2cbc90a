"""What tests of sweeps share."""

from concurrent.futures import ThreadPoolExecutor

import pytest


@pytest.fixture
def thread():
    with ThreadPoolExecutor(1) as pool:
        yield pool
