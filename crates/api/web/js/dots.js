// Bins as dots, trucks as arrows, and what lies under the pointer.

import { keyOf, onFire, shown, store } from './store.js';
import { colourOf, uncertainty } from './palette.js';
import { hours } from './format.js';

const FIRE = '#d0021b';
const INK = '#1b2229';
const HIT_PX = 11;

let drawn = [];

// Bins of one site share a place: they stand in a ring around it, close together when far away.
function arrange(view) {
  const groups = new Map();
  for (const bin of store.bins.values()) {
    if (bin.u === undefined || !shown(bin)) continue;
    const [x, y] = [view.x(bin.u), view.y(bin.v)];
    if (x < -40 || y < -40 || x > view.width + 40 || y > view.height + 40) continue;
    const at = `${bin.u},${bin.v}`;
    if (!groups.has(at)) groups.set(at, { x, y, bins: [] });
    groups.get(at).bins.push(bin);
  }
  const size = Math.min(1.35, Math.max(0.6, 0.6 + (view.zoom - 11) * 0.16));
  const apart = Math.min(1, Math.max(0.35, (view.zoom - 11) / 4));
  const dots = [];
  for (const { x, y, bins } of groups.values()) {
    bins.sort((a, b) => (a.id < b.id ? -1 : 1));
    const ring = bins.length === 1 ? 0 : Math.max(8, (bins.length * 15) / (2 * Math.PI)) * size * apart;
    bins.forEach((bin, index) => {
      const angle = (index / bins.length) * 2 * Math.PI - Math.PI / 2;
      dots.push({ bin, x: x + Math.cos(angle) * ring, y: y + Math.sin(angle) * ring, radius: bin.kind.radius * size, size, left: ring > 0 && Math.cos(angle) < -0.1 });
    });
  }
  return dots;
}

// Urgent ones lie on top.
const urgency = ({ bin }) => (onFire(bin) ? -1e6 : bin.kind.id === 'silent' ? 500 : bin.hours_to_full_p50 ?? 1e3);

// Quieter where routes are looked at: then their lines are what the map is about.
export function drawBins(context, view, quiet = false) {
  drawn = arrange(view).sort((a, b) => urgency(b) - urgency(a));
  context.globalAlpha = quiet ? 0.08 : 0.2;
  for (const { bin, x, y, radius, size } of drawn) {
    const vague = uncertainty(bin);
    if (vague < 0.05 || bin.kind.id === 'silent') continue;
    context.fillStyle = colourOf(bin.kind.id);
    disc(context, x, y, radius + (1 + 7 * vague) * size * Math.min(1, size));
    context.fill();
  }
  context.globalAlpha = quiet ? 0.5 : 1;
  for (const { bin, x, y, radius } of drawn) {
    disc(context, x, y, radius);
    context.fillStyle = colourOf(bin.kind.id);
    context.fill();
    context.lineWidth = 1;
    context.strokeStyle = bin.kind.id === 'unknown' || bin.kind.id === 'silent' ? '#66717b' : 'rgba(255,255,255,.95)';
    if (bin.kind.id === 'silent') context.setLineDash([2, 2]);
    context.stroke();
    context.setLineDash([]);
    if (onFire(bin)) {
      disc(context, x, y, radius + 4);
      context.lineWidth = 2.6;
      context.strokeStyle = FIRE;
      context.stroke();
    }
  }
  context.globalAlpha = 1;
  if (view.zoom >= 15.5) drawLabels(context);
  const chosen = drawn.find(({ bin }) => keyOf(bin) === store.selected);
  if (chosen) {
    disc(context, chosen.x, chosen.y, chosen.radius + 7);
    context.lineWidth = 4.5;
    context.strokeStyle = '#ffffff';
    context.stroke();
    context.lineWidth = 2;
    context.strokeStyle = INK;
    context.stroke();
  }
}

function drawLabels(context) {
  context.font = '600 10.5px system-ui, sans-serif';
  context.lineWidth = 3;
  context.strokeStyle = 'rgba(243,244,239,.92)';
  context.fillStyle = INK;
  for (const { bin, x, y, radius, left } of drawn) {
    if (bin.kind.below === null) continue;
    const text = hours(bin.hours_to_full_p50);
    const ringed = onFire(bin) || keyOf(bin) === store.selected;
    const away = radius + (ringed ? 11 : 4);
    context.textAlign = left ? 'end' : 'start';
    context.strokeText(text, left ? x - away : x + away, y + 3.5);
    context.fillText(text, left ? x - away : x + away, y + 3.5);
  }
  context.textAlign = 'start';
}

function disc(context, x, y, radius) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
}

let trucksDrawn = [];

// With `colourIn` trucks have the colours of their routes, and those without one stand back.
export function drawTrucks(context, view, colourIn = null) {
  trucksDrawn = [];
  for (const truck of store.trucks.values()) {
    const colour = colourIn?.(truck);
    context.globalAlpha = colourIn && !colour ? 0.45 : 1;
    if (truck.u === undefined) continue;
    const [x, y] = [view.x(truck.u), view.y(truck.v)];
    trucksDrawn.push({ truck, x, y });
    context.lineWidth = 2;
    context.lineCap = 'round';
    truck.trail.slice(1).forEach(([u, v], index) => {
      const [fromU, fromV] = truck.trail[index];
      context.strokeStyle = `rgba(31,66,104,${(0.5 * (index + 1)) / truck.trail.length})`;
      context.beginPath();
      context.moveTo(view.x(fromU), view.y(fromV));
      context.lineTo(view.x(u), view.y(v));
      context.stroke();
    });
    const resting = ['parked', 'on_break', 'offline'].includes(truck.status);
    context.save();
    context.translate(x, y);
    context.rotate(((truck.heading_deg ?? 0) * Math.PI) / 180);
    context.beginPath();
    const size = colour ? 1.35 : 1;
    context.moveTo(0, -9 * size);
    context.lineTo(6.5 * size, 7 * size);
    context.lineTo(0, 3.6 * size);
    context.lineTo(-6.5 * size, 7 * size);
    context.closePath();
    context.lineJoin = 'round';
    context.lineWidth = 3;
    context.strokeStyle = '#ffffff';
    context.stroke();
    context.fillStyle = truck.status === 'broken_down' ? FIRE : colour ?? (resting ? '#8494a3' : '#1f4268');
    context.fill();
    context.restore();
  }
  context.globalAlpha = 1;
}

function nearest(list, x, y) {
  let best = null;
  let least = HIT_PX;
  for (const entry of list) {
    const away = Math.hypot(entry.x - x, entry.y - y) - (entry.radius ?? 4) * 0.5;
    if (away <= least) {
      least = away;
      best = entry;
    }
  }
  return best;
}

// The bin or truck at a point of the map, if any.
export function under(x, y) {
  const truck = nearest(trucksDrawn, x, y);
  const dot = nearest(drawn, x, y);
  if (truck && (!dot || Math.hypot(truck.x - x, truck.y - y) < Math.hypot(dot.x - x, dot.y - y))) return { truck: truck.truck };
  return dot ? { bin: dot.bin } : null;
}
