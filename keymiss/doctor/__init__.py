"""`keymiss doctor`: what is wrong with an installation, and the command that mends it.

`check` says what a check is and runs them; `installation`, `machine` and `servers` are the package's own.
Others come by entry points of the group `keymiss.checks`: those of a cluster are in the deployment
(cluster/checks).
"""
