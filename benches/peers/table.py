#!/usr/bin/env python3
"""Prints the medians of a results file, one row per task and peer. usage: table.py RESULTS.jsonl

rec_cpu_s (records per CPU-second of the peer, start included) is the figure to compare; rec_s only between runs with a
like other_cpu_s, what everything else on the machine burnt meanwhile. A row counts as ok when every run of it ended
well and its output was checked; failed runs are left out of the medians."""
import json
import statistics
import sys

BASELINE = "kstreams"


def good(run):
    return run["rc"] == 0 and bool(run.get("ok")) and "rec_s" in run


def median(runs, field):
    values = [run[field] for run in runs if field in run]
    return statistics.median(values) if values else None


def main():
    with open(sys.argv[1]) as results:
        runs = [json.loads(line) for line in results if line.startswith("{")]
    if not runs:
        sys.exit("no results")
    groups = {}
    for run in runs:
        groups.setdefault((run["task"], run["peer"]), []).append(run)
    medians = {
        key: {field: median([run for run in group if good(run)], field)
              for field in ("rec_s", "rec_cpu_s", "rss_mb", "broker_cpu_s", "other_cpu_s")}
        for key, group in groups.items()
    }
    print(f"\n{runs[0]['n']} records, {'exactly once' if runs[0]['eos'] else 'at least once'}, medians")
    header = ("task", "peer", "rec/s", "rec/cpu-s", "× " + BASELINE, "rss MB", "broker cpu s", "other cpu s", "ok")
    rows = [header]
    for (task, peer), figures in sorted(medians.items()):
        base = medians.get((task, BASELINE), {}).get("rec_cpu_s")
        own = figures["rec_cpu_s"]
        group = groups[task, peer]
        number = lambda value, form="{:,.0f}": "-" if value is None else form.format(value)
        rows.append((
            task, peer, number(figures["rec_s"]), number(own),
            number(own / base if own and base else None, "{:.2f}"), number(figures["rss_mb"]),
            number(figures["broker_cpu_s"], "{:.1f}"), number(figures["other_cpu_s"], "{:.1f}"),
            f"{sum(map(good, group))}/{len(group)}",
        ))
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    for row in rows:
        cells = [cell.ljust(width) if i < 2 else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths))]
        print("  ".join(cells).rstrip())


main()
