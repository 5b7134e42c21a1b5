"""What a function learns about its shard in a cluster."""

from __future__ import annotations

import contextlib

from support.cluster import Cluster

from keymiss.hashtags import slot_of


def test_the_hash_tag_of_a_shard_is_stored_on_it(cluster: Cluster) -> None:
    tags = []
    for master in cluster.masters:
        with contextlib.closing(master.client()) as client:
            tag = client.execute_command(
                "RG.PYEXECUTE", "GB('ShardsIDReader').map(lambda x: hashtag()).run(mode='async_local')"
            )[0][0]
            tags.append(tag.decode())
            # A shard that does not own the slot answers MOVED.
            assert client.set(f"key{{{tag.decode()}}}", "v")
    assert len(set(tags)) == len(cluster.masters)
    assert min(map(slot_of, tags)) == 0
