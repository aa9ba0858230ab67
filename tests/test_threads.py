import threading

import torch

from skdiffusion._threads import torch_threads


def test_the_count_is_lowered_and_restored():
    before = torch.get_num_threads()
    with torch_threads(1):
        assert torch.get_num_threads() == 1
        with torch_threads(1):
            pass
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


def test_overlapping_contexts_restore_when_the_last_one_leaves():
    before = torch.get_num_threads()
    entered, leave = threading.Event(), threading.Event()

    def hold():
        with torch_threads(1):
            entered.set()
            leave.wait(5)

    thread = threading.Thread(target=hold)
    thread.start()
    entered.wait(5)
    with torch_threads(1):
        pass
    leave.set()
    thread.join()
    assert torch.get_num_threads() == before
