// The map's layer of routes: one line for each truck through its stops, in its colour; what a proposal changes is ringed.

import { visible } from './tabs.js';
import { colourOfVehicle, placeOf, plans, shownPlan } from './plans.js';
import { isServed } from './progress.js';
import { marks } from './proposal.js';

const RINGS = { added: '#1d7144', dropped: '#b3202c', moved: '#9a5b00' };
const SIGNS = { added: '+', dropped: '−', moved: '↕' };

export const routesShown = () => Boolean(shownPlan()) && (visible('panel-routes') || document.getElementById('show-routes').checked);

function points(view, tenant, route) {
  return route.stops
    .map((stop, index) => ({ stop, index, place: placeOf(tenant, stop) }))
    .filter(({ place }) => place?.u !== undefined)
    .map(({ stop, index, place }) => ({ stop, index, x: view.x(place.u), y: view.y(place.v) }));
}

const ordered = (routes) => [...routes].sort((a, b) => (a.vehicle_id === plans.vehicle) - (b.vehicle_id === plans.vehicle));

// Under the bins: legs are straight, a plan says where to go and not which street. What lies behind a truck is fainter.
export function drawRoutes(context, view) {
  if (!routesShown()) return;
  context.lineJoin = 'round';
  context.lineCap = 'round';
  for (const route of ordered(shownPlan().routes)) {
    const opened = plans.vehicle === route.vehicle_id;
    const line = points(view, plans.area.tenant, route);
    if (line.length < 2) continue;
    const strength = plans.vehicle && !opened ? 0.22 : 0.92;
    const done = plans.which === 'in_force' ? line.findLastIndex(({ stop }) => isServed(stop)) : -1;
    const ahead = line.slice(Math.max(0, done));
    for (const [legs, alpha] of [[done > 0 ? line.slice(0, done + 1) : [], strength * 0.3], [ahead, strength]]) {
      context.globalAlpha = alpha;
      for (const [colour, width] of [['#ffffff', opened ? 6.5 : 4.5], [colourOfVehicle(route.vehicle_id), opened ? 3.6 : 2.2]]) {
        context.strokeStyle = colour;
        context.lineWidth = width;
        context.setLineDash(plans.which === 'proposal' && colour !== '#ffffff' ? [7, 4] : []);
        context.beginPath();
        legs.forEach(({ x, y }) => context.lineTo(x, y));
        context.stroke();
      }
    }
    context.setLineDash([]);
    if (opened || view.zoom >= 12.5) ahead.slice(1).forEach((to, index) => arrow(context, ahead[index], to, colourOfVehicle(route.vehicle_id)));
  }
  context.globalAlpha = 1;
}

// Half way along a leg, where it is long enough to be seen.
function arrow(context, from, to, colour) {
  const [dx, dy] = [to.x - from.x, to.y - from.y];
  if (Math.hypot(dx, dy) < 34) return;
  context.save();
  context.translate((from.x + to.x) / 2, (from.y + to.y) / 2);
  context.rotate(Math.atan2(dy, dx));
  context.fillStyle = colour;
  context.strokeStyle = '#ffffff';
  context.lineWidth = 1.5;
  context.beginPath();
  context.moveTo(6, 0);
  context.lineTo(-4, -4.5);
  context.lineTo(-4, 4.5);
  context.closePath();
  context.stroke();
  context.fill();
  context.restore();
}

// Over the bins: numbers of the opened route, and rings around what a proposal changes.
export function drawStops(context, view) {
  if (!routesShown()) return;
  const { tenant } = plans.area;
  context.textAlign = 'center';
  const opened = shownPlan().routes.find((route) => route.vehicle_id === plans.vehicle);
  if (opened) {
    context.font = '650 10px system-ui, sans-serif';
    for (const { stop, index, x, y } of points(view, tenant, opened)) {
      if (stop.kind !== 'site') continue;
      context.beginPath();
      context.globalAlpha = isServed(stop) ? 0.55 : 1;
      context.arc(x, y, isServed(stop) ? 5 : 8, 0, 2 * Math.PI);
      context.fillStyle = colourOfVehicle(opened.vehicle_id);
      context.strokeStyle = '#ffffff';
      context.lineWidth = 2;
      context.fill();
      context.stroke();
      context.fillStyle = '#ffffff';
      if (!isServed(stop)) context.fillText(String(index), x, y + 3.5);
    }
    context.globalAlpha = 1;
  }
  context.font = '700 11px system-ui, sans-serif';
  for (const [site, kind] of marks()) {
    const place = placeOf(tenant, { site_id: site });
    if (place?.u === undefined) continue;
    const [x, y] = [view.x(place.u), view.y(place.v)];
    context.beginPath();
    context.arc(x, y, 12, 0, 2 * Math.PI);
    context.strokeStyle = '#ffffff';
    context.lineWidth = 4.5;
    context.stroke();
    context.strokeStyle = RINGS[kind];
    context.lineWidth = 2.4;
    context.stroke();
    context.beginPath();
    context.arc(x + 11, y - 10, 6.5, 0, 2 * Math.PI);
    context.fillStyle = RINGS[kind];
    context.fill();
    context.fillStyle = '#ffffff';
    context.fillText(SIGNS[kind], x + 11, y - 6);
  }
  context.textAlign = 'start';
}
