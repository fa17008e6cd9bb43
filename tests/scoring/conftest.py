"""What several tests of scoring look at."""

import pytest


@pytest.fixture(scope="session")
def set5_readings(shared):
    """The readings of PSNR and SSIM of Set5, enlarged by Lanczos, see the shared folder's notes."""
    from tlw.scoring.audit import audit_folders

    sr = shared / "audit" / "lanczos_x4_set5"
    return audit_folders(sr, shared / "datasets" / "Set5", scale=4)
