// Everything about the selected bin, read from the server when it is selected and when it changes.

import { gauge, horizons, levelChart } from './chart.js';
import { clock, duration, element, hours, hoursRange, number, percent, shortTime, words } from './format.js';
import { colourOf, inkOn } from './palette.js';
import { emit, keyOf, on, onFire, place, select, store } from './store.js';
import { classOf } from './palette.js';

const REFRESH_MS = 2_000;
const box = document.getElementById('details');
let readAt = 0;
let returnFocusTo = null;

export function createDetails() {
  on('selected', ({ key }) => {
    if (!key) return hide();
    returnFocusTo = document.activeElement;
    const known = store.bins.get(key);
    if (known) render(known, null);
    return read(key);
  });
  on('changed', ({ bins }) => {
    const due = Date.now() - readAt > REFRESH_MS;
    if (store.selected && due && bins.some((bin) => keyOf(bin) === store.selected)) read(store.selected);
  });
  on('loaded', () => {
    if (store.selected) read(store.selected);
  });
  on('colours', () => {
    if (store.selected) read(store.selected);
  });
  document.addEventListener('keydown', (event) => {
    if (event.key === 'Escape' && store.selected) select(null);
  });
}

function hide() {
  box.hidden = true;
  if (returnFocusTo?.isConnected && box.contains(document.activeElement)) returnFocusTo.focus();
  box.replaceChildren();
}

async function read(key) {
  readAt = Date.now();
  const split = key.indexOf('/');
  const [tenant, id] = [key.slice(0, split), key.slice(split + 1)];
  try {
    const response = await fetch(`/v1/bins/${encodeURIComponent(id)}?tenant=${encodeURIComponent(tenant)}`);
    const body = await response.json();
    if (store.selected !== key) return;
    if (!response.ok) throw new Error(body.detail);
    body.bin.kind = classOf(body.bin);
    render(place(body.bin), body);
    emit('details');
  } catch (error) {
    // The connection banner tells about outages; what is shown stays.
    console.error(error);
  }
}

const age = (ms) => duration(Number.isFinite(ms) ? Math.max(0, store.eventNowMs - ms) : null);
const row = (name, value, title, className) => element('div', {}, element('dt', { text: name }), element('dd', { text: value, title, class: className }));

function render(bin, body) {
  const { features, forecast } = bin;
  const held = box.contains(document.activeElement);
  const close = element('button', { class: 'close', type: 'button', 'aria-label': 'Close details', text: '×' });
  close.addEventListener('click', () => select(null));
  const colour = colourOf(bin.kind.id);
  const verdict = element('span', { class: 'verdict', text: bin.kind.below === null ? bin.kind.label : `full in ${hours(bin.hours_to_full_p50)}` });
  verdict.style.background = colour;
  verdict.style.color = inkOn(colour);
  const health = bin.sensor_health ?? 'unknown';

  const parts = [
    element(
      'header',
      {},
      element('div', {}, element('h2', { text: bin.id }), element('p', { class: 'muted', text: [bin.container_id, bin.site_id, words(bin.waste_stream), number(bin.capacity_l, 0, 'l')].filter((part) => part && part !== '–').join(' · ') })),
      close,
    ),
    element(
      'div',
      { class: 'now' },
      gauge(bin),
      element('div', { class: 'now-text' }, element('strong', { class: 'level', text: percent(bin.filling_level) }), verdict, element('span', { class: 'muted', text: hoursRange(bin.hours_to_full_p10, bin.hours_to_full_p90) && `80 % interval ${hoursRange(bin.hours_to_full_p10, bin.hours_to_full_p90)}` })),
      element('div', { class: 'risk' }, element('span', { class: 'risk-value', text: percent(bin.p_overflow) }), element('span', { class: 'muted', text: 'overflow before the next visit' })),
    ),
    onFire(bin) ? element('p', { class: 'fire', text: `Fire suspected: ${number(features?.temperature_degc, 1, '°C')} in the container` }) : null,
    body ? levelChart(bin, forecast, store.eventNowMs) : element('div', { class: 'chart-wait' }),
    body ? table(forecast) : null,
    element(
      'dl',
      { class: 'facts' },
      row('Next visit', shortTime(bin.next_visit_ms), clock(bin.next_visit_ms)),
      row('Sensor', words(health), null, health === 'ok' ? '' : 'bad'),
      row('Answered by', [bin.rung, bin.model_version].filter(Boolean).join(' · ') || '–'),
      row('Forecast age', age(bin.forecast_ms)),
      row('Reading age', age(features?.observed_at ?? bin.observed_ms)),
      row('Since emptied', features ? hours(features.hours_since_emptied) : '–'),
      row('Rate 24 h', features ? number(features.rate_24h_per_h * 100, 2, '%/h') : '–'),
      row('Temperature', features ? number(features.temperature_degc, 1, '°C') : '–'),
      row('Battery', features ? number(features.battery_v, 2, 'V') : '–'),
    ),
    element('p', { class: 'lineage', title: forecast?.prediction_id, text: body ? `view ${duration(body.freshness.lag_ms)} behind${forecast?.feature_hash ? ` · features ${forecast.feature_hash}` : ''}` : '' }),
  ];
  box.replaceChildren(...parts.filter(Boolean));
  box.hidden = false;
  if (held) close.focus();
}

// The chart's numbers, for whoever cannot see it or wants them exactly.
function table(forecast) {
  const rows = horizons(forecast);
  if (!rows.length) return null;
  const cells = (values, tag) => values.map((value) => element(tag, { text: value, scope: tag === 'th' ? 'col' : null }));
  return element(
    'table',
    { class: 'quantiles' },
    element('thead', {}, element('tr', {}, ...cells(['Level', '10 %', 'median', '90 %'], 'th'))),
    element('tbody', {}, ...rows.map(([hour, ...levels]) => element('tr', {}, element('th', { scope: 'row', text: `+${hour} h` }), ...cells(levels.map(percent), 'td')))),
  );
}
