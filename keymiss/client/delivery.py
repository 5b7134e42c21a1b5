"""How commands get to servers: to which nodes of a cluster, how often, and large arguments from their memory.

Where hiredis is installed, redis-py has it write a whole command into one string: a tensor is copied twice
before any byte of it is sent, and AI.TENSORSET of 1 MB takes 2.6 ms instead of 0.6 ms. A connection takes a
packed command in pieces too, so a command with a large argument is packed here, without copying that, by what
redis-py has for when there is no hiredis. asyncio's connections do so by themselves.

A redis.Redis sends a command again that is not answered in time: from redis-py 8 on ten times, after five
seconds each, unless it is told otherwise. A function that takes six would run eleven times, so what is to be
sent once is sent here. A RedisCluster does not repeat what it is told the node of.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

from redis.client import NEVER_DECODE
from redis.connection import PythonRespSerializer
from redis.exceptions import (
    AskError,
    ClusterDownError,
    ConnectionError,
    SlotNotCoveredError,
    TimeoutError,
    TryAgainError,
)

from .commands import Command, Where

UNDECODED: dict[str, Any] = {NEVER_DECODE: []}  # options of execute_command: blobs are no text, ever
LARGE_BYTES = 64 * 1024  # from here on, the copies take longer than the pieces' own calls to send

# What RedisCluster.execute_command knows how to handle. A MovedError is an AskError.
_REDIRECTED = (AskError, TryAgainError, ClusterDownError, SlotNotCoveredError, ConnectionError)

# What has it look anew where the slots are.
_RELOCATED = (ClusterDownError, SlotNotCoveredError, ConnectionError)


def is_cluster(client: Any) -> bool:
    return hasattr(client, "get_node_from_key")


def targets(cluster: Any, command: Command[Any]) -> list[dict[str, Any]]:
    """The options of execute_command for each node that the command goes to.

    SlotNotCoveredError where the client does not know which serves the key.
    """
    if command.where is Where.KEY:
        return [{}]
    if command.where is Where.TOLD_KEY:
        return [{"target_nodes": cluster.get_node_from_key(command.key)}]
    if command.where is Where.SHARD:
        return [{"target_nodes": command.node or any_shard(cluster)}]
    if command.where is Where.ANY:
        return [{"target_nodes": cluster.get_random_node()}]
    nodes = cluster.get_primaries() if command.where is Where.SHARDS else cluster.get_nodes()
    return [{"target_nodes": node} for node in nodes]


def any_shard(cluster: Any) -> Any:
    """The master of any shard."""
    return random.choice(cluster.get_primaries())


def execute(client: Any, command: Command[Any]) -> Any:
    """As `client.execute_command` of a redis.Redis; the reply, undecoded."""
    if not ((command.once or _has_large(command)) and _lends_connections(client)):
        return client.execute_command(*command.args, **UNDECODED)
    connection = _connection(client.connection_pool)

    def send() -> Any:
        try:
            connection.send_packed_command(packed)
            return client.parse_response(connection, command.name, **UNDECODED)
        except TimeoutError as error:
            return _final(error, command)

    try:
        packed = _packer(client, connection, command)(*command.args)
        return _raised(connection.retry.call_with_retry(send, lambda error: connection.disconnect()))
    finally:
        client.connection_pool.release(connection)


async def execute_async(client: Any, command: Command[Any]) -> Any:
    """As `execute`, of a redis.asyncio.Redis."""
    await client.initialize()  # takes the connection of a client that has only one
    if not (command.once and _lends_connections(client)):
        return await client.execute_command(*command.args, **UNDECODED)
    connection = await _connection(client.connection_pool)

    async def send() -> Any:
        try:
            await connection.send_command(*command.args)
            return await client.parse_response(connection, command.name, **UNDECODED)
        except TimeoutError as error:
            return _final(error, command)

    try:
        return _raised(await connection.retry.call_with_retry(send, lambda error: connection.disconnect()))
    finally:
        await client.connection_pool.release(connection)


def _final(error: TimeoutError, command: Command[Any]) -> TimeoutError:
    """The error as a result, for which nothing is sent again; raised where that may be."""
    if not command.once:
        raise error
    return error


def _raised(reply: Any) -> Any:
    if isinstance(reply, TimeoutError):
        raise reply
    return reply


def execute_in_cluster(cluster: Any, command: Command[Any]) -> list[Any]:
    """As `cluster.execute_command` of a redis.RedisCluster, to each of its targets; the replies, undecoded.

    Where the shard of the key cannot be reached, the command goes to whichever serves the key then. It may
    have been run before: redis-py's own commands are repeated in the same way.
    """
    tries = 0
    while True:
        tries += 1
        try:
            return [_execute_at(cluster, command, target) for target in targets(cluster, command)]
        except _RELOCATED as error:
            if not _is_repeated(cluster, command, error, tries):
                raise


async def execute_in_async_cluster(cluster: Any, command: Command[Any]) -> list[Any]:
    """As `execute_in_cluster`, of a redis.asyncio.RedisCluster."""
    tries = 0
    while True:
        tries += 1
        await cluster.initialize()  # does nothing where it knows where the slots are
        try:
            asked = [
                cluster.execute_command(*command.args, **UNDECODED, **target)
                for target in targets(cluster, command)
            ]
            return await asyncio.gather(*asked)
        except _RELOCATED as error:
            if not _is_repeated(cluster, command, error, tries):
                raise


def _is_repeated(cluster: Any, command: Command[Any], error: Exception, tries: int) -> bool:
    """Whether redis-py would repeat the command, had it not been told the node."""
    retries = getattr(cluster, "cluster_error_retry_attempts", None)  # of redis-py 5
    if retries is None:
        retries = cluster.retry.get_retries()
    return command.where is Where.TOLD_KEY and type(error) in _RELOCATED and tries <= retries


def _execute_at(cluster: Any, command: Command[Any], target: dict[str, Any]) -> Any:
    """The reply of one target. A large argument goes to the shard of the key; the longer way where that does
    not serve it (any more).
    """
    if _has_large(command):
        try:
            node = cluster.get_node_from_key(command.key)
            return execute(cluster.get_redis_connection(node), command)
        except _REDIRECTED:
            pass
    return cluster.execute_command(*command.args, **UNDECODED, **target)


def _has_large(command: Command[Any]) -> bool:
    return any(isinstance(arg, memoryview) and arg.nbytes >= LARGE_BYTES for arg in command.args)


def _packer(client: Any, connection: Any, command: Command[Any]) -> Any:
    if not _has_large(command):
        return connection.pack_command
    return PythonRespSerializer(LARGE_BYTES, client.get_encoder().encode).pack


def _lends_connections(client: Any) -> bool:
    """Not where it has only one, behind a lock, nor where what they receive goes through a cache."""
    return client.connection is None and getattr(client.connection_pool, "cache", None) is None


def _connection(pool: Any) -> Any:
    try:
        return pool.get_connection()
    except TypeError:  # redis-py before 5.3 wants the command's name, and does nothing with it
        return pool.get_connection("_")
