"""CLUSTER NODES, by example."""

from __future__ import annotations

from keymiss.client import Address
from keymiss.top.nodes import Node, parse_nodes

A, B, C, D, E, F = (letter * 40 for letter in "abcdef")


def test_masters_come_in_the_order_of_their_slots_each_with_its_replicas() -> None:
    text = (
        f"{B} 127.0.0.1:30002@31002 master - 0 1 2 connected 8192-16383\n"
        f"{D} 127.0.0.1:30004@31004 slave {B} 0 1 2 connected\n"
        f"{A} 127.0.0.1:30001@31001 myself,master - 0 1 1 connected 0-8190 8191\n"
        f"{C} 127.0.0.1:30003@31003 slave {A} 0 1 1 connected\n"
    )
    assert parse_nodes(text, "127.0.0.1") == [
        Node(Address("127.0.0.1", 30001), "master", 8192),
        Node(Address("127.0.0.1", 30003), "replica", 0),
        Node(Address("127.0.0.1", 30002), "master", 8192),
        Node(Address("127.0.0.1", 30004), "replica", 0),
    ]


def test_a_master_that_failed_and_lost_its_slots_is_still_there() -> None:
    text = (
        f"{A} 127.0.0.1:30001@31001 master,fail - 0 1 1 disconnected\n"
        f"{B} 127.0.0.1:30002@31002 myself,master - 0 1 2 connected 0-16383\n"
    )
    assert [node.address.port for node in parse_nodes(text, "127.0.0.1")] == [30002, 30001]


def test_slots_on_their_way_and_names_behind_addresses_are_understood() -> None:
    text = (
        f"{A} 10.0.0.1:6379@16379,alpha,shard-id=1 myself,master - 0 1 1 connected 0-9 [5->-{B}] [93-<-{B}]\n"
        f"{B} ::1:6380@16380 master - 0 1 2 connected 10-16383\n"
    )
    assert parse_nodes(text, "127.0.0.1") == [
        Node(Address("10.0.0.1", 6379), "master", 10),
        Node(Address("::1", 6380), "master", 16374),
    ]


def test_a_node_that_does_not_know_its_address_is_where_it_was_asked() -> None:
    text = f"{A} :30001@31001 myself,master - 0 0 0 connected\n"
    assert parse_nodes(text, "example.org") == [Node(Address("example.org", 30001), "master", 0)]


def test_who_is_no_member_or_nowhere_to_be_found_is_left_out() -> None:
    text = (
        f"{A} 127.0.0.1:30001@31001 myself,master - 0 0 0 connected 0-16383\n"
        f"{E} 127.0.0.1:30005@31005 handshake - 0 0 0 connected\n"
        f"{F} :0@0 slave,noaddr {A} 0 0 0 disconnected\n"
        "\n"
        "not a line of it\n"
    )
    assert [node.address.port for node in parse_nodes(text, "127.0.0.1")] == [30001]
