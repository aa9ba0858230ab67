"""The context of one thread restores the numbers of threads, also after errors and among other threads."""

import threading

import pytest
import torch

from skdiffusion._utils.threads import _limit, _restore, one_thread


@pytest.fixture(autouse=True)
def _two_threads():
    """A number that can be lowered, whatever the environment says."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_the_count_is_lowered_and_restored():
    with one_thread():
        assert torch.get_num_threads() == 1
        with one_thread():
            pass
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


def test_the_count_is_restored_after_an_error():
    with pytest.raises(KeyboardInterrupt), one_thread():
        raise KeyboardInterrupt
    assert torch.get_num_threads() == 2


def test_overlapping_contexts_of_two_threads_restore_both():
    entered, leave, seen = threading.Event(), threading.Event(), []

    def hold():
        torch.set_num_threads(2)
        with one_thread():
            entered.set()
            leave.wait(5)
        seen.append(torch.get_num_threads())

    thread = threading.Thread(target=hold)
    thread.start()
    assert entered.wait(5)
    with one_thread():
        leave.set()
        thread.join()
    assert torch.get_num_threads() == 2
    assert seen == [2]


def test_a_library_is_asked_to_change_only_what_it_has():
    """Setting the one thread that a library has already takes longer than a sample does."""

    class Library:
        user_api, num_threads, calls = "blas", 2, 0

        def set_num_threads(self, n):
            self.num_threads, self.calls = n, self.calls + 1

    library = Library()
    several = type("Controller", (), {"lib_controllers": [library]})
    changed = _limit(several, "blas")
    assert (library.num_threads, library.calls, _limit(several, "blas"), _limit(several, "openmp")) == (1, 1, [], [])
    _restore(changed)
    assert library.num_threads == 2
