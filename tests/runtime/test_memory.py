"""What does not fit the memory is told; other errors are left as they are."""

import numpy as np
import pytest
import torch

from tlw.runtime.memory import enough_memory

BEYOND = 2**48  # bytes, more than any machine has


def of_cublas() -> None:
    raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")


def of_a_gpu() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


@pytest.mark.parametrize(
    "work",
    [
        lambda: torch.empty(BEYOND),
        lambda: torch.rand(1, 1, 1).expand(2**24, 2**20, 1).contiguous(),
        lambda: np.empty(BEYOND),
        lambda: bytearray(BEYOND),
        of_cublas,
        of_a_gpu,
    ],
)
def test_work_beyond_the_memory_is_told_in_one_line_with_what_to_change(work):
    with (
        pytest.raises(ValueError, match=r"^7 x 9 pixels: too much for the memory \(") as caught,
        enough_memory("7 x 9 pixels", "take smaller tiles"),
    ):
        work()
    assert str(caught.value).endswith("); take smaller tiles") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "work", [lambda: torch.ones(2) @ torch.ones(3), lambda: [][0], lambda: int("x")]
)
def test_other_errors_are_left_as_they_are(work):
    with pytest.raises(Exception) as plain:
        work()
    with pytest.raises(type(plain.value)) as caught, enough_memory("this", "do that"):
        work()
    assert str(caught.value) == str(plain.value)
