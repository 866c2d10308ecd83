// Starts the page: legend, map, lists, details, health, then the live connection.

import { createAccuracy } from './accuracy.js';
import { createDetails } from './details.js';
import { element, setText } from './format.js';
import { createHealth } from './health.js';
import { createLists } from './lists.js';
import { start } from './live.js';
import { createMap } from './map.js';
import { CLASSES, colourOf, useSafeColours } from './palette.js';
import { createRisks } from './risks.js';
import { createRoutes } from './routes.js';
import { emit, on, select, store } from './store.js';
import { createTabs } from './tabs.js';

const SAFE_KEY = 'wastestream.safe-colours';

function createLegend() {
  const list = document.getElementById('legend-classes');
  const rows = CLASSES.map((entry) => {
    const swatch = element('span', { class: `swatch ${entry.id}` });
    const number = element('span', { class: 'class-count', text: '0' });
    const button = element('button', { type: 'button', 'aria-pressed': 'true', title: 'Show or hide' }, swatch, element('span', { text: entry.label }), number);
    button.addEventListener('click', () => {
      const hidden = store.hiddenClasses.delete(entry.id) || !store.hiddenClasses.add(entry.id);
      button.setAttribute('aria-pressed', hidden);
      emit('filter');
    });
    list.append(element('li', {}, button));
    return { entry, swatch, number };
  });
  const paint = () => rows.forEach(({ entry, swatch }) => {
    swatch.style.background = colourOf(entry.id);
  });
  const tally = () => {
    const counts = new Map();
    const streams = new Set();
    for (const bin of store.bins.values()) {
      if (bin.waste_stream) streams.add(bin.waste_stream);
      if (!store.stream || bin.waste_stream === store.stream) counts.set(bin.kind.id, (counts.get(bin.kind.id) ?? 0) + 1);
    }
    rows.forEach(({ entry, number }) => setText(number, String(counts.get(entry.id) ?? 0)));
    const filter = document.getElementById('stream-filter');
    for (const stream of [...streams].sort()) {
      if (![...filter.options].some((option) => option.value === stream)) filter.append(element('option', { value: stream, text: stream }));
    }
    document.body.dataset.bins = store.bins.size;
    document.getElementById('empty').hidden = store.bins.size > 0;
  };
  const safe = document.getElementById('safe-colours');
  safe.checked = localStorage.getItem(SAFE_KEY) === 'yes';
  const recolour = () => {
    useSafeColours(safe.checked);
    localStorage.setItem(SAFE_KEY, safe.checked ? 'yes' : 'no');
    document.body.classList.toggle('safe', safe.checked);
    paint();
    emit('colours');
  };
  safe.addEventListener('change', recolour);
  document.getElementById('stream-filter').addEventListener('change', (event) => {
    store.stream = event.target.value;
    emit('filter');
  });
  for (const name of ['loaded', 'changed', 'filter']) on(name, tally);
  if (window.innerWidth < 1000) document.getElementById('legend').open = false;
  useSafeColours(safe.checked);
  document.body.classList.toggle('safe', safe.checked);
  paint();
}

// `#bin=TENANT/ID` opens with that bin.
function openLinked() {
  const linked = new URLSearchParams(location.hash.slice(1)).get('bin');
  if (linked && store.bins.has(linked) && !store.selected) select(linked, { pan: true });
}

createLegend();
createMap();
createHealth();
createDetails();
createLists();
createRisks();
createAccuracy();
createRoutes();
createTabs();
on('loaded', () => {
  openLinked();
  document.body.dataset.ready = 'yes';
});
start();
