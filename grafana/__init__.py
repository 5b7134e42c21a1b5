"""The dashboards of Keymiss as code, and the JSON files that Grafana loads.

    promql, panels, page   how a query, a panel and a dashboard of this project look
    overview, inference,   the set that reads Prometheus
    gears, cluster
    redis_source,          the set that reads shards through Grafana's Redis data source
    shard, shard_gears,
    shard_models
    files                  every dashboard and the file it is written to: `keymiss dashboards`
    queries                every query of every panel with its unit, for checks against real servers
    provisioning           the files by which Grafana finds data sources and dashboards without a click

Needs the extra `grafana`. Whoever only loads the dashboards needs none of it: the JSON is in the repository.
"""
