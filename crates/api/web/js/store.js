// The page's state: what the server told, what the user chose. Everything else is drawn from here.

import { classOf } from './palette.js';

const listeners = new Map();

export const store = {
  bins: new Map(),
  alerts: new Map(),
  trucks: new Map(),
  places: [],
  hiddenClasses: new Set(),
  stream: '',
  selected: null,
  eventNowMs: null,
  freshness: null,
};

export function on(name, listener) {
  if (!listeners.has(name)) listeners.set(name, []);
  listeners.get(name).push(listener);
}

export function emit(name, detail) {
  for (const listener of listeners.get(name) ?? []) listener(detail);
}

export const keyOf = (row) => `${row.tenant}/${row.id}`;

// Web Mercator, 0 to 1 both ways; kept with each row, so that drawing is one multiplication.
export function mercator(latitude, longitude) {
  const sine = Math.min(0.9999, Math.max(-0.9999, Math.sin((latitude * Math.PI) / 180)));
  return [longitude / 360 + 0.5, 0.5 - Math.log((1 + sine) / (1 - sine)) / (4 * Math.PI)];
}

export function place(row) {
  if (Number.isFinite(row.latitude_deg) && Number.isFinite(row.longitude_deg)) {
    [row.u, row.v] = mercator(row.latitude_deg, row.longitude_deg);
  }
  return row;
}

export function putBin(bin) {
  place(bin);
  bin.kind = classOf(bin);
  store.bins.set(keyOf(bin), bin);
}

const TRAIL_POINTS = 24;

export function putTruck(truck) {
  place(truck);
  const before = store.trucks.get(keyOf(truck));
  truck.trail = before?.trail ?? [];
  if (truck.u !== undefined) {
    const last = truck.trail.at(-1);
    if (!last || Math.hypot(last[0] - truck.u, last[1] - truck.v) > 2e-8) truck.trail.push([truck.u, truck.v]);
    if (truck.trail.length > TRAIL_POINTS) truck.trail.shift();
  }
  store.trucks.set(keyOf(truck), truck);
}

export function putAlert(alert) {
  if (alert.state === 'cleared') store.alerts.delete(keyOf(alert));
  else store.alerts.set(keyOf(alert), alert);
}

export function shown(bin) {
  return !store.hiddenClasses.has(bin.kind.id) && (!store.stream || bin.waste_stream === store.stream);
}

export const onFire = (bin) => bin.sensor_health === 'hot';

export function setFreshness(freshness) {
  if (!freshness) return;
  store.freshness = freshness;
  store.eventNowMs = freshness.event_now_ms;
  emit('freshness');
}

// Selects a bin by its key; the address bar keeps it, so that a view can be sent to a colleague.
export function select(key, { pan = false } = {}) {
  store.selected = key;
  const bin = key ? store.bins.get(key) : null;
  history.replaceState(null, '', bin ? `#bin=${encodeURIComponent(key)}` : location.pathname);
  emit('selected', { key, pan });
}
