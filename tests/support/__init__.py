"""What the tests stand on: real servers, clusters of them, and ways to wait for what they do.

Helpers only; fixtures that hand them out are in `tests/conftest.py`.
"""
