// The map's ground: no tiles, no other server. Built-up areas are hinted by soft discs around sites; zones, a graticule and
// facilities give orientation.

import { mercator, store } from './store.js';

const GROUND = '#f3f4ef';
const BUILT = ['#eceee8', '#e4e7df'];
const GRID = '#dcdfd8';
const ZONE = '#b9c2bb';
const DISCS_M = [950, 480];
const EARTH_M = 40_075_016;

// A canvas over the whole map container, redrawn on every move; nothing is ever out of place.
export class Canvas {
  constructor(map, className, draw) {
    this.map = map;
    this.draw = draw;
    this.element = document.createElement('canvas');
    this.element.className = className;
    map.getContainer().append(this.element);
    this.context = this.element.getContext('2d');
    map.on('move zoom resize', () => this.redraw());
    this.redraw();
  }

  // Several changes in one frame are one drawing.
  schedule() {
    if (this.scheduled) return;
    this.scheduled = true;
    requestAnimationFrame(() => this.redraw());
  }

  redraw() {
    this.scheduled = false;
    const size = this.map.getSize();
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [Math.round(size.x * ratio), Math.round(size.y * ratio)];
    if (this.element.width !== width || this.element.height !== height) {
      this.element.width = width;
      this.element.height = height;
      this.element.style.width = `${size.x}px`;
      this.element.style.height = `${size.y}px`;
    }
    this.context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.context.clearRect(0, 0, size.x, size.y);
    this.draw(this.context, viewOf(this.map, size));
  }
}

// How Mercator coordinates become pixels now.
function viewOf(map, size) {
  const zoom = map.getZoom();
  const scale = 256 * 2 ** zoom;
  const origin = map.getPixelBounds().min;
  return { zoom, scale, width: size.x, height: size.y, x: (u) => u * scale - origin.x, y: (v) => v * scale - origin.y };
}

export function drawBackdrop(context, view, map) {
  context.fillStyle = GROUND;
  context.fillRect(0, 0, view.width, view.height);
  const sites = places((row) => row.kind === 'site');
  const ground = sites.length ? sites : [...store.bins.values()].filter((bin) => bin.u !== undefined);
  drawBuilt(context, view, map, ground);
  drawGrid(context, view, map);
  drawZones(context, view, sites);
}

const places = (wanted) => store.places.filter((row) => row.u !== undefined && wanted(row));

function drawBuilt(context, view, map, ground) {
  const latitude = (map.getCenter().lat * Math.PI) / 180;
  // Far away they merge into a city; close up they would only be circles.
  context.globalAlpha = Math.min(1, Math.max(0, (14.2 - view.zoom) / 1.8));
  DISCS_M.forEach((disc, tone) => {
    const radius = Math.max(5, (disc / (EARTH_M * Math.cos(latitude))) * view.scale);
    context.fillStyle = BUILT[tone];
    context.beginPath();
    for (const row of ground) {
      const [x, y] = [view.x(row.u), view.y(row.v)];
      if (x < -radius || y < -radius || x > view.width + radius || y > view.height + radius) continue;
      context.moveTo(x + radius, y);
      context.arc(x, y, radius, 0, 2 * Math.PI);
    }
    context.fill();
  });
  context.globalAlpha = 1;
}

const STEPS_DEG = [10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001];

function drawGrid(context, view, map) {
  const bounds = map.getBounds();
  const step = STEPS_DEG.find((deg) => (deg / 360) * view.scale < 190) ?? 0.001;
  const digits = Math.max(0, Math.ceil(-Math.log10(step)));
  context.strokeStyle = GRID;
  context.lineWidth = 1;
  context.fillStyle = '#9aa39c';
  context.font = '10px system-ui, sans-serif';
  context.beginPath();
  for (let at = Math.ceil(bounds.getWest() / step); at * step < bounds.getEast(); at += 1) {
    const x = Math.round(view.x(mercator(0, at * step)[0])) + 0.5;
    context.moveTo(x, 0);
    context.lineTo(x, view.height);
    context.fillText(`${(at * step).toFixed(digits)}°`, x + 4, 13);
  }
  for (let at = Math.ceil(bounds.getSouth() / step); at * step < bounds.getNorth(); at += 1) {
    const y = Math.round(view.y(mercator(at * step, 0)[1])) + 0.5;
    context.moveTo(0, y);
    context.lineTo(view.width, y);
    if (y > 34 && y < view.height - 40) context.fillText(`${(at * step).toFixed(digits)}°`, view.width - 46, y - 4);
  }
  context.stroke();
}

function drawZones(context, view, sites) {
  const zones = Map.groupBy(sites.filter((site) => site.zone_id), (site) => site.zone_id);
  context.font = '600 11px system-ui, sans-serif';
  context.textAlign = 'center';
  for (const [zone, members] of zones) {
    const outline = hull(members.map((site) => [view.x(site.u), view.y(site.v)]));
    if (outline.length < 3) continue;
    const middle = [0, 1].map((axis) => outline.reduce((sum, point) => sum + point[axis], 0) / outline.length);
    // Pushed outwards a little, so that sites lie inside.
    const pushed = outline.map(([x, y]) => {
      const away = Math.hypot(x - middle[0], y - middle[1]) || 1;
      return [x + ((x - middle[0]) / away) * 14, y + ((y - middle[1]) / away) * 14];
    });
    context.beginPath();
    pushed.forEach((point) => context.lineTo(...point));
    context.closePath();
    context.strokeStyle = ZONE;
    context.lineWidth = 1.2;
    context.lineJoin = 'round';
    context.setLineDash([5, 4]);
    context.stroke();
    context.setLineDash([]);
    if (view.zoom >= 10.5) {
      const top = pushed.reduce((best, point) => (point[1] < best[1] ? point : best));
      context.fillStyle = '#7c877f';
      context.fillText(zone.toUpperCase(), top[0], top[1] - 6);
    }
  }
  context.textAlign = 'start';
}

// Convex hull (monotone chain).
function hull(points) {
  const sorted = [...points].sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  const turn = (o, a, b) => (a[0] - o[0]) * (b[1] - o[1]) - (a[1] - o[1]) * (b[0] - o[0]);
  const half = (list) => {
    const chain = [];
    for (const point of list) {
      while (chain.length > 1 && turn(chain.at(-2), chain.at(-1), point) <= 0) chain.pop();
      chain.push(point);
    }
    return chain.slice(0, -1);
  };
  return [...half(sorted), ...half(sorted.reverse())];
}

export function drawFacilities(context, view) {
  context.font = '11px system-ui, sans-serif';
  for (const row of places((place) => place.kind !== 'site')) {
    const [x, y] = [view.x(row.u), view.y(row.v)];
    const depot = row.kind === 'depot';
    context.fillStyle = depot ? '#2f4a63' : '#5d4b70';
    context.strokeStyle = '#ffffff';
    context.lineWidth = 2;
    context.beginPath();
    if (depot) {
      context.moveTo(x - 8, y + 7);
      context.lineTo(x - 8, y - 2);
      context.lineTo(x, y - 9);
      context.lineTo(x + 8, y - 2);
      context.lineTo(x + 8, y + 7);
    } else {
      context.moveTo(x, y - 9);
      context.lineTo(x + 9, y);
      context.lineTo(x, y + 9);
      context.lineTo(x - 9, y);
    }
    context.closePath();
    context.stroke();
    context.fill();
    context.fillStyle = '#ffffff';
    if (depot) context.fillRect(x - 3, y + 1, 6, 6);
    else context.fillRect(x - 4, y - 1, 8, 2);
    if (view.zoom >= 11) {
      context.lineWidth = 3;
      context.strokeStyle = 'rgba(243,244,239,.9)';
      const name = row.name ?? row.id;
      // Where the right edge would cut the name, it stands on the left.
      const width = context.measureText(name).width;
      const at = x + 13 + width > view.width && x - 13 - width > 0 ? x - 13 - width : x + 13;
      context.strokeText(name, at, y + 4);
      context.fillStyle = '#4a5560';
      context.fillText(name, at, y + 4);
    }
  }
}
