// The lists beside the map: what is full next, what is wrong, where the trucks are. They have all that the map has, for
// keyboards and screen readers too.

import { ago, element, hours, hoursRange, percent, setText, words } from './format.js';
import { colourOf } from './palette.js';
import { show } from './map.js';
import { List, rowOf, span, twoLines } from './rows.js';
import { keyOf, on, select, shown, store } from './store.js';
import { visible } from './tabs.js';

const NEXT_ROWS = 80;
const ALERT_ROWS = 300;
const SEVERITIES = ['critical', 'warning', 'info'];
const MARKS = { critical: '▲', warning: '◆', info: '●' };
const TITLES = { fire: 'Fire suspected', overflow: 'Overflow', stuck: 'Sensor stuck', silent: 'Sensor silent', jumping: 'Sensor jumping', low_battery: 'Low battery' };

function nextList() {
  return new List(
    'next-rows',
    'No bin with a forecast is shown.',
    ({ key }) => {
      const { text, title, note } = twoLines();
      const [value, range] = [span('row-value'), span('row-note')];
      const fill = span('fill');
      const row = rowOf('next', { swatch: span('swatch'), text, level: element('span', { class: 'meter', 'aria-hidden': 'true' }, fill), right: element('span', { class: 'row-right' }, value, range) }, () => select(key, { pan: true }));
      return Object.assign(row, { title, note, value, range, fill });
    },
    (row, { key, bin }) => {
      row.swatch.style.background = colourOf(bin.kind.id);
      row.fill.style.height = `${Math.min(100, (bin.filling_level ?? 0) * 100)}%`;
      row.fill.style.background = colourOf(bin.kind.id);
      setText(row.title, bin.id);
      setText(row.note, [percent(bin.filling_level), words(bin.waste_stream), bin.site_id].filter((part) => part && part !== '–').join(' · '));
      setText(row.value, hours(bin.hours_to_full_p50));
      setText(row.range, hoursRange(bin.hours_to_full_p10, bin.hours_to_full_p90));
      row.button.setAttribute('aria-current', key === store.selected);
    },
  );
}

function alertList() {
  return new List(
    'alert-rows',
    'Nothing is wrong.',
    ({ alert }) => {
      const { text, title, note } = twoLines();
      const time = span('row-note');
      const row = rowOf(`alert ${alert.severity}`, { mark: span('mark'), text, right: element('span', { class: 'row-right' }, time) }, () => {
        const key = `${alert.tenant}/${alert.device_id}`;
        if (store.bins.has(key)) select(key, { pan: true });
      });
      return Object.assign(row, { title, note, time });
    },
    (row, { alert }) => {
      setText(row.mark, MARKS[alert.severity] ?? '●');
      row.mark.title = alert.severity ?? '';
      setText(row.title, `${TITLES[alert.alert] ?? words(alert.alert)} · ${alert.device_id}`);
      setText(row.note, alert.message ?? '');
      setText(row.time, ago(alert.observed_ms, store.eventNowMs));
    },
  );
}

function truckList() {
  return new List(
    'truck-rows',
    'No truck has been seen.',
    ({ key }) => {
      const { text, title, note } = twoLines();
      const [value, fill] = [span('row-value'), span('fill')];
      const row = rowOf('truck', { text, level: element('span', { class: 'bar', 'aria-hidden': 'true' }, fill), right: element('span', { class: 'row-right' }, value) }, () => show(store.trucks.get(key)));
      return Object.assign(row, { title, note, value, fill });
    },
    (row, { truck }) => {
      setText(row.title, truck.id);
      const speed = Number.isFinite(truck.speed_mps) && truck.speed_mps > 0.3 ? `${Math.round(truck.speed_mps * 3.6)} km/h` : null;
      setText(row.note, [words(truck.status), speed].filter((part) => part && part !== '–').join(' · ') || `seen ${ago(truck.observed_ms, store.eventNowMs)}`);
      row.fill.style.width = `${Math.min(100, (truck.load_level ?? 0) * 100)}%`;
      setText(row.value, truck.load_level === null ? '' : percent(truck.load_level));
    },
  );
}

export function createLists() {
  const [next, alerts, trucks] = [nextList(), alertList(), truckList()];
  const render = () => {
    if (visible('panel-next')) {
      const due = [...store.bins.values()].filter((bin) => Number.isFinite(bin.hours_to_full_p50) && shown(bin));
      due.sort((a, b) => a.hours_to_full_p50 - b.hours_to_full_p50 || (a.id < b.id ? -1 : 1));
      next.render(due.slice(0, NEXT_ROWS).map((bin) => ({ key: keyOf(bin), bin })));
    }
    if (visible('panel-alerts')) {
      const raised = [...store.alerts.values()];
      const rank = (alert) => (SEVERITIES.indexOf(alert.severity) + 4) % 4;
      raised.sort((a, b) => rank(a) - rank(b) || b.observed_ms - a.observed_ms || (a.id < b.id ? -1 : 1));
      alerts.render(raised.slice(0, ALERT_ROWS).map((alert) => ({ key: keyOf(alert), alert })));
    }
    if (visible('panel-trucks')) {
      const fleet = [...store.trucks.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
      trucks.render(fleet.map((truck) => ({ key: keyOf(truck), truck })));
    }
    setText('alert-count', String(store.alerts.size));
    document.getElementById('alert-count').classList.toggle('critical', [...store.alerts.values()].some((alert) => alert.severity === 'critical'));
    setText('truck-count', String(store.trucks.size));
  };
  for (const name of ['loaded', 'changed', 'filter', 'colours', 'selected', 'tab']) on(name, render);
  createSearch();
}

function createSearch() {
  document.getElementById('search').addEventListener('submit', (event) => {
    event.preventDefault();
    const wanted = document.getElementById('search-text').value.trim().toLowerCase();
    if (!wanted) return setText('search-result', '');
    const bins = [...store.bins.values()];
    const exactly = (row) => row.id.toLowerCase() === wanted;
    const partly = (row) => [row.id, row.site_id, row.container_id].some((text) => text?.toLowerCase().includes(wanted));
    const bin = bins.find(exactly) ?? bins.find(partly);
    const truck = [...store.trucks.values()].find((row) => row.id.toLowerCase().includes(wanted));
    if (bin) select(keyOf(bin), { pan: true });
    else if (truck) show(truck);
    return setText('search-result', bin || truck ? '' : 'nothing found');
  });
}
