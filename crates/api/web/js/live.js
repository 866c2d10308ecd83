// Keeps the store in step with the server: a full read first, then events; a full read again after every gap.

import { getJson } from './api.js';
import { emit, putAlert, putBin, putTruck, setFreshness, store } from './store.js';

const SILENCE_LIMIT_MS = 9_000;
const REFRESH_MS = 120_000;
const MAX_PAGES = 10;

let lastEventAt = 0;
let loading = null;
let again = false;

async function features(path, keep) {
  let cursor = null;
  for (let page = 0; page < MAX_PAGES; page += 1) {
    const body = await getJson(cursor ? `${path}?cursor=${cursor}` : path);
    for (const { geometry, properties } of body.features) {
      const [longitude_deg, latitude_deg] = geometry?.coordinates ?? [null, null];
      keep({ ...properties, latitude_deg, longitude_deg });
    }
    setFreshness(body.freshness);
    cursor = body.cursor;
    if (!cursor) return;
  }
}

async function readAll() {
  const seen = new Set();
  const note = (put) => (row) => {
    put(row);
    seen.add(row);
  };
  const places = [];
  const alerts = await getJson('/v1/alerts?limit=2000');
  await Promise.all([
    features('/v1/bins.geojson', note(putBin)),
    features('/v1/trucks.geojson', note(putTruck)),
    features('/v1/places.geojson', (row) => places.push(row)),
  ]);
  for (const rows of [store.bins, store.trucks]) {
    for (const [key, row] of rows) if (!seen.has(row)) rows.delete(key);
  }
  store.alerts.clear();
  alerts.alerts.forEach(putAlert);
  store.places = places;
  emit('loaded');
}

// One full read at a time; a request during a read starts another one behind it.
export function reload() {
  if (loading) {
    again = true;
    return loading;
  }
  loading = readAll()
    .then(() => connection('live'))
    .catch((error) => {
      console.error(error);
      connection('lost', error.message);
      setTimeout(reload, 3_000);
    })
    .finally(() => {
      loading = null;
      if (again) {
        again = false;
        reload();
      }
    });
  return loading;
}

function connection(state, detail = '') {
  if (document.body.dataset.connection === state && state !== 'lost') return;
  document.body.dataset.connection = state;
  emit('connection', { state, detail });
}

let source = null;

function connect() {
  source = new EventSource('/v1/stream');
  const listen = (name, handle) =>
    source.addEventListener(name, (event) => {
      lastEventAt = Date.now();
      if (document.body.dataset.connection === 'lost' && name !== 'hello') reload();
      handle(JSON.parse(event.data));
    });
  listen('hello', reload);
  listen('resync', reload);
  listen('changes', ({ bins, alerts, trucks, others, freshness }) => {
    bins.forEach(putBin);
    trucks.forEach(putTruck);
    alerts.forEach(putAlert);
    setFreshness(freshness);
    emit('changed', { bins, others });
  });
  listen('pipeline', (told) => emit('pipeline', told));
  listen('heartbeat', ({ freshness }) => setFreshness(freshness));
  source.onerror = () => connection('lost');
}

export function start() {
  connect();
  setInterval(() => {
    if (lastEventAt && Date.now() - lastEventAt > SILENCE_LIMIT_MS) connection('lost');
  }, 2_000);
  setInterval(() => {
    // Browsers reconnect by themselves after an outage, but give up after some answers (for instance 503).
    if (source.readyState === EventSource.CLOSED) connect();
  }, 5_000);
  // The stream's greeting starts the first read; without a stream (all seats taken) there is still a page.
  setTimeout(() => lastEventAt || reload(), 1_500);
  // Views that another process writes send no events here.
  setInterval(reload, REFRESH_MS);
  getJson('/v1/pipeline').then((told) => emit('pipeline', told)).catch(() => {});
}
