"""Large arguments, sent from the memory that they lie in.

Where hiredis is installed, redis-py has it write a whole command into one string: a tensor is copied twice
before any byte of it is sent, and AI.TENSORSET of 1 MB takes 2.6 ms instead of 0.6 ms. A connection takes a
packed command in pieces too, so a command with a large argument is packed here, without copying that, by what
redis-py has for when there is no hiredis. asyncio's connections do so by themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from redis.connection import PythonRespSerializer
from redis.exceptions import AskError, ClusterDownError, ConnectionError, SlotNotCoveredError, TryAgainError

from .commands import Command

LARGE_BYTES = 64 * 1024  # from here on, the copies take longer than the pieces' own calls to send

# What RedisCluster.execute_command knows how to handle. A MovedError is an AskError.
_REDIRECTED = (AskError, TryAgainError, ClusterDownError, SlotNotCoveredError, ConnectionError)


def execute(client: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """As `client.execute_command(*args, **options)`, of a redis.Redis."""
    if client.connection is not None or not _has_large(args):  # of the former there is one, behind a lock
        return client.execute_command(*args, **options)
    pieces = PythonRespSerializer(LARGE_BYTES, client.get_encoder().encode).pack(*args)
    connection = _connection(client.connection_pool)

    def send() -> Any:
        connection.send_packed_command(pieces)
        return client.parse_response(connection, args[0], **options)

    try:
        return connection.retry.call_with_retry(send, lambda error: connection.disconnect())
    finally:
        client.connection_pool.release(connection)


def execute_in_cluster(
    cluster: Any, command: Command[Any], options: dict[str, Any], target: dict[str, Any]
) -> Any:
    """As `cluster.execute_command(*command.args, **options, **target)`, of a redis.RedisCluster.

    A large argument goes to the shard of the key; the longer way where that does not serve it (any more).
    """
    if _has_large(command.args):
        try:
            node = cluster.get_node_from_key(command.key)
            return execute(cluster.get_redis_connection(node), command.args, options)
        except _REDIRECTED:
            pass
    return cluster.execute_command(*command.args, **options, **target)


def _has_large(args: tuple[Any, ...]) -> bool:
    return any(isinstance(arg, memoryview) and arg.nbytes >= LARGE_BYTES for arg in args)


def _connection(pool: Any) -> Any:
    get: Callable[..., Any] = pool.get_connection
    try:
        return get()
    except TypeError:  # redis-py before 5.3 wants the command's name, and does nothing with it
        return get("_")
