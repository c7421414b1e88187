#!/usr/bin/env python3
"""Writes dashboards/bellwether.json. Edit here, run me, commit both; a test compares them."""

import json
import pathlib
import sys

C = 'cluster="$cluster"'


def rate(metric, by, labels=""):
    return f"sum by ({by}) (rate({metric}{{{C}{labels}}}[$__rate_interval]))"


def quantile(q, metric, by="le"):
    return f"histogram_quantile({q}, {rate(metric + '_bucket', by)})"


def query(expr, legend="__auto", **more):
    return {"expr": expr, "legendFormat": legend, **more}


def shown(kind, title, description, unit, queries, field=None, overrides=(), **options):
    """One panel, without its place."""
    defaults = {"unit": unit, **(field or {})}
    if kind == "timeseries":
        defaults.setdefault("min", 0)
        defaults["custom"] = {"lineWidth": 1, "fillOpacity": 10, "showPoints": "never", **defaults.get("custom", {})}
        options.setdefault("legend", {"displayMode": "list", "placement": "bottom", "showLegend": True})
        options.setdefault("tooltip", {"mode": "multi", "sort": "desc"})
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "fieldConfig": {"defaults": defaults, "overrides": list(overrides)},
        "options": options,
        "targets": [
            {"refId": chr(65 + i), "datasource": {"type": "prometheus", "uid": "${datasource}"}, **one}
            for i, one in enumerate(queries)
        ],
    }


def graph(title, description, unit, *queries, **more):
    return shown("timeseries", title, description, unit, queries, **more)


def stat(title, description, unit, expr, *, legend="__auto", mode="value", **field):
    field.setdefault("thresholds", steps((None, "text")))
    return shown(
        "stat", title, description, unit, [query(expr, legend, instant=True)], field,
        textMode=mode, colorMode="value", graphMode="none", reduceOptions={"calcs": ["lastNotNull"]},
    )


def steps(*pairs):
    return {"mode": "absolute", "steps": [{"value": value, "color": color} for value, color in pairs]}


def words(**by_value):
    """Shows numbers as words: words(_0=("down", "red"))."""
    options = {name.lstrip("_"): {"text": text, "color": color} for name, (text, color) in by_value.items()}
    return [{"type": "value", "options": options}]


STATES = {"custom": {"fillOpacity": 70, "lineWidth": 0}}

ROWS = [
    ("Who leads", [
        (4, 4, stat("Writes", "Whether every proxy knows a primary that takes writes.", "none",
                    f"min(bellwether_writable{{{C}}})",
                    mappings=words(_0=("none", "red"), _1=("possible", "green")))),
        (4, 4, stat("Primary", "The node that leads, as the proxies see it.", "none",
                    f'max by (node) (bellwether_node_role{{{C}, role="primary"}}) == 1', legend="{{node}}", mode="name")),
        (4, 4, stat("Leads for", "Time since the primary was first seen to lead in its term.", "s",
                    f"time() - min(bellwether_primary_since_timestamp_seconds{{{C}}} > 0)")),
        (4, 4, stat("Term", "Number of the leadership: grows whenever the primary or its timeline changes.", "none",
                    f"max(bellwether_term{{{C}}})")),
        (4, 4, stat("Promotes", "Who promotes when the primary fails: Bellwether (automatic), an operator (manual), "
                    "or somebody else (observe).", "none",
                    f"max by (mode) (bellwether_failover_mode{{{C}}}) == 1", legend="{{mode}}", mode="name")),
        (4, 4, stat("Stray primaries", "Nodes that accept writes although another one leads. No statement is sent there, "
                    "but whoever connects to them directly may write.", "none",
                    f"max(bellwether_stray_primaries{{{C}}})",
                    thresholds=steps((None, "green"), (1, "red")))),
        (24, 6, shown("state-timeline", "Role of each node", "What each node is: primary, standby, or not reached.",
                      "none", [query(
                          f'2 * max by (node) (bellwether_node_role{{{C}, role="primary"}}) + '
                          f'max by (node) (bellwether_node_role{{{C}, role="standby"}})', "{{node}}")],
                      {**STATES, "mappings": words(_0=("unknown", "red"), _1=("standby", "blue"),
                                                   _2=("primary", "green"))},
                      mergeValues=True, showValue="auto", rowHeight=0.8,
                      legend={"displayMode": "list", "placement": "bottom", "showLegend": False})),
    ]),
    ("Who lags", [
        (8, 7, graph("Lag in bytes", "WAL that the primary has written and the standby has not replayed.", "bytes",
                     query(f"max by (node) (bellwether_replica_lag_bytes{{{C}}})", "{{node}}"))),
        (8, 7, graph("Lag in time", "Age of the last replayed transaction while there is something to replay.", "s",
                     query(f"max by (node) (bellwether_replica_lag_seconds{{{C}}})", "{{node}}"))),
        (8, 7, graph("WAL", "WAL written by the primary, and replayed by each standby.", "Bps",
                     query(f"max by (node) (deriv(bellwether_node_wal_bytes{{{C}}}[$__rate_interval]))", "{{node}}"))),
        (12, 5, shown("state-timeline", "Takes reads", "Whether reads go to the node.", "none",
                      [query(f"max by (node) (bellwether_replica_eligible{{{C}}})", "{{node}}")],
                      {**STATES, "mappings": words(_0=("no", "#808080"), _1=("yes", "blue"))},
                      mergeValues=True, showValue="never", rowHeight=0.8,
                      legend={"displayMode": "list", "placement": "bottom", "showLegend": False})),
        (12, 5, graph("Timeline", "Each promotion begins a new timeline; who stays behind must be rewound.", "none",
                      query(f"max by (node) (bellwether_node_timeline{{{C}}})", "{{node}}"),
                      field={"decimals": 0, "custom": {"lineInterpolation": "stepAfter", "fillOpacity": 0}})),
    ]),
    ("Failover", [
        (6, 7, shown("bargauge", "Steps of the last failover", "Time each step took when Bellwether last moved the lead.",
                     "s", [query(f"max by (step) (bellwether_last_failover_step_seconds{{{C}}})", "{{step}}", instant=True)],
                     {"min": 0}, orientation="horizontal", displayMode="basic",
                     reduceOptions={"calcs": ["lastNotNull"]})),
        (6, 7, graph("Permission left", "How long each proxy may go on talking to the primary without hearing from etcd. "
                     "At 0 it holds writes. Always 0 where Bellwether only observes.", "s",
                     query(f"bellwether_permission_remaining_seconds{{{C}}}", "{{instance}}"))),
        (6, 7, graph("etcd", "Time etcd takes to answer, and calls it failed to answer in a second.", "s",
                     query(quantile(0.5, "bellwether_etcd_request_seconds"), "p50"),
                     query(quantile(0.99, "bellwether_etcd_request_seconds"), "p99"),
                     query(rate("bellwether_etcd_request_failures_total", "reason"), "{{reason}} /s"),
                     overrides=[{"matcher": {"id": "byRegexp", "options": ".*/s"},
                                 "properties": [{"id": "unit", "value": "ops"},
                                                {"id": "custom.axisPlacement", "value": "right"}]}])),
        (6, 7, graph("Held statements", "Statements that wait for a primary, and how such waits ended in a second.",
                     "none",
                     query(f"sum(bellwether_held_statements{{{C}}})", "held now"),
                     query(rate("bellwether_holds_total", "result"), "{{result}} /s"))),
    ]),
    ("Traffic", [
        (8, 7, graph("Statements", "Statements answered in a second, by the node that answered.", "ops",
                     query(rate("bellwether_statements_total", "node, route"), "{{node}} {{route}}"))),
        (8, 7, graph("Latency", "Time from a statement's arrival to the end of its answer, waiting included.", "s",
                     *[query(quantile(q, "bellwether_statement_seconds", "route, le"), f"{{{{route}}}} p{q * 100:g}")
                       for q in (0.5, 0.95, 0.99)])),
        (8, 7, shown("heatmap", "Wait for a server", "How long clients waited for a server connection.", "s",
                     [query(rate("bellwether_checkout_wait_seconds_bucket", "le"), "{{le}}", format="heatmap")],
                     calculate=False, cellGap=1, color={"mode": "scheme", "scheme": "Oranges", "steps": 32},
                     yAxis={"unit": "s"}, legend={"show": True}, tooltip={"show": True})),
        (8, 7, graph("Clients", "Clients connected, waiting for a server, and keeping one.", "none",
                     query(f"sum by (state) (bellwether_clients{{{C}}})", "{{state}}"),
                     query(f"sum(bellwether_pool_waiting{{{C}}})", "waiting"),
                     query(f"sum by (reason) (bellwether_pinned_clients{{{C}}}) > 0", "pinned: {{reason}}"))),
        (8, 7, graph("Pools in use", "Share of a pool's connections in use, the ten fullest.", "percentunit",
                     query(f"topk(10, max by (node, database, user) (bellwether_pool_active{{{C}}} / "
                           f"bellwether_pool_limit{{{C}}}))", "{{user}}@{{database}} on {{node}}"), field={"max": 1})),
        (8, 7, graph("Why it went there", "The rule that decided where a statement goes; reads that the primary had to take "
                     "for want of a standby; what came of reads that had to see something.", "ops",
                     query(f"{rate('bellwether_routed_total', 'route, rule')} > 0", "{{route}}: {{rule}}"),
                     query(f"{rate('bellwether_read_fallbacks_total', 'reason')} > 0", "fallback: {{reason}}"),
                     query(f"{rate('bellwether_read_freshness_total', 'outcome')} > 0", "freshness: {{outcome}}"),
                     query(f"{rate('bellwether_reads_healed_total', 'cause')} > 0", "healed: {{cause}}"))),
        (8, 7, graph("Errors", "Errors sent to clients, by who found fault and SQLSTATE class; clients turned away, and "
                     "requests that got no server, in a second.", "ops",
                     query(f"{rate('bellwether_errors_total', 'origin, sqlstate_class')} > 0",
                           "{{origin}}: {{sqlstate_class}}"),
                     query(rate("bellwether_client_rejected_total", "reason"), "turned away: {{reason}}"),
                     query(rate("bellwether_checkout_failures_total", "reason"), "no server: {{reason}}"))),
        (8, 7, graph("Processor", "How busy the busiest worker thread of each proxy is, and the CPU time of the process.",
                     "percentunit",
                     query(f"max by (instance) (rate(bellwether_worker_busy_seconds_total{{{C}}}[$__rate_interval]))",
                           "{{instance}} busiest worker"),
                     query(f"sum by (instance) (rate(process_cpu_seconds_total{{{C}}}[$__rate_interval]))",
                           "{{instance}} CPU"))),
    ]),
]


def panels():
    placed, y = [], 0
    for title, row in ROWS:
        placed.append({"type": "row", "title": title, "collapsed": False, "panels": [],
                       "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}})
        x, y, tallest = 0, y + 1, 0
        for width, height, panel in row:
            if x + width > 24:
                x, y, tallest = 0, y + tallest, 0
            placed.append({**panel, "gridPos": {"x": x, "y": y, "w": width, "h": height}})
            x, tallest = x + width, max(tallest, height)
        y += tallest
    return [{"id": number, **panel} for number, panel in enumerate(placed, 1)]


def dashboard():
    source = {"type": "prometheus", "uid": "${datasource}"}
    return {
        "uid": "bellwether",
        "title": "Bellwether",
        "description": "A PostgreSQL cluster behind Bellwether: who leads, who lags, what is asked of it.",
        "tags": ["bellwether", "postgresql"],
        "schemaVersion": 38,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [
            {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus",
             "refresh": 1, "hide": 0},
            {"name": "cluster", "label": "Cluster", "type": "query", "datasource": source,
             "query": {"query": "label_values(bellwether_build_info, cluster)", "refId": "cluster"},
             "definition": "label_values(bellwether_build_info, cluster)", "refresh": 2, "sort": 1, "hide": 0},
        ]},
        "annotations": {"list": [{
            "name": "Primary changed", "datasource": source, "enable": True, "iconColor": "orange",
            "expr": f"min(bellwether_primary_since_timestamp_seconds{{{C}}} > 0) * 1000",
            "useValueForTime": True, "titleFormat": "Another primary, or another timeline", "step": "10s",
        }]},
        "panels": panels(),
    }


if __name__ == "__main__":
    text = json.dumps(dashboard(), indent=2) + "\n"
    if sys.argv[1:] == ["--print"]:
        sys.stdout.write(text)
    else:
        pathlib.Path(__file__).with_name("dashboards").joinpath("bellwether.json").write_text(text)
