"""PyVRP and OR-Tools on the public instances, for the same time as our solvers: tab-separated lines like vrp_bench's.

Sets: solomon (both), mtvrptwr (PyVRP), kim (both; PyVRP has neither breaks nor caps of a day, so its Kim is a relaxation
of the problem and its cost a yardstick, not a plan one could drive).
"""

import json
import math
import re
import sys
import time
from pathlib import Path

YARD_SCALE = 100
HOUR = 3600
PUBLISHED_MILES = {"102": 174.5, "277": 447.6, "335": 182.1, "444": 78.3, "804": 604.1}


def row(name, set_name, solver, seconds, cost, known, routes, skipped, note, took):
    gap = (cost / known - 1) * 100 if cost is not None and known else float("nan")
    cost_text = "none" if cost is None else f"{cost:.2f}"
    print(f"{set_name}\t{name}\t{solver}\t{seconds}\t{cost_text}\t{known}\t{gap:+.2f}\t{routes}\t{skipped}\t{note}\t-\t{took:.1f}", flush=True)


# ---------------------------------------------------------------- instances


def solomon(path):
    rows = [list(map(float, line.split())) for line in path.read_text().splitlines() if re.fullmatch(r"[\d\s.]+", line) and line.strip()]
    fleet = next(r for r in rows if len(r) == 2)
    return int(fleet[0]), int(fleet[1]), [r for r in rows if len(r) == 7]


def kim(path):
    heads, rows = [], []
    for line in path.read_text().splitlines():
        words = line.split()
        if "//" in line:
            heads.append(float(words[0]))
        elif words and words[0].isdigit() and len(words) >= 8:
            rows.append([float(word) for word in words[:8]])
    clock = lambda hhmm: int(hhmm) // 100 * HOUR + int(hhmm) % 100 * 60
    nodes = [dict(x=r[1], y=r[2], early=clock(r[3]), late=clock(r[4]), service=int(r[5]), load=r[6], kind=int(r[7])) for r in rows]
    return heads, nodes


def feet(a, b):
    return abs(a["x"] - b["x"]) + abs(a["y"] - b["y"])


# ---------------------------------------------------------------- PyVRP


def pyvrp_run(data, seconds):
    from pyvrp import solve
    from pyvrp.stop import MaxRuntime

    began = time.monotonic()
    result = solve(data, stop=MaxRuntime(seconds), seed=1, display=False)
    return result, time.monotonic() - began


def pyvrp_solomon(path, seconds):
    from pyvrp import Model

    vehicles, capacity, rows = solomon(path)
    scale = 1000
    model = Model()
    places = [model.add_location(r[1], r[2]) for r in rows]
    depot = model.add_depot(places[0])
    model.add_vehicle_type(vehicles, capacity, depot, depot, tw_early=int(rows[0][4] * scale), tw_late=int(rows[0][5] * scale))
    for place, r in zip(places[1:], rows[1:]):
        model.add_client(place, delivery=int(r[3]), service_duration=int(r[6] * scale), tw_early=int(r[4] * scale), tw_late=int(r[5] * scale))
    for i, a in enumerate(rows):
        for j, b in enumerate(rows):
            units = int(math.hypot(a[1] - b[1], a[2] - b[2]) * scale)
            model.add_edge(places[i], places[j], distance=units, duration=units)
    result, took = pyvrp_run(model.data(), seconds)
    exact = None
    if result.is_feasible():
        exact = result.cost() / scale
    return exact, len(result.best.routes()), took


def pyvrp_mtvrptwr(path, seconds):
    from pyvrp import read

    result, took = pyvrp_run(read(path, round_func="dimacs"), seconds)
    return (result.cost() if result.is_feasible() else None), len(result.best.routes()), took


def pyvrp_kim(path, seconds):
    """Without lunch and caps of a day. The end is a place of its own, reached through the best disposal site."""
    from pyvrp import Model

    (capacity, _, _, _, mph), nodes = kim(path)
    start = next(node for node in nodes if node["kind"] == 0)
    dumps = [node for node in nodes if node["kind"] == 2]
    stops = [node for node in nodes if node["kind"] == 1]
    per_second = mph * 5280 / HOUR
    model = Model()
    place = {id(node): model.add_location(node["x"], node["y"]) for node in nodes}
    end_place = model.add_location(start["x"], start["y"])
    depot = model.add_depot(place[id(start)])
    end = model.add_depot(end_place)
    reloads = [model.add_depot(place[id(d)], tw_early=d["early"], tw_late=d["late"], service_duration=d["service"]) for d in dumps]
    model.add_vehicle_type(20, int(capacity * YARD_SCALE), depot, end, tw_early=start["early"], tw_late=start["late"], reload_depots=reloads)
    for node in stops:
        model.add_client(place[id(node)], pickup=round(node["load"] * YARD_SCALE), service_duration=node["service"], tw_early=node["early"], tw_late=node["late"])
    for a in nodes:
        for b in nodes:
            model.add_edge(place[id(a)], place[id(b)], distance=int(feet(a, b)), duration=int(feet(a, b) / per_second))
        if a["kind"] == 2:
            model.add_edge(place[id(a)], end_place, distance=int(feet(a, start)), duration=int(feet(a, start) / per_second))
        else:
            dump = min(dumps, key=lambda dump: feet(a, dump) + feet(dump, start))
            way = feet(a, dump) + feet(dump, start)
            model.add_edge(place[id(a)], end_place, distance=int(way), duration=int(way / per_second) + dump["service"])
    result, took = pyvrp_run(model.data(), seconds)
    return (result.cost() / 5280 if result.is_feasible() else None), len(result.best.routes()), took


# ---------------------------------------------------------------- OR-Tools


def ortools_search(routing, seconds):
    from ortools.constraint_solver import pywrapcp, routing_enums_pb2

    parameters = pywrapcp.DefaultRoutingSearchParameters()
    parameters.first_solution_strategy = routing_enums_pb2.FirstSolutionStrategy.PARALLEL_CHEAPEST_INSERTION
    parameters.local_search_metaheuristic = routing_enums_pb2.LocalSearchMetaheuristic.GUIDED_LOCAL_SEARCH
    parameters.time_limit.FromMilliseconds(int(seconds * 1000))
    began = time.monotonic()
    answer = routing.SolveWithParameters(parameters)
    return answer, time.monotonic() - began


def ortools_solomon(path, seconds):
    from ortools.constraint_solver import pywrapcp

    vehicles, capacity, rows = solomon(path)
    scale = 1000
    manager = pywrapcp.RoutingIndexManager(len(rows), vehicles, 0)
    routing = pywrapcp.RoutingModel(manager)
    units = [[int(math.hypot(a[1] - b[1], a[2] - b[2]) * scale) for b in rows] for a in rows]
    distance = routing.RegisterTransitCallback(lambda i, j: units[manager.IndexToNode(i)][manager.IndexToNode(j)])
    service = [int(r[6] * scale) for r in rows]
    travel = routing.RegisterTransitCallback(lambda i, j: units[manager.IndexToNode(i)][manager.IndexToNode(j)] + service[manager.IndexToNode(i)])
    demand = routing.RegisterUnaryTransitCallback(lambda i: int(rows[manager.IndexToNode(i)][3]))
    routing.SetArcCostEvaluatorOfAllVehicles(distance)
    routing.AddDimension(demand, 0, capacity, True, "load")
    routing.AddDimension(travel, 10**9, int(rows[0][5] * scale), False, "time")
    times = routing.GetDimensionOrDie("time")
    for node in range(1, len(rows)):
        times.CumulVar(manager.NodeToIndex(node)).SetRange(int(rows[node][4] * scale), int(rows[node][5] * scale))
    answer, took = ortools_search(routing, seconds)
    if answer is None:
        return None, 0, took
    used = sum(1 for vehicle in range(vehicles) if routing.IsVehicleUsed(answer, vehicle))
    return answer.ObjectiveValue() / scale, used, took


def ortools_kim(path, seconds, trucks=16):
    """With lunch, caps of a day and disposal trips: each disposal site several times, as optional nodes that empty."""
    from ortools.constraint_solver import pywrapcp

    (capacity, day_load, day_stops, lunch, mph), nodes = kim(path)
    start = next(node for node in nodes if node["kind"] == 0)
    dumps = [node for node in nodes if node["kind"] == 2]
    stops = [node for node in nodes if node["kind"] == 1]
    copies = max(1, min(40, 3 * math.ceil(sum(node["load"] for node in stops) / capacity)) // len(dumps) + 1)
    # Node 0 is the start, node 1 the end: it may be reached from a disposal site alone.
    all_nodes = [start, start] + stops + [dump for dump in dumps for _ in range(copies)]
    first_dump = 2 + len(stops)
    manager = pywrapcp.RoutingIndexManager(len(all_nodes), trucks, [0] * trucks, [1] * trucks)
    routing = pywrapcp.RoutingModel(manager)
    per_second = mph * 5280 / HOUR
    far = 10**9
    table = [[int(feet(a, b)) for b in all_nodes] for a in all_nodes]
    for node in range(2, first_dump):
        table[node][1] = far
    node_of = manager.IndexToNode
    routing.SetArcCostEvaluatorOfAllVehicles(routing.RegisterTransitCallback(lambda i, j: table[node_of(i)][node_of(j)]))
    spent = lambda i, j: all_nodes[node_of(i)]["service"] + int(min(table[node_of(i)][node_of(j)], far) / per_second)
    routing.AddDimension(routing.RegisterTransitCallback(spent), 86400, 86400, False, "time")
    times = routing.GetDimensionOrDie("time")
    full = int(capacity * YARD_SCALE)
    load_of = lambda i: -full if node_of(i) >= first_dump else 0 if node_of(i) < 2 else round(all_nodes[node_of(i)]["load"] * YARD_SCALE)
    routing.AddDimension(routing.RegisterUnaryTransitCallback(load_of), full, full, True, "load")
    loads = routing.GetDimensionOrDie("load")
    day_of = lambda i: 0 if node_of(i) >= first_dump or node_of(i) < 2 else round(all_nodes[node_of(i)]["load"] * YARD_SCALE)
    routing.AddDimension(routing.RegisterUnaryTransitCallback(day_of), 0, int(day_load * YARD_SCALE), True, "day")
    is_stop = lambda i: int(2 <= node_of(i) < first_dump)
    routing.AddDimension(routing.RegisterUnaryTransitCallback(is_stop), 0, int(day_stops), True, "stops")
    for node in range(2, len(all_nodes)):
        index = manager.NodeToIndex(node)
        times.CumulVar(index).SetRange(all_nodes[node]["early"], all_nodes[node]["late"])
        if node >= first_dump:
            routing.AddDisjunction([index], 0)
        else:
            loads.SlackVar(index).SetValue(0)
    solver = routing.solver()
    service = [node["service"] for node in all_nodes]
    for vehicle in range(trucks):
        times.CumulVar(routing.Start(vehicle)).SetRange(start["early"], start["late"])
        times.CumulVar(routing.End(vehicle)).SetRange(start["early"], start["late"])
        pause = solver.FixedDurationIntervalVar(11 * HOUR, 12 * HOUR, int(lunch), False, f"lunch {vehicle}")
        times.SetBreakIntervalsOfVehicle([pause], vehicle, [service[node_of(i)] if i < routing.Size() else 0 for i in range(routing.Size())])
    answer, took = ortools_search(routing, seconds)
    if answer is None:
        return None, 0, took
    used = sum(1 for vehicle in range(trucks) if routing.IsVehicleUsed(answer, vehicle))
    return answer.ObjectiveValue() / 5280, used, took


# ---------------------------------------------------------------- all


def main():
    folder, set_name, seconds = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
    part = sys.argv[4] if len(sys.argv) > 4 else ""
    if set_name == "solomon":
        known = json.loads((folder / "solomon/BKS.json").read_text())
        runs = [(path.stem, path, known[f"{path.stem}_distance"]["best_known_cost"]) for path in sorted((folder / "solomon").glob("*.txt"))]
        solvers = [("pyvrp", pyvrp_solomon, ""), ("or-tools", ortools_solomon, "")]
    elif set_name == "mtvrptwr":
        cost = lambda path: float(re.search(r"Cost:\s*(\d+)", path.with_suffix(".sol").read_text()).group(1))
        runs = [(path.stem, path, cost(path)) for path in sorted((folder / "mtvrptwr").glob("*.vrp"))]
        solvers = [("pyvrp", pyvrp_mtvrptwr, "")]
    else:
        runs = [(f"kim-{name}", folder / f"kim2006/{name}_stop.txt", miles) for name, miles in PUBLISHED_MILES.items()]
        solvers = [("pyvrp", pyvrp_kim, "no lunch, no caps"), ("or-tools", ortools_kim, "")]
    for name, path, known in runs:
        for solver, run, note in solvers:
            if part in name:
                cost, routes, took = run(path, seconds)
                row(name, set_name, solver, seconds, cost, known, routes, 0 if cost is not None else "all", note, took)


if __name__ == "__main__":
    main()
