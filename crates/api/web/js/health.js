// The strip under the header: the pipeline in numbers, every second.

import { spark } from './chart.js';
import { clock, count, duration, element, setText, UNKNOWN } from './format.js';
import { on, store } from './store.js';
import { chosen, createTopologies, lagLevel, lagText, pipelinesOf, renderTopologies } from './topologies.js';

const SPARK_VALUES = 60;
const RUNG_COLOURS = { model: '#2b6a9e', cached: '#79a9cf', heuristic: '#e0a63c', simplified: '#c97f3a', manual: '#7b5ea7' };
// Of every topology, so that the lines are there when another one is chosen.
const histories = new Map();
let last = null;

export function createHealth() {
  createTopologies();
  on('pipeline', (told) => render(told));
  on('freshness', () => {
    setText('event-time', clock(store.eventNowMs));
    setText('freshness', store.freshness.lag_ms === null ? 'empty' : duration(store.freshness.lag_ms));
  });
  on('connection', ({ state, detail }) => connection(state, detail));
  const button = document.getElementById('stages-button');
  button.addEventListener('click', () => {
    const box = document.getElementById('stages');
    box.hidden = !box.hidden;
    button.setAttribute('aria-expanded', !box.hidden);
    if (last) render(last);
  });
}

function connection(state, detail) {
  setText('connection-text', { live: 'live', lost: 'connection lost', connecting: 'connecting' }[state]);
  const lost = document.getElementById('lost');
  lost.hidden = state !== 'lost';
  if (state === 'lost') lost.textContent = `Connection lost. Shown is the state of ${clock(store.eventNowMs)}. Trying again … ${detail ?? ''}`;
}

function render(told) {
  const { readiness } = told;
  const pipelines = pipelinesOf(told);
  // Told anew because somebody chose: nothing new to note.
  if (told !== last) pipelines.forEach(note);
  last = told;
  const pipeline = chosen(pipelines);
  const { rate, events, lag } = histories.get(pipeline.topology);
  renderTopologies(told, pipelines, pipeline);
  setText('h-events', count(rate.events));
  setText('h-lag', lagText(pipeline));
  level('h-lag', lagLevel(pipeline));
  spark(document.getElementById('spark-events'), events);
  spark(document.getElementById('spark-lag'), lag);
  setText('h-forecasts', count(pipeline.forecasts_total));
  setText('h-forecasts-rate', rate.forecasts === null ? '' : `${count(rate.forecasts)}/s`);
  setText('h-late', count(pipeline.late_total));
  setText('h-dead', count(pipeline.dead_total));
  level('h-dead', pipeline.dead_total > 0 ? 'warn' : '');
  const commits = pipeline.commits;
  setText('h-commit', Number.isFinite(commits.p99_ms) ? `${Math.round(commits.p99_ms)} ms` : UNKNOWN);
  setText('h-commits', commits.committed ? `${count(commits.committed)} · ${count(commits.aborted)} aborted` : '');
  setText('h-model', pipeline.model ? pipeline.model.version ?? 'none yet' : UNKNOWN);
  setText('h-model-state', pipeline.model?.state ?? 'no model in it');
  setText('h-ready', readiness.ready ? 'ready' : 'not ready');
  level('h-ready', readiness.ready ? 'good' : 'bad');
  setText('h-ready-why', readiness.reasons.join('; '));
  document.getElementById('h-ready-why').title = readiness.reasons.join('\n');
  rungs(pipeline.rungs);
  setText('stages-of', pipeline.topology);
  stages(pipeline.stages);
}

function note(pipeline) {
  const now = performance.now();
  const past = histories.get(pipeline.topology) ?? { events: [], lag: [], before: null };
  // Rates as told, or from totals when the runtime tells none.
  const seconds = past.before ? (now - past.before.now) / 1000 : 0;
  const per = (rate, total) => rate ?? (seconds > 0.2 ? Math.max(0, (pipeline[total] - past.before.pipeline[total]) / seconds) : null);
  past.rate = { events: per(pipeline.events_per_s, 'events_total'), forecasts: per(pipeline.forecasts_per_s, 'forecasts_total') };
  past.before = { now, pipeline };
  for (const [values, value] of [[past.events, past.rate.events], [past.lag, pipeline.lag_ms]]) {
    values.push(Number.isFinite(value) ? value : NaN);
    if (values.length > SPARK_VALUES) values.shift();
  }
  histories.set(pipeline.topology, past);
}

const level = (id, name) => {
  document.getElementById(id).dataset.level = name;
};

function rungs(list) {
  const total = list.reduce((sum, rung) => sum + rung.answers, 0);
  const bar = document.getElementById('h-rungs');
  if (!total) {
    bar.replaceChildren();
    bar.setAttribute('aria-label', 'no answers yet');
    setText('h-rungs-text', UNKNOWN);
    return;
  }
  // One digit more where rounding would say all or nothing.
  const digits = (part) => (part > 0 && part < 0.1) || (part > 0.995 && part < 1) ? 1 : 0;
  const share = (rung) => `${rung.rung} ${((rung.answers / total) * 100).toFixed(digits(rung.answers / total))} %`;
  bar.replaceChildren(
    ...list.map((rung) => {
      const part = element('span', { title: share(rung) });
      part.style.flexGrow = rung.answers / total;
      part.style.background = RUNG_COLOURS[rung.rung] ?? '#8a949d';
      return part;
    }),
  );
  bar.setAttribute('aria-label', list.map(share).join(', '));
  // The largest first: where there is little room, the smallest are cut.
  const ranked = list.filter((rung) => rung.answers).sort((a, b) => b.answers - a.answers);
  setText('h-rungs-text', ranked.map(share).join(' · '));
  document.getElementById('h-rungs-text').title = list.map(share).join('\n');
}

function stages(list) {
  if (document.getElementById('stages').hidden) return;
  const rows = list.map((stage) => {
    const parts = [stage.emitted, stage.folded, stage.filtered, stage.duplicate, stage.unmatched, stage.late, stage.dead, stage.pending];
    const adds = parts.reduce((sum, part) => sum + part, 0) === stage.rows_in;
    const cells = [stage.rows_in, ...parts].map((value) => element('td', { text: count(value), class: value ? null : 'zero' }));
    return element('tr', {}, element('th', { scope: 'row', text: stage.id }), element('td', { class: 'word', text: stage.kind }), ...cells, element('td', { class: adds ? 'word good' : 'word bad', text: adds ? '✓ yes' : '✗ no' }));
  });
  document.getElementById('stage-rows').replaceChildren(...rows);
}
