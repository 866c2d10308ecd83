// The map: Leaflet for moving and zooming, canvases for everything that is drawn.

/* global L */
import { Canvas, drawBackdrop, drawFacilities } from './backdrop.js';
import { drawBins, drawTrucks, under } from './dots.js';
import { colourOfTruck } from './plans.js';
import { drawRoutes, drawStops, routesShown } from './route-layer.js';
import { keyOf, on, place, select, store } from './store.js';
import { ago, element, hours, hoursRange, percent, words } from './format.js';

let map;
let ground;
let marks;
let fitted = false;

export function createMap() {
  map = L.map('map', {
    attributionControl: false,
    zoomControl: false,
    zoomAnimation: false,
    fadeAnimation: false,
    zoomSnap: 0.25,
    zoomDelta: 0.75,
    wheelPxPerZoomLevel: 90,
    minZoom: 3,
    maxZoom: 19,
    center: [50, 10],
    zoom: 5,
  });
  L.control.zoom({ position: 'topleft' }).addTo(map);
  L.control.scale({ position: 'bottomright', imperial: false }).addTo(map);
  ground = new Canvas(map, 'canvas ground', (context, view) => drawBackdrop(context, view, map));
  marks = new Canvas(map, 'canvas marks', (context, view) => {
    drawRoutes(context, view);
    drawBins(context, view, routesShown());
    drawStops(context, view);
    drawFacilities(context, view);
    drawTrucks(context, view, routesShown() ? colourOfTruck : null);
  });

  on('loaded', () => {
    store.places.forEach(place);
    if (!fitted) fit();
    redraw();
  });
  on('changed', () => marks.schedule());
  on('filter', () => marks.schedule());
  on('colours', () => marks.schedule());
  on('route', () => marks.schedule());
  on('selected', ({ key, pan }) => {
    const bin = store.bins.get(key);
    if (pan && bin) show(bin);
    marks.schedule();
  });

  map.on('click', ({ containerPoint: { x, y } }) => {
    const found = under(x, y);
    select(found?.bin ? keyOf(found.bin) : null);
  });
  map.on('mousemove', ({ containerPoint: { x, y } }) => tip(x, y));
  map.on('mouseout movestart', () => tip(null));
  new ResizeObserver(() => map.invalidateSize({ animate: false })).observe(map.getContainer());
}

function redraw() {
  ground.schedule();
  marks.schedule();
}

// Everything placed, once; later the user decides where to look.
export function fit() {
  // Sites only where no bin is known: those without one may lie far out.
  const rows = [...store.bins.values(), ...store.places.filter((row) => row.kind !== 'site' || !store.bins.size)].filter((row) => row.u !== undefined);
  if (!rows.length) return;
  fitted = true;
  // Not under the legend, where there is room beside it.
  const legend = document.getElementById('legend');
  const left = legend.open && map.getSize().x > 800 ? legend.offsetWidth + 30 : 26;
  const bounds = L.latLngBounds(rows.map((row) => [row.latitude_deg, row.longitude_deg]));
  map.fitBounds(bounds, { paddingTopLeft: [left, 34], paddingBottomRight: [40, 30], animate: false, maxZoom: 16 });
}

// Moves the map to a row, closer when it is far away.
export function show(row) {
  if (row.u === undefined) return;
  const still = window.matchMedia('(prefers-reduced-motion: reduce)').matches;
  map.setView([row.latitude_deg, row.longitude_deg], Math.max(map.getZoom(), 14), { animate: !still });
}

const tipBox = () => document.getElementById('tip');

function tip(x, y) {
  const found = x === null ? null : under(x, y);
  map.getContainer().classList.toggle('pointing', Boolean(found));
  const box = tipBox();
  box.hidden = !found;
  if (!found) return;
  box.replaceChildren(...(found.bin ? binTip(found.bin) : truckTip(found.truck)));
  const left = Math.min(x + 14, map.getSize().x - box.offsetWidth - 6);
  box.style.left = `${left}px`;
  box.style.top = `${y + 16 + box.offsetHeight > map.getSize().y ? y - box.offsetHeight - 10 : y + 16}px`;
}

const line = (text, className = '') => element('div', { text, class: className });

function binTip(bin) {
  const range = hoursRange(bin.hours_to_full_p10, bin.hours_to_full_p90);
  return [
    line(bin.id, 'tip-title'),
    line(`${percent(bin.filling_level)} now · full in ${hours(bin.hours_to_full_p50)}${range ? ` (${range})` : ''}`),
    bin.sensor_health && bin.sensor_health !== 'ok' ? line(`sensor: ${words(bin.sensor_health)}`, 'tip-bad') : null,
    line([words(bin.waste_stream), `read ${ago(bin.observed_ms, store.eventNowMs)}`].join(' · '), 'muted'),
  ].filter(Boolean);
}

function truckTip(truck) {
  return [
    line(truck.id, 'tip-title'),
    line([words(truck.status), truck.load_level === null ? null : `${percent(truck.load_level)} loaded`].filter(Boolean).join(' · ')),
    line(`seen ${ago(truck.observed_ms, store.eventNowMs)}`, 'muted'),
  ];
}
