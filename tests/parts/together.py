"""
Things that are waited for, at the same time: what a test of each kind would wait for one after the other.

    @pytest.fixture(scope="module")
    def parted(tmp_path_factory):
        def work(mode): ...                    # the whole of it, with what it asserts
        with at_once(work, MODES) as done:
            yield done

    @pytest.mark.parametrize("mode", MODES)
    def test_something(mode, parted):
        parted[mode].result()                  # waits for its own, and raises what that raised

Each must stand on things of its own: agents, folders, names.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

__all__ = ["at_once"]


@contextmanager
def at_once(work, ways):
    """Do *work* in each of the *ways* at the same time; give a future of each."""
    with ThreadPoolExecutor(len(ways)) as pool:
        yield {way: pool.submit(work, way) for way in ways}
