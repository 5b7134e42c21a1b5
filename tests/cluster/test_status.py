"""What `keymiss status` makes of what the servers say."""

from __future__ import annotations

import pytest
from keymiss_deploy.cluster import status

from keymiss.client import Registration


def test_counts_of_a_function_are_those_of_all_masters(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {
        1: Registration("orders", "KeysReader", "", "orders:*", "async", 7, 4, 3),
        2: Registration("orders", "KeysReader", "", "orders:*", "async", 20, 20, 0),
    }
    monkeypatch.setattr(status, "_ask", lambda server, question, otherwise: [told[server["port"]]])
    (found,) = status._functions([{"role": "master", "port": port} for port in told])
    assert (found["triggered"], found["succeeded"], found["failures"]) == (27, 24, 3)
    assert found["ports"] == [1, 2]
