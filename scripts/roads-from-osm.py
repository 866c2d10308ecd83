#!/usr/bin/env python3
"""Roads of an OpenStreetMap extract (.osm.pbf, .osm) as GeoJSON lines, for whoever has no osmium command.

    pip install osmium
    scripts/roads-from-osm.py city.osm.pbf > roads.geojsonl

The same as `osmium tags-filter city.osm.pbf w/highway -o ways.osm.pbf` and
`osmium export ways.osm.pbf -f geojsonseq -u type_id --geometry-types=linestring`. docs/roads.md tells what is read.
Data of OpenStreetMap is (c) OpenStreetMap contributors, ODbL 1.0: say so where you show it.
"""

import json
import sys

import osmium

TAGS = ("highway", "oneway", "maxspeed", "junction", "access", "vehicle", "motor_vehicle", "hgv", "area", "name")


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    lines = 0
    ways = osmium.FileProcessor(sys.argv[1]).with_locations().with_filter(osmium.filter.KeyFilter("highway"))
    for way in ways:
        if not way.is_way():
            continue
        points = [[round(node.lon, 7), round(node.lat, 7)] for node in way.nodes if node.location.valid()]
        # An extract cuts ways at its border: what is left of them is still a road.
        if len(points) < 2:
            continue
        feature = {
            "type": "Feature",
            "id": f"w{way.id}",
            "geometry": {"type": "LineString", "coordinates": points},
            "properties": {key: way.tags[key] for key in TAGS if key in way.tags},
        }
        print(json.dumps(feature, ensure_ascii=False, separators=(",", ":")))
        lines += 1
    print(f"{lines} lines", file=sys.stderr)
    return 0 if lines else 1


if __name__ == "__main__":
    sys.exit(main())
