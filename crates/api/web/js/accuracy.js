// How good predictions were in service: per model its state, per target the figures of a window beside a naive forecast, and how
// every prediction ended. Nothing here is averaged by the page; it shows what the server computed.

import { getJson } from './api.js';
import { ago, chance, count, dayTime, element, setText, signed, UNKNOWN, words } from './format.js';
import { readWhileVisible } from './tabs.js';
import { store } from './store.js';

const EVERY_MS = 5_000;
const KEY = 'wastestream.window';
const WINDOWS = { '24h': '24 hours', '7d': '7 days', '28d': '28 days' };
// In the words of whoever is asked to trust them.
const TARGETS = {
  level_24h: { title: 'Level in 24 hours', unit: 'points' },
  overflow: { title: 'Overflow before the next visit' },
  churn: { title: 'Customer leaves' },
  failure: { title: 'Part fails' },
};
const ENDS = [
  ['labelled', 'the answer came'],
  ['censored', 'something else ended it'],
  ['expired', 'nobody told in time'],
];
const box = document.getElementById('scores');
const open = new Set();
let span = localStorage.getItem(KEY) ?? '24h';
let last = null;

const known = Number.isFinite;
const points = (value) => (known(value) ? `${(value * 100).toFixed(1)}` : UNKNOWN);
const digits = (value) => (known(value) ? value.toFixed(3) : UNKNOWN);
const figure = (name, value, note, level, title) =>
  element('div', { class: 'figure', title }, element('dt', { text: name }), element('dd', { text: value, 'data-level': level }), element('dd', { class: 'beside', text: note }));

// Better than, as good as, or worse than the naive one: said in words, never by colour alone.
function against(value, baseline, shown, name) {
  if (!known(value) || !known(baseline)) return { note: `${name} ${UNKNOWN}`, level: null };
  const better = value < baseline;
  return { note: `${name} ${shown(baseline)}: ${better ? 'better' : value === baseline ? 'the same' : 'worse'}`, level: better ? 'good' : value === baseline ? null : 'bad' };
}

function figures(score) {
  const parts = [];
  if (known(score.mae)) {
    const { note, level } = against(score.mae, score.baseline_mae, points, 'naive');
    parts.push(figure('Error (MAE), points', points(score.mae), note, level, 'Mean absolute error of the median, in points of the level; naive: the level goes on as it did'));
    parts.push(figure('Bias, points', signed(known(score.bias) ? score.bias * 100 : null, 1), score.bias > 0 ? 'says too much' : score.bias < 0 ? 'says too little' : 'none', null, 'Mean of median less actual'));
    const off = Math.abs(score.coverage - 0.8);
    parts.push(figure('Within p10–p90', chance(score.coverage), 'wanted 80 %', !known(score.coverage) ? null : off <= 0.05 ? 'good' : off > 0.1 ? 'bad' : 'warn', 'Share of the actual values inside the interval'));
  }
  if (known(score.brier)) {
    const { note, level } = against(score.brier, score.baseline_brier, digits, 'constant');
    parts.push(figure('Brier', digits(score.brier), note, level, 'Mean square of probability less what came; constant: the best that one probability for all could have done, known only afterwards'));
    parts.push(figure('Calibration (ECE)', points(score.calibration_error), 'points off, 0 wanted', null, 'Mean distance of what was said from what came, ten groups'));
    parts.push(figure('AUC', digits(score.auc), known(score.auc) ? '0.5 is guessing' : 'needs 10 of each', null, 'Area under the ROC curve'));
    parts.push(figure('Came', chance(score.base_rate), `said ${chance(score.mean_said)}`, null, 'Share that came, and the mean probability that was said'));
  }
  parts.push(figure('Scored', count(score.scored), `of ${count(score.labelled)} labelled`, null, 'Labels that the figures rest on; the others had nothing to predict'));
  return element('dl', { class: 'figures' }, ...parts);
}

// All ends as one bar, and as a sum that can be checked.
function ends(counts) {
  const total = ENDS.reduce((sum, [name]) => sum + (counts[name] ?? 0), 0);
  const bar = element('div', { class: 'ends-bar', 'aria-hidden': 'true' });
  for (const [name] of ENDS) {
    if (!counts[name]) continue;
    const part = element('span', { class: name });
    part.style.flexGrow = counts[name] / total;
    bar.append(part);
  }
  const terms = ENDS.flatMap(([name, why], index) => [index ? ' + ' : '', element('span', { class: `end ${name}`, title: why, 'data-count': counts[name] ?? 0 }, `${count(counts[name] ?? 0)} ${name}`)]);
  return element('div', { class: 'ends' }, bar, element('p', {}, ...terms, ' = ', element('b', { 'data-total': total, text: `${count(total)} ended` })));
}

// Per rung and version: who was how good.
function byVersion(rows, isLevel) {
  const head = isLevel ? ['Answered by', 'Version', 'Scored', 'MAE', 'Naive', 'Cover'] : ['Answered by', 'Version', 'Scored', 'Brier', 'Const.', 'AUC'];
  const cells = (row) => (isLevel ? [points(row.mae), points(row.baseline_mae), chance(row.coverage)] : [digits(row.brier), digits(row.baseline_brier), digits(row.auc)]);
  return element(
    'table',
    { class: 'versions' },
    element('thead', {}, element('tr', {}, ...head.map((text) => element('th', { scope: 'col', text })))),
    element('tbody', {}, ...rows.map((row) => element('tr', {}, element('th', { scope: 'row', text: row.rung }), element('td', { class: 'version', text: row.model_version, title: row.model_version }), ...[count(row.scored), ...cells(row)].map((text) => element('td', { text }))))),
  );
}

function card(counts, scores) {
  const about = TARGETS[counts.target] ?? { title: words(counts.target) };
  const mine = scores.filter((score) => score.topic === counts.topic && score.target === counts.target && score.window === span);
  const all = mine.find((score) => score.rung === 'all' && score.model_version === 'all');
  const apart = mine.filter((score) => score.rung !== 'all' && score.model_version !== 'all').sort((a, b) => b.scored - a.scored || (a.model_version < b.model_version ? 1 : -1));
  const key = `${counts.topic}/${counts.target}`;
  const more = apart.length ? element('details', { open: open.has(key) }, element('summary', { text: `By version (${apart.length})` }), byVersion(apart, apart.some((row) => known(row.mae)))) : '';
  if (more) {
    more.addEventListener('toggle', () => (more.open ? open.add(key) : open.delete(key)));
  }
  return element(
    'section',
    { class: 'score', 'data-target': counts.target },
    element('h3', {}, about.title, ' ', element('span', { class: 'muted', text: counts.topic })),
    all ? figures(all) : element('p', { class: 'muted', text: `Nothing ended in the last ${WINDOWS[span]}.` }),
    more,
    element('h4', { text: 'How they ended, since the beginning' }),
    ends(counts),
  );
}

function models(list) {
  const rows = list.map((model) => {
    const level = { ready: 'good', failed: 'bad' }[model.state] ?? 'warn';
    const trained = known(model.trained_ms) ? `trained ${dayTime(model.trained_ms)}` : null;
    return element('li', {}, element('span', { class: 'row-text' }, element('span', { class: 'row-title', text: model.name }), element('span', { class: 'row-note', text: [model.version ?? 'no version yet: rules answer', trained].filter(Boolean).join(' · '), title: model.version })), element('span', { class: 'state', 'data-level': level, text: words(model.state) }));
  });
  document.getElementById('model-rows').replaceChildren(...(rows.length ? rows : [element('li', { class: 'none', text: 'No model is in use.' })]));
}

function renderNote() {
  const { outcomes, newest_ms: newestMs } = last;
  setText('accuracy-note', outcomes.length ? `Figures of the last ${WINDOWS[span]} of event time; newest outcome ${ago(newestMs, store.eventNowMs)}` : 'No prediction has ended yet: figures come with the first outcomes.');
}

function render() {
  if (!last) return;
  const { outcomes, scores } = last;
  models(last.models);
  renderNote();
  // Drawn anew every few seconds: what has the focus keeps it.
  const focused = document.activeElement?.closest('#scores section')?.dataset.target;
  box.replaceChildren(...outcomes.map((counts) => card(counts, scores)));
  if (focused) [...box.children].find((section) => section.dataset.target === focused)?.querySelector('summary')?.focus();
}

async function read() {
  try {
    const told = await getJson('/v1/models');
    const same = last && JSON.stringify([told.models, told.scores, told.outcomes]) === JSON.stringify([last.models, last.scores, last.outcomes]);
    last = told;
    if (same) renderNote();
    else render();
  } catch (error) {
    setText('accuracy-note', `Could not be read: ${error.message}`);
  }
}

export function createAccuracy() {
  if (!WINDOWS[span]) span = '24h';
  const buttons = Object.entries(WINDOWS).map(([name, text]) => {
    const button = element('button', { type: 'button', text, 'aria-pressed': String(name === span) });
    button.addEventListener('click', () => {
      span = name;
      localStorage.setItem(KEY, name);
      buttons.forEach((other) => other.setAttribute('aria-pressed', other === button));
      render();
    });
    return button;
  });
  document.getElementById('windows').append(...buttons);
  readWhileVisible('panel-accuracy', EVERY_MS, [], read);
}
