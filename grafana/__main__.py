"""`python -m keymiss_deploy.grafana`: the same as `keymiss dashboards`."""

from __future__ import annotations

from .commands import dashboards

dashboards()
