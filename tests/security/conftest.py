"""The daemons of the tests of access, in this process."""

from tests.integration.access.conftest import start_manager, start_worker

__all__ = ["start_manager", "start_worker"]
